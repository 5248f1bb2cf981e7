"""A text in three splits, as ids."""

import dataclasses
import functools
import logging
import operator
import os
from pathlib import Path
from typing import get_args

import numpy as np

from kerasptb.data.counts import TextCounts
from kerasptb.data.encoding import encode_paragraphs, encode_words
from kerasptb.data.errors import DataError
from kerasptb.data.files import SPLITS
from kerasptb.data.sources import RawCorpus, TextSource, default_cache, find_corpus
from kerasptb.data.stored import StoredTexts, digest_of
from kerasptb.data.subwords import Subwords
from kerasptb.data.tokenizer import UNK, Tokenizer
from kerasptb.utils.types import Tokens

logger = logging.getLogger(__name__)

# A text of so many bytes is kept encoded in the cache folder, and not in memory.
STORED_BYTES = 1 << 26
# A text is judged by so many bytes, and has a word for unknown ones if that stands once in so many.
_JUDGED, _UNKNOWN_IN = 1 << 24, 10_000


@dataclasses.dataclass(frozen=True, eq=False)
class Corpus:
    """A text in three splits, as ids.

    Attributes:
        train: int32 [N], the tokens of the training text.
        valid: int32 [N'], the tokens of the validation text.
        test: int32 [N''], the tokens of the test text.
        vocabulary: the `Tokenizer` of the ids: a `Vocabulary` of words, or `Subwords`.
        name: "ptb", "sample", or the name of the folder or archive.
        source: where the text came from, for people to read.
        is_sample: True for the built-in sample, whose perplexity cannot be compared with published figures.
        location: what `load_corpus` takes to read the same text again: "sample" or an absolute path. `None` for a
            corpus that was not read from anywhere.
        keep_lines: whether each line was read as a paragraph, see `load_corpus`.
        of_words: whether it is a text of words that was read as subwords or characters, with one space between two
            words.
        counts: mapping from "train", "valid" and "test" to the text's `TextCounts`; `None` to count what the ids write.
    """

    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray
    vocabulary: Tokenizer
    name: str
    source: str
    is_sample: bool = False
    location: str | None = None
    keep_lines: bool = False
    of_words: bool = False
    counts: dict[str, TextCounts] | None = None

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256, in hexadecimal, of the vocabulary and the ids: the same wherever the same text is read."""
        return digest_of(self.vocabulary, {"train": self.train, "valid": self.valid, "test": self.test})

    def split(self, name: str) -> np.ndarray:
        """Returns a split's ids, int32 [N].

        Args:
            name: "train", "valid" or "test"; "all" for the three, one after the other.

        Raises:
            DataError: for another name.
        """
        parts = [getattr(self, split) for split in _splits(name)]
        return np.concatenate(parts) if parts[1:] else parts[0]

    def count(self, name: str) -> TextCounts:
        """Returns the `TextCounts` of a split.

        Args:
            name: as for `split`, like what is raised.
        """
        if self.counts is None:
            return _counted(self.split(name), self.vocabulary)
        return functools.reduce(operator.add, map(self.counts.__getitem__, _splits(name)))


def _splits(name):
    if name != "all" and name not in SPLITS:
        raise DataError(f"Expected a split named 'train', 'valid', 'test' or 'all'. Received: {name!r}")
    return SPLITS if name == "all" else (name,)


def load_corpus(
    data: Corpus | TextSource = "auto",
    *,
    tokens: Tokens | None = None,
    vocabulary: Tokenizer | None = None,
    vocabulary_size: int | None = None,
    keep_lines: bool = False,
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
            a text: a file whose name ends in `.txt` or `.md`, or in one of these and `.gz` or `.xz`; a folder of texts,
            which are read in the order of their names, or a sequence of texts. Of all of it the first 90 % is the
            training text, the next 5 the validation text, the last 5 the test text, cut at the ends of paragraphs;
            a `Corpus`, which is returned unchanged; nothing that says how to read a text must be given with it.
        tokens: what the text is cut into. "words": what stands between white space, and `<eos>` at each line's end.
            "subwords": pieces of words, and of a word as a whole where it is frequent; made of the training text by
            byte-level byte-pair encoding. "characters": the bytes of UTF-8. Of these two nothing is ever unknown.
            `None` for "words" if `<unk>` stands in the training text once in 10,000 bytes or more, as in PTB and the
            sample, else "subwords". If it does, a line is a paragraph in any case, its words with one space between
            them.
        vocabulary: the tokenizer to read the text with, as when a trained model is evaluated. By default that of
            the training text: of words, ids by falling count, then by word.
        vocabulary_size: the most tokens. Of words, at least 3: the most frequent ones, `<unk>` and `<eos>` among them;
            the rest of all three texts becomes `<unk>`; by default every word is kept. Of subwords, at least 257; by
            default as `num_subwords` says for the text's size.
        keep_lines: of subwords and characters, whether each line is a paragraph. By default the lines of a wrapped
            text are joined, see `data.paragraphs`.
        cache_dir: where a download is kept, and a large text in its encoded form; by default `~/.cache/kerasptb`, or
            `kerasptb` in `XDG_CACHE_HOME`.

    Returns:
        The corpus. Of words, a word outside the vocabulary becomes `<unk>`; if the other texts have words that the
        training text lacks, and nothing in it is `<unk>`, then its words that occur once are. The ids of a text of
        64 MiB or more are mapped from the cache folder, read-only, and found there the next time.

    Raises:
        DataError: a file is empty, is not UTF-8, or holds a word outside a vocabulary that has no `<unk>`; "ptb" is
            nowhere and cannot be downloaded; or the arguments contradict each other.
        FileNotFoundError: a file is missing.
    """
    named = {"tokens": tokens, "vocabulary": vocabulary, "vocabulary_size": vocabulary_size}
    named = {name: value for name, value in named.items() if value is not None}
    if isinstance(data, Corpus):
        has = {"tokens": data.vocabulary.kind, "vocabulary": data.vocabulary}
        if any(value != has.get(name) for name, value in named.items()):
            raise DataError(f"A Corpus keeps its {len(data.vocabulary)} {data.vocabulary.kind}. Received: {named}")
        return data
    if vocabulary is not None and len(named) > 1:
        raise DataError(f"Expected a vocabulary, or what to make one of. Received: {named}")
    if tokens not in (None, *get_args(Tokens)):
        raise DataError(f"Expected tokens that are {', '.join(get_args(Tokens))}. Received: tokens={tokens!r}")
    if tokens == "characters":
        if vocabulary_size is not None:
            raise DataError(f"Characters are the 256 bytes. Received: vocabulary_size={vocabulary_size}")
        vocabulary = Subwords.characters()
    cache_dir = None if cache_dir is None else Path(cache_dir)
    raw = find_corpus(data, cache_dir)
    usual = usual_tokens(raw)
    if tokens is None:
        tokens = usual if vocabulary is None else vocabulary.kind
    of_words = usual == "words" and tokens != "words"
    reading = _Reading(raw, tokens, vocabulary, vocabulary_size, keep_lines or of_words, of_words)
    if sum(file.size for file in raw.files.values()) < STORED_BYTES:
        return reading.encode()
    stored = StoredTexts(cache_dir or default_cache())
    try:
        return reading.stored(stored)
    except OSError as error:  # the text itself, if it is that, raises again
        logger.warning("%s stays in memory: %s cannot be written (%s).", raw.source, stored.folder, error.strerror)
        return reading.encode()


@dataclasses.dataclass(frozen=True)
class _Reading:
    """A text, and how it is read: see `load_corpus`."""

    raw: RawCorpus
    tokens: Tokens
    vocabulary: Tokenizer | None
    vocabulary_size: int | None
    keep_lines: bool
    of_words: bool

    def encode(self, folder=None):
        """Returns the corpus, its ids in memory, or in the files of a folder."""
        if self.tokens == "words":
            read = encode_words(self.raw.files, self.vocabulary, self.vocabulary_size, folder)
        else:
            how = self.vocabulary, self.vocabulary_size, self.keep_lines, self.of_words
            read = encode_paragraphs(self.raw.files, *how, folder)
        return self._corpus(*read)

    def stored(self, texts):
        """Returns the corpus with ids that lie in the cache folder, where they are found, or encoded once."""
        files = [[str(path.absolute()), path.stat().st_size, path.stat().st_mtime_ns] for path in self.raw.paths]
        text = {"location": self.raw.location, "files": files}
        text |= {"keep_lines": self.keep_lines, "of_words": self.of_words}
        made_with = [self.tokens, self.vocabulary_size] if self.vocabulary is None else []
        if found := texts.find(text, made_with, self.vocabulary):
            description, ids, tokenizer = found
            counts = {split: TextCounts(**sizes) for split, sizes in description["counts"].items()}
            return self._corpus(ids, tokenizer, counts, description["digest"])
        with texts.new_entry() as folder:
            corpus = self.encode(Path(folder))
            counts = {split: dataclasses.asdict(corpus.count(split)) for split in SPLITS}
            description = {"text": text, "made_with": made_with, "counts": counts, "digest": corpus.digest}
            ids = texts.add(folder, corpus.vocabulary, description)
            return self._corpus(ids, corpus.vocabulary, corpus.counts, corpus.digest)

    def _corpus(self, ids, tokenizer, counts, digest=None):
        reading = {"keep_lines": self.keep_lines, "of_words": self.of_words}
        corpus = Corpus(**ids, vocabulary=tokenizer, counts=counts, **reading, **self.raw.place)
        if digest is not None:
            corpus.__dict__["digest"] = digest  # known already
        return corpus


def usual_tokens(raw: RawCorpus) -> Tokens:
    """Returns what a text is cut into if nothing is said: words if it has a word for unknown ones, else subwords.

    One that comes once in a long text, as in a manual, is no such word.

    Args:
        raw: the `RawCorpus`.
    """
    seen, size = 0, 0
    for chunk in raw.train.chunks():
        seen, size = seen + chunk.count(UNK.encode()), size + len(chunk)
        if size >= _JUDGED:
            break
    return "words" if seen * _UNKNOWN_IN >= size > 0 else "subwords"


def _counted(ids, tokenizer):
    """Returns the `TextCounts` of what ids write."""
    written = b"".join(map(tokenizer.pieces.__getitem__, ids.tolist()))
    unknown = 0 if tokenizer.unk_id is None else int((ids == tokenizer.unk_id).sum())
    ends = written.count(b"\n")
    words = len(written.split())
    return TextCounts(len(ids), words + ends, len(written.replace(b"\n ", b"\n").removeprefix(b" ")), unknown)
