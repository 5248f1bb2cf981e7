"""From texts of any size to ids: read in pieces, numbered as the words come, renumbered by the vocabulary."""

import codecs
import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from kerasptb.data.errors import DataError, UnknownWordError
from kerasptb.data.files import SPLITS, SplitFile, SplitFiles
from kerasptb.data.vocabulary import EOS, Vocabulary

_BLOCK = 1 << 22  # ids that are renumbered at a time
_LONGEST_WORD = 1 << 22  # characters


class _Numbers(dict):
    """Numbers words in the order in which they first come."""

    def __missing__(self, word):
        number = self[word] = len(self)
        return number


def encode_files(
    files: SplitFiles,
    vocabulary: Vocabulary | None = None,
    vocabulary_size: int | None = None,
    folder: Path | None = None,
) -> tuple[dict[str, np.ndarray], Vocabulary]:
    """Returns the ids of a corpus' texts, and their vocabulary. Each text is read once.

    Args:
        files: the files of "train", "valid" and "test".
        vocabulary: the vocabulary; `None` makes it from the training text.
        vocabulary_size: the most words of that vocabulary, see `Vocabulary.from_counts`.
        folder: where to write the ids, little-endian int32, in the files `SPLIT.ids`; `None` keeps them in memory.

    Returns:
        ids: mapping from split to int32 [N]; with `folder` they are mapped from its files into memory.
        vocabulary: the vocabulary.

    Raises:
        DataError: a file is not UTF-8, holds no word, or has a line end while the training text has none.
        UnknownWordError: a word is outside a vocabulary that has no `<unk>`.
    """
    numbers, ids = _Numbers(), {}
    is_own = vocabulary is None
    for split in SPLITS:
        ids[split] = _collect(_numbered(files[split], numbers), None if folder is None else folder / f"{split}.ids")
        if vocabulary is None:
            counts = _counts(ids[split], len(numbers)).tolist()
            vocabulary = Vocabulary.from_counts(dict(zip(numbers, counts, strict=True)), vocabulary_size)
        elif is_own and EOS in numbers and EOS not in vocabulary:
            raise DataError(
                f"The training text has no line end, and so no {EOS}; {files[split].path} has one. End the lines of "
                "the training text, or let no text have any."
            )
    assert vocabulary is not None  # made from the first text
    unk_id = -1 if vocabulary.unk_id is None else vocabulary.unk_id
    new = np.array([vocabulary.word_to_id.get(word, unk_id) for word in numbers], "<i4")
    for split in SPLITS:
        _renumber(ids[split], new, numbers, files[split].path)
    return ids, vocabulary


def iter_words(file: SplitFile) -> Iterator[list[str]]:
    r"""Yields the words of a text in lists, of the whole the words that the original reader finds.

    These are `text.replace("\n", " <eos> ").split()`. A byte order mark is dropped.

    Raises:
        DataError: the file is not UTF-8, or has no white space for millions of characters.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    num_bytes, num_lines, part = 0, 0, ""
    for piece in itertools.chain(file.chunks(), [b""]):
        undecoded = len(decoder.getstate()[0])
        try:
            text = decoder.decode(piece, final=not piece)
        except UnicodeDecodeError as error:
            place = num_bytes - undecoded + error.start
            line = num_lines + error.object.count(b"\n", 0, error.start) + 1
            raise DataError(
                f"Expected a text in UTF-8. {file.path} is not: byte {place} (line {line}) is "
                f"0x{error.object[error.start]:02x}. Convert the file to UTF-8."
            ) from None
        if not num_bytes:
            text = text.removeprefix("\ufeff")
        num_bytes += len(piece)
        num_lines += piece.count(b"\n")
        words = (part + text).replace("\n", f" {EOS} ").split()
        # The last word may go on in the next piece.
        part = words.pop() if piece and words and not text[-1:].isspace() else ""
        if len(part) > _LONGEST_WORD:
            raise DataError(f"Expected words. {file.path} has one of more than {_LONGEST_WORD:,} characters.")
        yield words


def _numbered(file: SplitFile, numbers: dict[str, int]) -> Iterator[np.ndarray]:
    find, has_words = numbers.__getitem__, False
    for words in iter_words(file):
        ids = np.fromiter(map(find, words), "<i4", len(words))
        has_words = has_words or bool((ids != numbers.get(EOS, -1)).any())
        yield ids
    if not has_words:
        raise DataError(f"Expected a text of at least one word. {file.path} is empty.")


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
