"""Files that are never half there."""

import contextlib
import json
import os
import tempfile
from pathlib import Path


@contextlib.contextmanager
def written_whole(path):
    """Gives a temporary path beside `path` that takes its place if the body succeeds."""
    path = Path(path)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix="." + path.name)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files for their owner alone; results are as readable as any file the user makes.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path, value):
    """Writes a value as JSON, whole."""
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2) + "\n")


def read_json(path):
    """Returns the value in a JSON file; `None` if there is no such file, or it is not (yet) JSON."""
    try:
        return json.loads(Path(path).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
