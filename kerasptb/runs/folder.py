"""Run folders: made, opened, and what is read from them."""

from __future__ import annotations

import csv
import dataclasses
import difflib
import errno
import functools
import json
import os
from pathlib import Path
from typing import Any, Literal, Self

from kerasptb.data import Corpus, Tokenizer
from kerasptb.data.corpus import open_text, read_corpus
from kerasptb.data.sources.source import TextSource, is_there
from kerasptb.data.text_format import TextFormat, load_tokenizer
from kerasptb.engine import Network
from kerasptb.reading.counted_reader import CountedReader
from kerasptb.reading.reader import Reader
from kerasptb.runs import files
from kerasptb.runs.counted_text import load_counts
from kerasptb.runs.damage import RunError, damage
from kerasptb.runs.files import HISTORY, METRICS, QUANTIZED
from kerasptb.runs.settings import CONFIG, RunSettings
from kerasptb.runs.text import TextRecord
from kerasptb.runs.weights import load_network
from kerasptb.runs.words import load_words
from kerasptb.utils.files import atomic_write, make_folder

_REMEDY = "Restore it from a copy; without it the run cannot be used."


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """A training's folder.

    Attributes:
        folder: the folder.
        settings: the `RunSettings`.
        vocabulary: the `Tokenizer` that the model was trained with, such as a `Vocabulary` of words.
        made: whether `create` has made the folder, which was not there before.
        overrides: what the model takes in place of the run's settings, see `using`.
        with_counts: whether the counts of its training text are used, if it has them.
    """

    folder: Path
    settings: RunSettings
    vocabulary: Tokenizer
    made: bool = False
    overrides: dict[str, Any] = dataclasses.field(default_factory=dict)
    with_counts: bool = True

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> Self:
        """Opens a run folder, or "english"; raises a `RunError` if it is not a run."""
        return cls(*_opened(files.IN_THE_PACKAGE if is_in_the_package(folder) else Path(folder)))

    @classmethod
    def open_resumed(cls, out: str | os.PathLike[str] | None) -> Self:
        """Opens what a training is to go on with; raises a `RunError` if no folder is named, or it is none."""
        if out is None:
            raise RunError("Resuming needs the run's folder: name it with --out.")
        if (Path(out) / files.QUANTIZED).exists():
            raise RunError(
                f"{out} was exported to be used: it has no checkpoint. Begin a new training with --from {out}"
            )
        return cls(*_opened(Path(out)))

    @classmethod
    def create(
        cls, folder: str | os.PathLike[str], settings: RunSettings, vocabulary: Tokenizer, made: bool | None = None
    ) -> Self:
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
        return dataclasses.replace(cls.open(folder), made=made)

    @property
    def config(self) -> dict[str, Any]:
        """The settings as config.json holds them, a dict of dicts.

        Its keys are "model" (arguments of `LanguageModel`), "batches", "training", "recipe" (settings of the preset's
        own training), "data" and "versions".
        """
        return self.settings.to_config()

    @property
    def text_format(self) -> TextFormat:
        """How its text was read: a `TextFormat` with the tokenizer."""
        format = self.settings.data.format
        return dataclasses.replace(format, tokens=None, tokenizer=self.vocabulary, vocabulary_size=None, wrapped=None)

    @property
    def metrics(self) -> dict[str, Any]:
        """The results in metrics.json, a dict; empty before the training has ended."""
        path = self.folder / METRICS
        if not path.exists():
            return {}
        with damage(path, "--resume writes it anew."):
            return dict(json.loads(path.read_text(encoding="utf-8")))

    @property
    def history(self) -> list[dict[str, float]]:
        """The epochs so far: a list of dicts with "epoch" (from 1), "perplexity", "val_perplexity" and the rest."""
        path = self.folder / HISTORY
        if not path.exists():
            return []
        with damage(path, "--resume writes it anew."), path.open(newline="", encoding="utf-8") as file:
            return [
                {key: int(value) if key == "epoch" else float(value) for key, value in row.items() if value}
                for row in csv.DictReader(file)
            ]

    def weights_path(self, weights: Literal["best", "last"]) -> Path:
        """Returns the file of the "best" or the "last" weights."""
        quantized = self.folder / QUANTIZED
        return quantized if weights == "best" and quantized.exists() else self.folder / f"{weights}.weights.h5"

    def find_weights(self, weights: Literal["best", "last"]) -> Path:
        """Returns the file of the "best" weights, those of the epoch with the lowest validation perplexity, or "last".

        Raises:
            RunError: if the run does not have them, for example before the end of its first epoch.
        """
        if weights not in ("best", "last"):
            raise ValueError(f'`weights` must be "best" or "last". Received: weights={weights!r}')
        quantized, path = self.folder / QUANTIZED, self.weights_path(weights)
        if not path.exists() and quantized.exists():
            raise RunError(f'{self.folder} was exported with its best weights alone. Received: weights="last"')
        if not path.exists():
            raise RunError(
                f"{self.folder} has no {weights} weights: no epoch has ended there yet. To go on: "
                f"{files.resume_command(self.folder)}"
            )
        return path

    def load_corpus(self, data: Corpus | TextSource | None = None) -> Corpus:
        """Reads a text with the run's vocabulary.

        Args:
            data: what `kerasptb.load_corpus` takes; `None` for the text that the run was trained on.

        Returns:
            A `Corpus`.

        Raises:
            RunError: if the run's own text has changed or moved, and is neither PTB nor the sample.
            DataError, FileNotFoundError: as `kerasptb.load_corpus`.
        """
        if data is None:
            return self._load_own_corpus()
        if isinstance(data, Corpus) and data.vocabulary == self.vocabulary:
            return data
        return self._read(data)

    def _read(self, data: Corpus | TextSource, wrapped: bool | None = None) -> Corpus:
        text = self.settings.data
        signs = text.absent_signs or ()
        format = TextFormat(tokenizer=self.vocabulary, keep_lines=text.keep_lines, wrapped=wrapped, absent_signs=signs)
        return read_corpus(open_text(data, format), format)

    def _load_own_corpus(self) -> Corpus:
        text = self.settings.data
        place = text.location
        if (self.folder / QUANTIZED).exists():
            raise RunError(
                f"{self.folder} was exported without the text that it was trained on. Name another with --data. (What "
                "adapts to a text is tuned on the run's own, so it needs the run itself.)"
            )
        there = place is not None and is_there(place)
        own = place if there else text.name if text.name in ("ptb", "sample") else None
        if own is not None:
            corpus = self._read(own, text.wrapped)
            if corpus.digest == text.digest:
                return corpus
        change = "which holds another text now" if there else "which is no longer there"
        place = "a text that came from no file" if place is None else f"{place}, {change}"
        if text.name == "sample":
            made_by = self.settings.versions.get("python", "another version")
            place = f"the built-in sample of Python {made_by}, whose documentation it is made of"
        raise RunError(f"The run in {self.folder} was trained on {place}. Name the text with --data.")

    def using(self, counts: bool | None = None, **overrides: Any) -> Self:
        """Returns the run with other settings than its own.

        Args:
            counts: whether the counts of its training text refine what the network says; `None` for as before.
            **overrides: arguments of `LanguageModel`, such as `backend="keras"`.
        """
        counts = self.with_counts if counts is None else counts
        return dataclasses.replace(self, overrides={**self.overrides, **overrides}, with_counts=counts)

    @functools.cached_property
    def network(self) -> Reader:
        """What reads with the trained network alone; its own attribute `network` is that."""
        return Reader(self.load_network(), self.text_format)

    @functools.cached_property
    def reader(self) -> Reader:
        """What reads with the network, and with the words and counts of the training text if the run has them."""
        counts = load_counts(self) if self.with_counts else None
        reader = self.network if counts is None else CountedReader(self.network, counts)
        reader.lexicon = load_words(self)
        return reader

    def load_network(self, weights: Literal["best", "last"] = "best") -> Network:
        """Returns the trained network.

        Args:
            weights: as for `find_weights`, like what is raised.
        """
        return load_network(self.find_weights(weights), self.settings.model, self.overrides)


def is_in_the_package(folder: str | os.PathLike[str]) -> bool:
    """Returns whether `load_run` opens the model of English that comes with this package."""
    return (
        str(folder) == files.ENGLISH
        and not (Path(folder) / CONFIG).exists()
        and (files.IN_THE_PACKAGE / CONFIG).exists()
    )


def _opened(folder: Path) -> tuple[Path, RunSettings, Tokenizer]:
    try:
        with damage(folder / CONFIG, _REMEDY):
            settings = RunSettings.from_config(json.loads((folder / CONFIG).read_text(encoding="utf-8")))
        with damage(folder / files.VOCABULARIES[settings.data.tokens != "words"], _REMEDY):
            vocabulary = load_tokenizer(folder)
            _check_vocabulary(vocabulary, settings.data)
    except FileNotFoundError as error:
        lacks = f"which has no {Path(error.filename).name}" if folder.exists() else "which does not exist"
        meant = difflib.get_close_matches(str(folder), [files.ENGLISH])
        hint = f" Did you mean {meant[0]}, the model in this package?" if meant and meant[0] != str(folder) else ""
        raise RunError(f"Expected a folder made by `kerasptb train`. Received: {folder}, {lacks}.{hint}") from None
    except NotADirectoryError:
        raise RunError(f"Expected a folder made by `kerasptb train`. Received: {folder}, a file.") from None
    return folder, settings, vocabulary


def _check_vocabulary(vocabulary: Tokenizer, data: TextRecord) -> None:
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


def _not_empty(folder: Path) -> RunError:
    return RunError(
        f"{folder} is not empty. Name another folder with --out, or go on with the run in it: "
        f"{files.resume_command(folder)}"
    )
