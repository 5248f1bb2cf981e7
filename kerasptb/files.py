"""Files that are never half there, and folders that one process has to itself."""

import contextlib
import errno
import itertools
import json
import os
import tempfile
from pathlib import Path


def user_cache():
    """Returns the package's folder in the user's cache: `kerasptb` in `XDG_CACHE_HOME`, by default `~/.cache`.

    Raises:
        RuntimeError: if the user has no home folder to have a cache in.
    """
    # The XDG specification: a relative path in the variable is invalid and ignored.
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "kerasptb"


def new_folder(path):
    """Makes a folder that nobody else has: `path`, or if that is there `path-1` or so. Returns its path."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for name in itertools.chain([path.name], (f"{path.name}-{i}" for i in itertools.count(1))):
        try:
            path.with_name(name).mkdir()
        except FileExistsError:
            continue
        return path.with_name(name)


@contextlib.contextmanager
def written_whole(path):
    """Gives a temporary path that takes the place of `path` if the body succeeds.

    It has the name of `path`, in a hidden folder beside it, `.NAME.…`, which a killed process may leave. Errors of the
    file system name `path`.
    """
    path = Path(path)
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            temporary = Path(folder, path.name)
            yield temporary
            temporary.replace(path)
    except OSError as error:
        if error.errno is None or (error.filename is not None and f".{path.name}." not in str(error.filename)):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


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


@contextlib.contextmanager
def locked(folder, busy):
    """Keeps a folder from others who ask for it so, while the body runs, where the file system has locks.

    Args:
        folder: a folder that exists.
        busy: the exception to raise if another process has it.
    """
    try:
        import fcntl  # noqa: PLC0415  (Windows has none)
    except ImportError:
        yield
        return
    # The folder itself: a lock on it leaves no file behind, and is gone with the process, however that ends.
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise busy from None
    except OSError:  # a file system without locks
        pass
    try:
        yield
    finally:
        os.close(handle)
