"""Files that are never half there."""

import contextlib
import errno
import json
import os
import tempfile
from pathlib import Path


@contextlib.contextmanager
def written_whole(path):
    """Gives a temporary path that takes the place of `path` if the body succeeds.

    It has the name of `path`, in a hidden folder beside it, `.NAME.…`, which a killed process may leave.
    """
    path = Path(path)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        temporary = Path(folder, path.name)
        yield temporary
        temporary.replace(path)


def reserve(path, num_bytes):
    """Makes sure that a file of so many bytes can be written, and leaves an empty one.

    For writers that do not survive a disk that fills up meanwhile, such as HDF5's.

    Args:
        path: the file.
        num_bytes: its size at most.

    Raises:
        OSError: if there is no room for it.
    """
    with Path(path).open("wb") as file:
        if not hasattr(os, "posix_fallocate"):  # macOS, Windows
            return
        try:
            os.posix_fallocate(file.fileno(), 0, num_bytes)
        except OSError as error:
            # Not every file system can reserve; what else is wrong is for the writer to find.
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise OSError(error.errno, os.strerror(error.errno), str(path)) from None
        file.truncate(0)


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
