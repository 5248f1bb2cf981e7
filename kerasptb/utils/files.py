"""Files that are always written completely, and folders that one process holds exclusively."""

import contextlib
import csv
import errno
import itertools
import json
import math
import os
import tempfile
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kerasptb.utils.types import StrPath

# What readers of JSON, CSV, HDF5 and NumPy's archives raise for files that are not what was written.
DAMAGE = (
    ValueError,
    LookupError,
    TypeError,
    RuntimeError,
    EOFError,
    OSError,
    OverflowError,
    SyntaxError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
    csv.Error,
)


def user_cache() -> Path:
    """Returns the package's folder in `XDG_CACHE_HOME`, by default `~/.cache`; raises RuntimeError without a home."""
    # The XDG specification: a relative path in the variable is invalid and ignored.
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "kerasptb"


def new_folder(path: StrPath) -> Path:
    """Creates a new folder: `path` or, if that exists, `path-1` and so on. Returns its path."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    names = itertools.chain([path.name], (f"{path.name}-{i}" for i in itertools.count(1)))
    while True:
        folder = path.with_name(next(names))
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            return folder


@contextlib.contextmanager
def atomic_write(path: StrPath) -> Iterator[Path]:
    """Yields a temporary path, which replaces `path` if the body succeeds; a power cut afterwards does not undo it.

    It is in a hidden folder next to `path`, which a killed process may leave behind. Errors of the file system name
    `path`.
    """
    path = Path(path)
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            temporary = Path(folder, path.name)
            yield temporary
            _sync(temporary)  # the disk may know the new name before the content, which is none then
            temporary.replace(path)
        _sync(path.parent)
    except OSError as error:
        if error.errno is None or (error.filename is not None and f".{path.name}." not in str(error.filename)):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def readable(name: str) -> str:
    """Returns the name of a file or folder as UTF-8 can write it: bytes that are none are question marks."""
    return name.encode(errors="replace").decode()


def make_folder(path: StrPath) -> None:
    """Makes a folder and its parents, those that are not there; a power cut afterwards does not undo it."""
    path = Path(path)
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        _sync(folder.parent)


def _sync(path: Path) -> None:
    """Waits until the content of a file, or the names in a folder, are on the disk."""
    try:
        handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    except PermissionError:  # a folder that may be written but not read, or any on Windows
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system that cannot wait
            raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        os.close(handle)


def check_regular(path: Path) -> None:
    """Raises a ValueError if there is something else than a file at a path: a pipe would be waited for."""
    if path.exists() and not path.is_file():
        raise ValueError("it is no regular file")


def read_small(path: StrPath, limit: int = 1 << 24) -> str:
    """Returns the text of a file of `limit` bytes at most, in UTF-8.

    Raises:
        OSError: it is not there, or cannot be read.
        ValueError: it is no regular file, such as a device, which may have no end; it is larger; or no such text.
    """
    check_regular(Path(path))
    with Path(path).open("rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"it has more than {limit:,} bytes")
    if b"\0" in content:
        raise ValueError("it is binary: it has a byte of 0")
    return content.decode("utf-8")


def write_json(path: StrPath, value: Any) -> None:
    """Writes a value as a complete JSON file; raises ValueError for NaN or infinity, which JSON does not know."""
    text = json.dumps(value, indent=2, allow_nan=False) + "\n"
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def finite(figure: float) -> float | None:
    """Returns a figure as JSON holds it, which knows no infinity and no NaN: `None` for these."""
    return figure if math.isfinite(figure) else None


def read_json(path: StrPath) -> Any:
    """Returns the value in a JSON file; `None` if the file does not exist or is not (yet) valid JSON."""
    try:
        check_regular(Path(path))
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # not UTF-8 either
        return None


class HeldFolder:
    """A folder that is held open, whatever becomes of its name; without a handle where the system opens no folders."""

    def __init__(self, path: StrPath, handle: int | None = None) -> None:
        self._path, self._handle = Path(path), handle

    def place(self) -> Path | None:
        """Returns where it is: its name or, after a renaming, another one; `None` if it is gone or cannot be found."""
        if self._handle is None:
            return self._path
        held = os.fstat(self._handle)
        with contextlib.suppress(OSError):
            if os.path.samestat(self._path.stat(), held):
                return self._path
        with contextlib.suppress(OSError):  # only Linux tells
            now = Path(f"/proc/self/fd/{self._handle}").readlink()
            if os.path.samestat(now.stat(), held):
                return now
        return None


@contextlib.contextmanager
def lock_folder(folder: StrPath, busy: Exception) -> Iterator[HeldFolder]:
    """Locks a folder while the body runs, if the system has locks, and yields the `HeldFolder`; raises `busy`."""
    try:
        import fcntl  # noqa: PLC0415  (Windows has none)
    except ImportError:
        yield HeldFolder(folder)
        return
    # The folder itself is locked: this leaves no file behind, and the lock ends with the process, however it ends.
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise busy from None
    except OSError:  # a file system without locks
        pass
    try:
        yield HeldFolder(folder, handle)
    finally:
        os.close(handle)
