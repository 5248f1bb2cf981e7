"""A text in three splits, as ids."""

import dataclasses
import functools
import logging
import operator
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kerasptb.data.encoding import Encoded, encode_paragraphs, encode_words
from kerasptb.data.errors import DataError
from kerasptb.data.signs import absent_signs
from kerasptb.data.sizes import TextSizes, sizes_of
from kerasptb.data.sources.opening import OpenedText, open_source
from kerasptb.data.sources.published import default_cache, open_published
from kerasptb.data.sources.source import PUBLISHED, Source, TextSource
from kerasptb.data.sources.splits import SPLITS
from kerasptb.data.sources.text_file import TextFile
from kerasptb.data.stored import StoredTexts, digest_of
from kerasptb.data.text_format import USUAL, TextFormat, open_tokenizer
from kerasptb.data.tokenizers.tokenizer import Tokenizer
from kerasptb.utils.types import Tokens

logger = logging.getLogger(__name__)

# A text of so many bytes is kept encoded in the cache folder, and not in memory.
STORED_BYTES = 1 << 26


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
        format: the `TextFormat` in which it was read.
        counts: mapping from "train", "valid" and "test" to the text's `TextSizes`; `None` to count what the ids write.
        read_whole: returns the ids and `TextSizes` of the text before it was cut, where that was within a paragraph;
            `None` if it is its parts, one after the other.
    """

    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray
    vocabulary: Tokenizer
    name: str
    source: str
    is_sample: bool = False
    location: str | None = None
    format: TextFormat = USUAL
    counts: dict[str, TextSizes] | None = None
    read_whole: Callable[[], tuple[np.ndarray, TextSizes]] | None = None

    @property
    def text_format(self) -> TextFormat:
        """The `TextFormat` of a model of the text: the tokenizer, and how lines and signs are read."""
        return dataclasses.replace(
            self.format, tokens=None, tokenizer=self.vocabulary, vocabulary_size=None, wrapped=None
        )

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256, in hexadecimal, of the vocabulary and the ids: the same wherever the same text is read."""
        return digest_of(self.vocabulary, {"train": self.train, "valid": self.valid, "test": self.test})

    def split(self, name: str) -> np.ndarray:
        """Returns a split's ids, int32 [N].

        Args:
            name: "train", "valid" or "test"; "all" for the three, one after the other, or the text before it was cut.

        Raises:
            DataError: for another name.
        """
        if name == "all" and self._whole is not None:
            return self._whole[0]
        parts = [getattr(self, split) for split in _splits(name)]
        return np.concatenate(parts) if parts[1:] else parts[0]

    def count(self, name: str) -> TextSizes:
        """Returns the `TextSizes` of a split, as `split` takes and raises."""
        if self.counts is None:
            return _counted(self.split(name), self.vocabulary)
        if name == "all" and self._whole is not None:
            return self._whole[1]
        return functools.reduce(operator.add, map(self.counts.__getitem__, _splits(name)))

    @functools.cached_property
    def _whole(self) -> tuple[np.ndarray, TextSizes] | None:
        return None if self.read_whole is None else self.read_whole()


def _splits(name: str) -> tuple[str, ...]:
    if name != "all" and name not in SPLITS:
        raise DataError(f"Expected a split named 'train', 'valid', 'test' or 'all'. Received: {name!r}")
    return SPLITS if name == "all" else (name,)


def load_corpus(
    data: Corpus | TextSource = "auto",
    *,
    tokens: Tokens | None = None,
    tokenizer: Tokenizer | str | os.PathLike[str] | None = None,
    vocabulary_size: int | None = None,
    keep_lines: bool | None = None,
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
            a text: any other file, folder or archive with plain text, HTML, EPUB, tables, mail or chats in it (see
            `docs/own-text.md`), a sequence of them, or a `data.Source`, which says more of them. A folder's files are
            read in the order of their names. Of all of it the first 90 % is the training text, the next 5 the
            validation text, the last 5 the test text, cut at the ends of paragraphs;
            a `Corpus`, which is returned unchanged; nothing that says how to read a text must be given with it.
        tokens: what the text is cut into. "words": what stands between white space, and `<eos>` at each line's end.
            "subwords": pieces of words, and of a word as a whole where it is frequent; made of the training text by
            byte-level byte-pair encoding. "characters": the bytes of UTF-8. Of these two nothing is ever unknown.
            `None` for "words" if `<unk>` stands in the training text once in 10,000 bytes or more, as in PTB and the
            sample, else "subwords". If it does, a line is a paragraph in any case, its words with one space between
            them.
        tokenizer: the tokenizer to read the text with, as when a trained model is evaluated, or the file of one: a
            tokenizer.json or a SentencePiece .model. By default that of the training text: of words, ids by falling
            count, then by word.
        vocabulary_size: the most tokens. Of words, at least 3: the most frequent ones, `<unk>` and `<eos>` among them;
            the rest of all three texts becomes `<unk>`; by default every word is kept. Of subwords, at least 257; by
            default as `num_subwords` says for the text's size.
        keep_lines: of subwords and characters, whether each line is a paragraph; `False` to join those that are as full
            as the margin lets them be. `None` for what suits the whole text: they are joined if it is wrapped prose,
            see `data.paragraphs`.
        cache_dir: where a download is kept, and a large text in its encoded form; by default `~/.cache/kerasptb`, or
            `kerasptb` in `XDG_CACHE_HOME`.

    Returns:
        The corpus. A sign that the training text writes in another way, as `'` and never `’`, is read so in all three.
        Of words, a word outside the vocabulary becomes `<unk>`; if the other texts have words that the training text
        lacks, and nothing in it is `<unk>`, then its words that occur once are. The ids of a text of 64 MiB or more are
        mapped from the cache folder, read-only, and found there the next time.

    Raises:
        DataError: a file is empty, has no text that is known how to read, or holds a word outside a vocabulary that has
            no `<unk>`; "ptb" is nowhere and cannot be downloaded; or the arguments contradict each other.
        FileNotFoundError: a file is missing.
    """
    format = TextFormat(tokens, open_tokenizer(tokenizer), vocabulary_size, keep_lines)
    cache_dir = None if cache_dir is None else Path(cache_dir)
    return read_corpus(open_text(data, format, cache_dir), format, cache_dir)


def open_text(
    data: Corpus | TextSource, format: TextFormat = USUAL, cache_dir: Path | None = None
) -> Corpus | OpenedText:
    """Opens a text for all that is asked of it: it is unpacked, or downloaded, here and not again."""
    if isinstance(data, Corpus):
        return data
    format.check()
    if isinstance(data, str) and data in PUBLISHED:
        return open_published(data, cache_dir)
    return open_source(Source.of(data))


def read_corpus(text: Corpus | OpenedText, format: TextFormat, cache_dir: Path | None = None) -> Corpus:
    """Reads a text that is open, as `load_corpus` does."""
    if isinstance(text, Corpus):
        has = {"tokens": text.vocabulary.kind, "tokenizer": text.vocabulary, "keep_lines": text.format.keeps_lines}
        if any(value != has.get(name) for name, value in format.named.items()):
            kept = f"{len(text.vocabulary)} {text.vocabulary.kind}"
            raise DataError(f"A Corpus keeps its {kept} and its lines. Received: {format.named}")
        return text
    format = format.of_text(text)
    if format.absent_signs is None:
        format = dataclasses.replace(format, absent_signs=absent_signs(text.files["train"].text()))
    if text.location is None or sum(file.size for file in text.files.values()) < STORED_BYTES:
        return _corpus(text, format, *_encode(text.files, format))
    stored = StoredTexts(cache_dir or default_cache())
    try:
        return _stored(text, format, stored)
    except OSError as error:  # the text itself, if it is that, raises again
        logger.warning("%s stays in memory: %s cannot be written (%s).", text.source, stored.folder, error.strerror)
        return _corpus(text, format, *_encode(text.files, format))


def _encode(files: Mapping[str, TextFile], format: TextFormat, folder: Path | None = None) -> Encoded:
    encode: Callable[..., Encoded] = encode_words if format.tokens == "words" else encode_paragraphs
    return encode(files, format, folder)


def _read_whole(file: TextFile, format: TextFormat) -> tuple[np.ndarray, TextSizes]:
    ids, _, sizes = _encode({"all": file}, format)
    return ids["all"], sizes["all"]


def _stored(text: OpenedText, format: TextFormat, texts: StoredTexts) -> Corpus:
    """Returns the corpus of a text with ids that lie in the cache folder, where they are found, or encoded once."""
    files = [[str(path.absolute()), path.stat().st_size, path.stat().st_mtime_ns] for path in text.paths]
    could_be_read = [file.size for file in text.files.values()]
    lines = {"keep_lines": format.keep_lines, "of_words": format.of_words, "wrapped": format.wrapped}
    key: dict[str, Any] = {
        "text": {"location": text.location, "files": [*files, could_be_read], **lines},
        "absent_signs": list(format.absent_signs or ()),
    }
    if format.tokenizer is None:
        key["made_with"] = [format.tokens, format.vocabulary_size]
    else:
        key["words"] = format.tokenizer.digest
    if found := texts.find(key, format.tokenizer):
        ids, tokenizer, description = found
        counts = {split: TextSizes(**sizes) for split, sizes in description["counts"].items()}
        return _corpus(text, format, ids, tokenizer, counts, description["digest"])
    with texts.new_entry() as folder:
        ids, tokenizer, counts = _encode(text.files, format, Path(folder))
        digest = digest_of(tokenizer, ids)
        sizes = {split: dataclasses.asdict(counts[split]) for split in SPLITS}
        ids = texts.add(Path(folder), tokenizer, {**key, "counts": sizes, "digest": digest})
        return _corpus(text, format, ids, tokenizer, counts, digest)


def _corpus(
    text: OpenedText,
    format: TextFormat,
    ids: dict[str, np.ndarray],
    tokenizer: Tokenizer,
    counts: dict[str, TextSizes],
    digest: str | None = None,
) -> Corpus:
    train, valid, test = (ids[split] for split in SPLITS)
    told = text.name, text.source, text.is_sample, text.location
    format_of_all = dataclasses.replace(format, tokenizer=tokenizer)
    read_whole = None if text.whole is None else functools.partial(_read_whole, text.whole, format_of_all)
    corpus = Corpus(train, valid, test, tokenizer, *told, format, counts, read_whole)
    if digest is not None:
        corpus.__dict__["digest"] = digest  # known already
    return corpus


def _counted(ids: np.ndarray, tokenizer: Tokenizer) -> TextSizes:
    """Returns the `TextSizes` of what ids write."""
    written = b"".join(map(tokenizer.pieces.__getitem__, ids.tolist()))
    lines = [line.removeprefix(tokenizer.first.encode()) for line in written.split(b"\n")]
    sizes = np.sum([sizes_of(line.decode(errors="surrogateescape")) for line in lines], axis=0)
    words, size, characters, unspaced = (sizes - [1, 1, 1, 0]).tolist()  # nothing ends the last line
    unknown = 0 if tokenizer.unk_id is None else int((ids == tokenizer.unk_id).sum())
    return TextSizes(len(ids), words, size, characters, unspaced, unknown)
