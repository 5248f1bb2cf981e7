"""Where exports are written: whole, and never over anything."""

import contextlib
import errno
import shutil
import tempfile
from pathlib import Path

import keras

from kerasptb.data import Vocabulary
from kerasptb.files import locked, written_whole


class ExportError(ValueError):
    """What was asked cannot be exported, or not to that place."""


def check_backend(what):
    """Raises ExportError unless Keras runs on TensorFlow, with which `what` is made."""
    if (backend := keras.backend.backend()) != "tensorflow":
        raise ExportError(
            f"{what} is made with Keras on TensorFlow: set KERAS_BACKEND=tensorflow. Received: KERAS_BACKEND={backend}"
        )


def check_path(path):
    """Raises an `ExportError` for a path from which TensorFlow could not load what is written there."""
    path = Path(path).absolute()
    # It looks for the variables by a pattern, in which these stand for other characters.
    if sign := next((sign for sign in "[\\" if sign in str(path)), None):
        raise ExportError(f"TensorFlow loads no SavedModel from a path with the character {sign}. Received: {path}")


@contextlib.contextmanager
def folder_written_whole(path):
    """Gives a temporary folder that takes the place of `path` if the body succeeds.

    What is in it goes into a folder that is there already, which may be a link, the working directory or a mounted
    volume.

    Args:
        path: the folder; made with its parents. It may exist if it is empty.

    Raises:
        ExportError: if there is something at `path`, or another export at work in it.
    """
    path = Path(path)
    check_path(path)
    there = path.is_dir()
    taken = ExportError(f"Expected a new or empty folder to export to. Received: {path}, which is taken.")
    if not there and (path.exists() or path.is_symlink()):
        raise taken
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{path.name}."
    with (
        locked(path, ExportError(f"Another export is at work in {path}.")) if there else contextlib.nullcontext(),
        tempfile.TemporaryDirectory(dir=path if there else path.parent, prefix=prefix) as hidden,
    ):
        if there:
            # By name: the path of the hidden folder is absolute from Python 3.12 on, those of the children need not be.
            others = [child for child in path.iterdir() if child.name != Path(hidden).name]
            if not all(child.name.startswith(prefix) for child in others):
                raise taken
            for child in others:  # left by an export that was killed
                shutil.rmtree(child, ignore_errors=True)
        # A folder in that one, which is for its owner alone: an export is as readable as any folder the user makes.
        temporary = Path(hidden, "export")
        temporary.mkdir()
        yield temporary
        if there:
            # Folders first: saved_model.pb, by which an export is known, comes when its variables are there.
            for child in sorted(temporary.iterdir(), key=lambda child: child.is_file()):
                child.rename(path / child.name)
        else:
            try:
                temporary.rename(path)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                raise taken from None  # by another export, meanwhile


@contextlib.contextmanager
def new_file(path, suffix, vocabulary):
    """Gives a temporary file beside `path` that takes its place if the body succeeds, and writes the words beside it.

    Args:
        path: the file; its folder is made with its parents.
        suffix: what the file's name must end in.
        vocabulary: the `Vocabulary`, saved as `vocabulary_path(path)`.

    Raises:
        ExportError: if the name ends otherwise, the file exists, or other words than these are beside it.
        DataError: if what is beside it is no vocabulary.
    """
    path = Path(path)
    if path.suffix != suffix:
        raise ExportError(f"Expected the name of a file that ends in {suffix}. Received: {path}")
    words = vocabulary_path(path)
    if path.exists() or path.is_symlink():
        raise ExportError(f"Expected the name of a new file to export to. Received: {path}, which exists.")
    # Exports of one run to several formats may share the file of its words.
    if words.exists() and Vocabulary.load(words) != vocabulary:
        raise ExportError(f"{words} holds the words of another model. Name another file. Received: {path}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as temporary:
        yield temporary
        vocabulary.save(words)


def vocabulary_path(path):
    """Returns the file with the words of an exported file: `model.vocabulary.txt` for `model.tflite`."""
    return Path(path).with_suffix(".vocabulary.txt")
