"""A text in three splits, as ids."""

import dataclasses
import functools
import hashlib
import io
import os
from pathlib import Path

import numpy as np

from kerasptb.data.errors import DataError, UnknownWordError
from kerasptb.data.sources import RawCorpus, TextFile, find_corpus
from kerasptb.data.vocabulary import EOS, Vocabulary, iter_tokens


@dataclasses.dataclass(frozen=True, eq=False)
class Corpus:
    """A text in three splits, as ids.

    Attributes:
        train: int32 [N], the words of the training text.
        valid: int32 [N'], the words of the validation text.
        test: int32 [N''], the words of the test text.
        vocabulary: the words of the ids.
        name: "ptb", "sample", or the name of the folder or archive.
        source: where the text came from, for people to read.
        is_sample: True for the built-in sample, whose perplexity cannot be compared with published figures.
        location: what `load_corpus` takes to read the same text again: "sample" or an absolute path. `None` for a
            corpus that was not read from anywhere.
    """

    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray
    vocabulary: Vocabulary
    name: str
    source: str
    is_sample: bool = False
    location: str | None = None

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256, in hexadecimal, of the vocabulary and the ids: the same wherever the same text is read."""
        digest = hashlib.sha256("\n".join(self.vocabulary.words).encode())
        for ids in (self.train, self.valid, self.test):
            digest.update(f"\n{len(ids)}\n".encode())
            digest.update(np.asarray(ids, "<i4").tobytes())
        return digest.hexdigest()

    def split(self, name: str) -> np.ndarray:
        """Returns a split's ids, int32 [N].

        Args:
            name: "train", "valid" or "test".

        Raises:
            DataError: for another name.
        """
        if name not in ("train", "valid", "test"):
            raise DataError(f"Expected a split named 'train', 'valid' or 'test'. Received: {name!r}")
        return getattr(self, name)


def load_corpus(
    data: Corpus | str | os.PathLike = "auto",
    *,
    vocabulary: Vocabulary | None = None,
    vocabulary_size: int | None = None,
    cache_dir: str | os.PathLike | None = None,
) -> Corpus:
    """Reads a corpus from a folder, an archive, a download or the built-in sample.

    Args:
        data: one of
            "auto": PTB in the folder or archive that the environment variable `KERASPTB_DATA` names, else in the
            cache, else downloaded into the cache within half a minute, else the built-in sample, with a loud
            warning in the log;
            "ptb": the same with a limit of ten minutes, and an error in place of the sample;
            "sample": the built-in sample, English prose from Python's standard library;
            a folder: with `ptb.train.txt`, `ptb.valid.txt` and `ptb.test.txt`, or `train.txt`, `valid.txt` and
            `test.txt`, in it or in its `data` or `simple-examples/data`;
            an archive: a tar (`simple-examples.tgz`) or zip file that holds such a folder;
            a `Corpus`, which is returned unchanged; `vocabulary` and `vocabulary_size` must not be given with it.
        vocabulary: the vocabulary to read the text with, as when a trained model is evaluated. By default that of
            the training text: ids by falling count, then by word.
        vocabulary_size: the most words that the training text's vocabulary keeps, at least 3: the most frequent ones,
            `<unk>` and `<eos>` among them. The rest of all three texts becomes `<unk>`. By default every word is kept.
        cache_dir: where a download is kept; by default `~/.cache/kerasptb`, or `kerasptb` in `XDG_CACHE_HOME`.

    Returns:
        The corpus. Each line's end is the word `<eos>`; a word outside the vocabulary becomes `<unk>`.

    Raises:
        DataError: a file is empty, is not UTF-8, or holds a word outside a vocabulary that has no `<unk>`; "ptb" is
            nowhere and cannot be downloaded; or the arguments contradict each other.
        FileNotFoundError: a file is missing.
    """
    given = {"vocabulary": vocabulary, "vocabulary_size": vocabulary_size}
    given = {name: value for name, value in given.items() if value is not None}
    if isinstance(data, Corpus):
        if given:
            raise DataError(f"A Corpus keeps its vocabulary of {len(data.vocabulary)} words. Received: {given}")
        return data
    if len(given) == 2:
        raise DataError(f"Expected a vocabulary or its size, not both. Received: {given}")
    raw = find_corpus(data, cache_dir=None if cache_dir is None else Path(cache_dir))
    return encode_corpus(raw, vocabulary, vocabulary_size)


def encode_corpus(raw: RawCorpus, vocabulary: Vocabulary | None = None, vocabulary_size: int | None = None) -> Corpus:
    """Returns the ids of three texts.

    Args:
        raw: the texts.
        vocabulary: as for `load_corpus`.
        vocabulary_size: as for `load_corpus`.

    Raises:
        DataError: as for `load_corpus`.
    """
    if vocabulary is None:
        vocabulary = Vocabulary.from_tokens(iter_tokens(raw.train.text), vocabulary_size)
        for file in (raw.valid, raw.test):
            if EOS not in vocabulary and "\n" in file.text:
                raise DataError(
                    f"The training text has no line end, and so no {EOS}; {file.path} has one. End the lines of the "
                    "training text, or let no text have any."
                )
    splits = {name: _encode(getattr(raw, name), vocabulary) for name in ("train", "valid", "test")}
    place = {name: getattr(raw, name) for name in ("name", "source", "is_sample", "location")}
    return Corpus(**splits, vocabulary=vocabulary, **place)


def _encode(file: TextFile, vocabulary: Vocabulary) -> np.ndarray:
    try:
        return vocabulary.encode(file.text)
    except UnknownWordError as error:
        lines = enumerate(io.StringIO(file.text, newline="\n"), start=1)
        number = next(number for number, line in lines if error.word in iter_tokens(line))
        raise UnknownWordError(error.word, f"{file.path}, line {number}") from None
