"""Where exports are written: whole, and never over anything."""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path


class ExportError(ValueError):
    """What was asked cannot be exported, or not to that place."""


@contextlib.contextmanager
def new_folder(path):
    """Gives a temporary folder beside `path` that takes its place if the body succeeds.

    Args:
        path: the folder; made with its parents. It may exist if it is empty.

    Raises:
        ExportError: if there is something at `path`.
    """
    path = Path(path)
    if (path.exists() or path.is_symlink()) and not (path.is_dir() and not any(path.iterdir())):
        raise ExportError(f"Expected a new or empty folder to export to. Received: {path}, which is taken.")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        yield temporary
        # mkdtemp makes folders for their owner alone; an export is as readable as any folder the user makes.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o777 & ~umask)
        if path.is_dir():
            path.rmdir()
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
