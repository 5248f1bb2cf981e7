"""From texts of any size to ids, read in pieces.

Words are numbered as they come, and renumbered by the vocabulary. Other texts are read in paragraphs, and cut into the
pieces of a tokenizer, which is made of the training text's.
"""

import collections
import dataclasses
import io
import itertools
import operator
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import cast

import numpy as np

from kerasptb.data.errors import DataError, UnknownWordError
from kerasptb.data.paragraphs import Paragraphs, is_wrapped, iter_lines
from kerasptb.data.scripts import count_unspaced
from kerasptb.data.sizes import TextSizes, sizes_of
from kerasptb.data.sources.text_file import TextFile, check_no_binary
from kerasptb.data.text_format import USUAL, TextFormat
from kerasptb.data.tokenizers.subwords import Subwords
from kerasptb.data.tokenizers.tokenizer import EOS, UNK, Tokenizer
from kerasptb.data.tokenizers.vocabulary import Vocabulary

# Number of subwords of texts of fewer bytes.
_NUM_SUBWORDS = ((500_000, 2_000), (1_500_000, 4_000), (50_000_000, 8_000))
_MOST_SUBWORDS = 16_000
_COMPARED = 100  # paragraphs of a training text in which a tokenizer must know every letter
_BLOCK = 1 << 22  # ids that are renumbered at a time
_LONGEST_WORD = 1 << 22  # characters

# The ids of each split, int32 [N], their tokenizer, and the sizes of each split.
Encoded = tuple[dict[str, np.ndarray], Tokenizer, dict[str, TextSizes]]


def encode_words(
    files: Mapping[str, TextFile], format: TextFormat = USUAL, folder: Path | None = None
) -> tuple[dict[str, np.ndarray], Vocabulary, dict[str, TextSizes]]:
    """Returns the ids of a corpus' texts in words, their vocabulary and `TextSizes`; each is read once, in its order.

    Without a vocabulary one is made from the training text. If the other texts have words that it lacks, and it has no
    `<unk>`, then words that occur once in it are `<unk>`, so that training knows it. With a folder the ids lie in its
    files `SPLIT.ids`, little-endian int32, and are mapped into memory.
    """
    # Words are numbered in the order in which they first come.
    numbers: dict[str, int] = collections.defaultdict(itertools.count().__next__)
    ids, num_known = {}, 0
    vocabulary = cast(Vocabulary | None, format.tokenizer)
    for split, file in files.items():
        ids[split] = _collect(_numbered(file, numbers), _path(folder, split))
        num_known = num_known or len(numbers)
        if vocabulary is None and numbers.get(EOS, 0) >= num_known:
            raise DataError(
                f"The training text has no line end, and so no {EOS}; {file.path} has one. End the lines of "
                "the training text, or let no text have any."
            )
    occurrences = {split: _counts(ids[split], len(numbers)) for split in files}
    read = list(map(format.signs.read, numbers))
    if vocabulary is None:
        counts = dict(zip(read, occurrences["train"][:num_known].tolist(), strict=False))
        if UNK not in counts and not counts.keys() >= set(read):
            once = {word for word, count in counts.items() if count == 1} - {EOS}
            counts = {word: count for word, count in counts.items() if word not in once} | {UNK: len(once)}
        vocabulary = Vocabulary.from_counts(counts, format.vocabulary_size)
    unk_id = -1 if vocabulary.unk_id is None else vocabulary.unk_id
    new = np.array([vocabulary.word_to_id.get(word, unk_id) for word in read], "<i4")
    sizes = np.array([_sizes_of_word(word) for word in numbers])
    counted = {}
    for split, occurs in occurrences.items():
        ends = _unseparated_ends(ids[split], numbers.get(EOS, -1))
        _renumber(ids[split], new, numbers, files[split].path)
        num_bytes, characters, unspaced = (occurs @ sizes).tolist()
        num_unknown = int(occurs[new == unk_id].sum())
        length = len(ids[split])
        counted[split] = TextSizes(length, length, num_bytes + ends, characters + ends, unspaced, num_unknown)
    return ids, vocabulary, counted


def _sizes_of_word(word: str) -> tuple[int, int, int]:
    """Returns the bytes and characters of a word and the space or line end after it, and those without spaces."""
    return (0, 0, 0) if word == EOS else (len(word.encode()) + 1, len(word) + 1, count_unspaced(word))


def _unseparated_ends(ids: np.ndarray, eos: int) -> int:
    """Returns the number of empty lines, whose ends stand after no word, less 1 if the last word has no end."""
    pairs = (ids[max(i - 1, 0) : i + _BLOCK] == eos for i in range(0, len(ids), _BLOCK))
    return int(ids[0] == eos) - int(ids[-1] != eos) + sum(int((pair[1:] & pair[:-1]).sum()) for pair in pairs)


def encode_paragraphs(
    files: Mapping[str, TextFile], format: TextFormat = USUAL, folder: Path | None = None
) -> tuple[dict[str, np.ndarray], Subwords, dict[str, TextSizes]]:
    """Returns the ids of a corpus' texts in subwords or characters, their tokenizer and `TextSizes`.

    Each text is read once; the training text twice if the tokenizer is made of it, since no piece is known before the
    last paragraph is counted. With a folder: as `encode_words`.
    """
    tokenizer = cast(Subwords | None, format.tokenizer)
    if tokenizer is None:
        size = format.vocabulary_size or num_subwords(files["train"].size)
        tokenizer = Subwords.train(_paragraphs(iter_lines(files["train"]), format)[1], size)
    ids, counted = {}, {}
    for split, file in files.items():
        paragraphs, texts = _paragraphs(iter_lines(file), format)
        sizes = [0, 0, 0, 0]
        read = map(format.signs.read, _counted(texts, sizes, file.path))
        faithful = _faithful(read, tokenizer) if split == "train" else read
        ids[split] = _collect(tokenizer.encode_paragraphs(faithful), _path(folder, split))
        words, num_bytes, characters, unspaced = sizes
        # A tokenizer of pieces without bytes for the rest may not know a letter of the other texts.
        unknown = 0 if tokenizer.unk_id is None else int((ids[split] == tokenizer.unk_id).sum())
        counted[split] = TextSizes(len(ids[split]), words, num_bytes, characters, unspaced, unknown, paragraphs.joined)
    return ids, tokenizer, counted


def read_paragraphs(text: str, format: TextFormat) -> Iterator[str]:
    """Returns the paragraphs of a text, read as a training text: of words its lines, empty ones too."""
    lines = (line.removesuffix("\n") for line in io.StringIO(text, newline="\n"))
    if cast(Tokenizer, format.tokenizer).kind == "words":
        return lines
    return _paragraphs(lines, dataclasses.replace(format, wrapped=is_wrapped([text])))[1]


def _paragraphs(lines: Iterable[str], format: TextFormat) -> tuple[Paragraphs, Iterator[str]]:
    """Returns the `Paragraphs` of lines, which know in the end how many were joined, and an iterator of them."""
    paragraphs = Paragraphs(format.keeps_lines)
    if format.of_words:
        lines = map(format.line, lines)
    return paragraphs, paragraphs.read(lines)


def _faithful(paragraphs: Iterable[str], tokenizer: Subwords) -> Iterator[str]:
    """Yields paragraphs; the tokenizer must know every letter of the first hundred."""
    for number, paragraph in enumerate(paragraphs):
        if number < _COMPARED:
            tokenizer.check_faithful(paragraph)
        yield paragraph


def num_subwords(num_bytes: int) -> int:
    """Returns the number of subwords of a training text of so many bytes: more for a longer one."""
    return next((size for limit, size in _NUM_SUBWORDS if num_bytes < limit), _MOST_SUBWORDS)


def _counted(paragraphs: Iterable[str], sizes: list[int], path: str) -> Iterator[str]:
    """Yields paragraphs, and adds what `sizes_of` says of each to four sizes; raises a DataError if there is none."""
    for paragraph in paragraphs:
        sizes[:] = map(operator.add, sizes, sizes_of(paragraph))
        yield paragraph
    if not any(sizes):
        raise _empty(path)


def _empty(path: str) -> DataError:
    return DataError(f"Expected a text of at least one word. {path} is empty.")


def iter_words(file: TextFile) -> Iterator[list[str]]:
    r"""Yields the words of `text.replace("\n", " <eos> ").split()` in lists; DataError for one of megabytes."""
    part = ""
    for text in itertools.chain(file.text(), [""]):
        words = (part + text).replace("\n", f" {EOS} ").split()
        # The last word may go on in the next piece.
        part = words.pop() if text and words and not text[-1:].isspace() else ""
        if len(part) > _LONGEST_WORD:
            raise DataError(f"Expected words. {file.path} has one of more than {_LONGEST_WORD:,} characters.")
        yield words


def _numbered(file: TextFile, numbers: dict[str, int]) -> Iterator[np.ndarray]:
    find, has_words = numbers.__getitem__, False
    for words in iter_words(file):
        ids = np.fromiter(map(find, words), "<i4", len(words))
        has_words = has_words or bool((ids != numbers.get(EOS, -1)).any())
        yield ids
    check_no_binary("".join(numbers), file.path)
    if not has_words:
        raise _empty(file.path)


def _path(folder: Path | None, split: str) -> Path | None:
    return None if folder is None else folder / f"{split}.ids"


def _collect(pieces: Iterable[np.ndarray], path: Path | None) -> np.ndarray:
    if path is None:
        return np.concatenate(list(pieces))
    with path.open("wb") as file:
        for piece in pieces:
            file.write(piece.data)
    return np.memmap(path, "<i4", "r+")


def _counts(ids: np.ndarray, size: int) -> np.ndarray:
    """Returns how often each id occurs, int [size]."""
    blocks = (np.bincount(ids[i : i + _BLOCK], minlength=size) for i in range(0, len(ids), _BLOCK))
    return sum(blocks, np.zeros(size, np.intp))


def _renumber(ids: np.ndarray, new: np.ndarray, numbers: Mapping[str, int], path: str) -> None:
    """Replaces each id by `new[id]`, in its place."""
    line, eos = 1, numbers.get(EOS, -1)
    all_known = new.min() >= 0
    for start in range(0, len(ids), _BLOCK):
        block = ids[start : start + _BLOCK]
        renumbered = new[block]
        if not all_known:
            if (unknown := renumbered < 0).any():
                word = list(numbers)[block[unknown.argmax()]]
                line += int((block[: unknown.argmax()] == eos).sum())
                raise UnknownWordError(word, f"{path}, line {line}")
            line += int((block == eos).sum())
        block[:] = renumbered
