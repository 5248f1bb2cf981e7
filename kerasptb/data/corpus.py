"""A text in three splits, as ids."""

import dataclasses
import functools
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np

from kerasptb.data.encoding import encode_files
from kerasptb.data.errors import DataError
from kerasptb.data.files import fingerprint
from kerasptb.data.sources import RawCorpus, default_cache, find_corpus
from kerasptb.data.stored import StoredTexts, digest_of
from kerasptb.data.vocabulary import Vocabulary

logger = logging.getLogger(__name__)

# A text of so many bytes is kept encoded in the cache folder, and not in memory.
STORED_BYTES = 1 << 26


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
        return digest_of(self.vocabulary, {"train": self.train, "valid": self.valid, "test": self.test})

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
    data: Corpus | str | os.PathLike[str] = "auto",
    *,
    vocabulary: Vocabulary | None = None,
    vocabulary_size: int | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
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
            a text: a file whose name ends in `.txt`, of which the first 90 % is the training text, the next 5 the
            validation text, the last 5 the test text, cut at the ends of lines;
            a `Corpus`, which is returned unchanged; `vocabulary` and `vocabulary_size` must not be given with it.
        vocabulary: the vocabulary to read the text with, as when a trained model is evaluated. By default that of
            the training text: ids by falling count, then by word.
        vocabulary_size: the most words that the training text's vocabulary keeps, at least 3: the most frequent ones,
            `<unk>` and `<eos>` among them. The rest of all three texts becomes `<unk>`. By default every word is kept.
        cache_dir: where a download is kept, and a large text in its encoded form; by default `~/.cache/kerasptb`, or
            `kerasptb` in `XDG_CACHE_HOME`.

    Returns:
        The corpus. Each line's end is the word `<eos>`; a word outside the vocabulary becomes `<unk>`. The ids of a
        text of 64 MiB or more are mapped from the cache folder, read-only, and found there the next time.

    Raises:
        DataError: a file is empty, is not UTF-8, or holds a word outside a vocabulary that has no `<unk>`; "ptb" is
            nowhere and cannot be downloaded; or the arguments contradict each other.
        FileNotFoundError: a file is missing.
    """
    named = {"vocabulary": vocabulary, "vocabulary_size": vocabulary_size}
    named = {name: value for name, value in named.items() if value is not None}
    if isinstance(data, Corpus):
        if named:
            raise DataError(f"A Corpus keeps its vocabulary of {len(data.vocabulary)} words. Received: {named}")
        return data
    if len(named) == 2:
        raise DataError(f"Expected a vocabulary or its size, not both. Received: {named}")
    cache_dir = None if cache_dir is None else Path(cache_dir)
    raw = find_corpus(data, cache_dir)
    if sum(file.size for file in raw.files.values()) < STORED_BYTES:
        return encode_corpus(raw, vocabulary, vocabulary_size)
    return _stored_corpus(raw, vocabulary, vocabulary_size, StoredTexts(cache_dir or default_cache()))


def encode_corpus(raw: RawCorpus, vocabulary: Vocabulary | None = None, vocabulary_size: int | None = None) -> Corpus:
    """Returns the ids of three texts, in memory.

    Args:
        raw: the texts.
        vocabulary: as for `load_corpus`.
        vocabulary_size: as for `load_corpus`.

    Raises:
        DataError: as for `load_corpus`.
    """
    ids, vocabulary = encode_files(raw.files, vocabulary, vocabulary_size)
    return _corpus(ids, vocabulary, raw)


def _stored_corpus(
    raw: RawCorpus, vocabulary: Vocabulary | None, vocabulary_size: int | None, stored: StoredTexts
) -> Corpus:
    """Returns the corpus of large texts, which are encoded once."""
    text = {"location": raw.location, "files": fingerprint(Path(raw.location))}
    if found := stored.find(text, vocabulary, vocabulary_size):
        description, ids, vocabulary = found
        return _corpus(ids, vocabulary, raw, description["digest"])
    made_with = [vocabulary_size] if vocabulary is None else []
    try:
        with stored.new_entry() as folder:
            ids, of_text = encode_files(raw.files, vocabulary, vocabulary_size, Path(folder))
            digest = _corpus(ids, of_text, raw).digest
            description = {"text": text, "vocabulary_size": made_with, "digest": digest}
            return _corpus(stored.add(folder, of_text, description), of_text, raw, digest)
    except OSError as error:  # the text itself, if it is that, raises again
        logger.warning("%s stays in memory: %s cannot be written (%s).", raw.source, stored.folder, error.strerror)
        return encode_corpus(raw, vocabulary, vocabulary_size)


def _corpus(ids: dict[str, Any], vocabulary: Vocabulary, raw: RawCorpus, digest: str | None = None) -> Corpus:
    corpus = Corpus(**ids, vocabulary=vocabulary, **raw.place)
    if digest is not None:
        corpus.__dict__["digest"] = digest  # known already
    return corpus
