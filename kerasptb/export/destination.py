"""The destinations of exports: an export is written completely or not at all, and overwrites nothing."""

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from kerasptb.data import Tokenizer
from kerasptb.utils.errors import ExportError
from kerasptb.utils.files import atomic_write, lock_folder
from kerasptb.utils.types import StrPath

# In the hidden folder, the names of what is being moved out of it: if the process is killed meanwhile, the next export
# knows that they are not the user's.
_MOVING = "moving"


@contextlib.contextmanager
def atomic_folder(path: StrPath) -> Iterator[Path]:
    """Yields a temporary folder, which is renamed to `path` if the body succeeds.

    If `path` is an empty folder, also a link or a mounted volume, the contents are moved into it.
    """
    path = Path(path)
    there = path.is_dir()
    taken = ExportError(f"Expected a new or empty folder to export to. Received: {path}, which is taken.")
    if not there and (path.exists() or path.is_symlink()):
        raise taken
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{path.name}."
    with (
        _disk_errors(path),
        lock_folder(path, ExportError(f"Another export is at work in {path}.")) if there else contextlib.nullcontext(),
        tempfile.TemporaryDirectory(dir=path if there else path.parent, prefix=prefix) as hidden,
    ):
        if there:
            # Compared by name: from Python 3.12 on the path of the hidden folder is absolute, and the children's paths
            # may be relative.
            others = [child for child in path.iterdir() if child.name != Path(hidden).name]
            left = [child for child in others if child.name.startswith(prefix)]  # by exports that were killed
            moved = {
                name
                for child in left
                for file in child.glob(_MOVING)
                for name in file.read_text(encoding="utf-8").splitlines()
            }
            if not all(child in left or child.name in moved for child in others):
                raise taken
            for child in sorted(others, key=left.__contains__):  # what tells of the others last
                shutil.rmtree(child, ignore_errors=True) if child.is_dir() else child.unlink(missing_ok=True)
        # The hidden folder is accessible to its owner only. This one has the permissions of any folder the user makes.
        temporary = Path(hidden, "export")
        temporary.mkdir()
        yield temporary
        if there:
            # saved_model.pb, which identifies an export, is moved last.
            children = sorted(temporary.iterdir(), key=lambda child: (child.name == "saved_model.pb", child.name))
            Path(hidden, _MOVING).write_text("\n".join(child.name for child in children), encoding="utf-8")
            for child in children:
                child.rename(path / child.name)
        else:
            try:
                temporary.rename(path)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                raise taken from None  # another export has written there in the meantime


@contextlib.contextmanager
def atomic_file(path: StrPath, *suffixes: str, vocabulary: Tokenizer | None = None) -> Iterator[Path]:
    """Yields a temporary file, which is renamed to `path` if the body succeeds, and writes a tokenizer beside it."""
    path = Path(path)
    if path.suffix not in suffixes:
        raise ExportError(f"Expected the name of a file that ends in {' or '.join(suffixes)}. Received: {path}")
    _check_new(path, vocabulary)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _disk_errors(path), atomic_write(path) as temporary:
        yield temporary
        _check_new(path, vocabulary)  # another export may have written there meanwhile
        if vocabulary is not None:
            vocabulary.save(_beside(path, vocabulary))


def _beside(path: Path, vocabulary: Tokenizer) -> Path:
    return path.with_suffix(f".{vocabulary.FILE}")  # model.vocabulary.txt for model.tflite


def _check_new(path: Path, vocabulary: Tokenizer | None) -> None:
    """Raises an `ExportError` if a file exists, or beside it the tokenizer of another model."""
    if path.exists() or path.is_symlink():
        raise ExportError(f"Expected the name of a new file to export to. Received: {path}, which exists.")
    if vocabulary is None or not (beside := _beside(path, vocabulary)).exists():
        return
    # Exports of one run to several formats may share the tokenizer's file.
    if cast(Any, type(vocabulary)).load(beside) != vocabulary:
        raise ExportError(f"{beside} holds the {vocabulary.kind} of another model. Name another file. Received: {path}")


@contextlib.contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    """Makes Python's error of what TensorFlow raises when the disk is full."""
    try:
        yield
    except Exception as error:  # TensorFlow's OpError, which is not imported for it
        for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO):
            if not isinstance(error, OSError) and os.strerror(number) in getattr(error, "message", ""):
                raise OSError(number, os.strerror(number), str(path)) from None
        raise
