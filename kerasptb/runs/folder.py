"""Run folders made and opened."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
from pathlib import Path

from kerasptb.data import Tokenizer, load_tokenizer
from kerasptb.runs import files
from kerasptb.runs.damage import RunError, damage
from kerasptb.runs.run import Run
from kerasptb.runs.settings import CONFIG, RunSettings
from kerasptb.utils.files import atomic_write, make_folder

_REMEDY = "Restore it from a copy; without it the run cannot be used."


def load_resumed(out: str | os.PathLike[str] | None) -> Run:
    """Returns the `Run` that a training is to go on with; raises a `RunError` if no folder is named, or it is none."""
    if out is None:
        raise RunError("Resuming needs the run's folder: name it with --out.")
    if (Path(out) / files.QUANTIZED).exists():
        raise RunError(f"{out} was exported to be used: it has no checkpoint. Begin a new training with --from {out}")
    return _open(Path(out))


def load_run(folder: str | os.PathLike[str]) -> Run:
    """Opens a run folder.

    Args:
        folder: the folder that a training wrote; or "english", for the model of English in this package, unless a run
            is in a folder of that name.

    Raises:
        RunError: if the folder is not a run.
    """
    return _open(files.IN_THE_PACKAGE if is_in_the_package(folder) else Path(folder))


def is_in_the_package(folder: str | os.PathLike[str]) -> bool:
    """Returns whether `load_run` opens the model of English that comes with this package."""
    return (
        str(folder) == files.ENGLISH
        and not (Path(folder) / CONFIG).exists()
        and (files.IN_THE_PACKAGE / CONFIG).exists()
    )


def _open(folder):
    try:
        with damage(folder / CONFIG, _REMEDY):
            settings = RunSettings.from_config(json.loads((folder / CONFIG).read_text(encoding="utf-8")))
        with damage(folder / files.VOCABULARIES[settings.data.tokens != "words"], _REMEDY):
            vocabulary = load_tokenizer(folder)
            _check_vocabulary(vocabulary, settings.data)
    except FileNotFoundError as error:
        raise RunError(
            f"Expected a folder made by `kerasptb train`. Received: {folder}, which has no {Path(error.filename).name}."
        ) from None
    except NotADirectoryError:
        raise RunError(f"Expected a folder made by `kerasptb train`. Received: {folder}, a file.") from None
    return Run(folder, settings, vocabulary)


def _check_vocabulary(vocabulary, data):
    """Raises if a vocabulary is not the one that a run records."""
    if data.vocabulary_size != len(vocabulary):
        raise ValueError(f"it has {len(vocabulary)} {vocabulary.kind}, of {data.vocabulary_size}")
    if data.vocabulary_digest != vocabulary.digest:
        raise ValueError(f"its {vocabulary.kind} or their order are not those of the training")


def check_free(folder: str | os.PathLike[str]) -> None:
    """Raises a `RunError` if a folder holds anything but what a training that was killed in `create_run` has left.

    A `FileExistsError` for what is no folder.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(errno.EEXIST, "Expected a folder for the run. There is a file", str(folder))
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    temporary = tuple(f".{file}." for file in (CONFIG, *files.VOCABULARIES))
    unfinished = {name for name in names if name.startswith(temporary)}
    if names - unfinished - set(files.VOCABULARIES if unfinished else ()):
        raise _not_empty(folder)


def _not_empty(folder):
    return RunError(
        f"{folder} is not empty. Name another folder with --out, or go on with the run in it with --resume."
    )


def create_run(
    folder: str | os.PathLike[str], settings: RunSettings, vocabulary: Tokenizer, made: bool | None = None
) -> Run:
    """Makes a run folder, with its parents, or uses an empty one; raises a `RunError` if it is not empty.

    `made` is whether it was made for the run, and goes if that fails; `None` for what its absence says.
    """
    # Raises for values that JSON cannot hold before the folder is created.
    config = json.dumps(settings.to_config(), indent=2, allow_nan=False)
    folder = Path(folder)
    made = not folder.exists() if made is None else made
    make_folder(folder)
    check_free(folder)
    with files.lock_run(folder):
        if (folder / CONFIG).exists():  # of another process, which found it free too
            raise _not_empty(folder)
        for name in files.VOCABULARIES:
            (folder / name).unlink(missing_ok=True)
        try:
            # The vocabulary meanwhile: one beside an unfinished config.json is ours, and one alone is not.
            with atomic_write(folder / CONFIG) as temporary:
                temporary.write_text(f"{config}\n", encoding="utf-8")
                vocabulary.save(folder / vocabulary.FILE)
        except BaseException:
            files.remove(folder, itself=made)
            raise
    return dataclasses.replace(load_run(folder), made=made)
