"""What every kind of tokens has in common: words, subwords and characters."""

import abc
import dataclasses
import enum
import functools
import os
from collections.abc import Iterable, Iterator
from typing import ClassVar, Protocol

import numpy as np

from kerasptb.data.errors import DataError
from kerasptb.data.streams import as_ids
from kerasptb.utils.types import Tokens

EOS = "<eos>"
UNK = "<unk>"


class Ending(enum.StrEnum):
    """How a text ends after which more is typed, as a short text that ends so."""

    LINE = "\n"  # where a paragraph begins
    OPENING = "("  # in a quote or bracket, after which a word comes without a space
    WORD = "a"  # in anything else, after which a word comes with a space


@dataclasses.dataclass(frozen=True)
class Unit:
    """A part of a text as it was typed, a word or a line's end, and what is read in it."""

    start: int  # offset of its beginning in the text
    end: int  # offset after its end
    tokens: np.ndarray  # int32 [T], the ids; of a vocabulary of words two for "don't", none for a comma


@dataclasses.dataclass(frozen=True)
class TypedWord:
    """A word or a sign of punctuation as a person types it, letter by letter."""

    text: str
    word: str | None  # what it is read as; None if it is not read
    # What a search for it begins with before its first letter: the space before it, or nothing. If no token ends there,
    # the characters before that are in the same token.
    lead: str
    context: int = 0  # how many of the text's tokens come before that
    end: int | None = None  # how many until its last letter; None if none ends there
    shown_from: int = 0  # how many of its letters are typed at least before keys can show it
    is_named: bool = True  # False if it stands for a word that the text does not name: `<unk>` or `N`
    begins: bool = False  # whether it comes without a space, as in some tokenizers where a paragraph begins, or in `("`


# What stands between white space in a text, its words and signs; nothing for a line's end.
Parts = list[list[TypedWord]]


class WordsThatBegin(Protocol):
    """What finds words by how they begin."""

    def beginning(self, prefix: str) -> np.ndarray:
        """Returns something for each word that begins with a prefix, whatever the case."""


class Tokenizer(abc.ABC):
    r"""A two-way table of tokens and ids, and the way between a text and ids. Immutable.

    Attributes:
        kind: "words", "subwords" or "characters".
        spells: whether its tokens write any text, so that nothing is unknown.
        limit: the `vocabulary_size` with which `load_corpus` makes it again of its text; `None` to name none.
        tokens: tuple of V strings; `tokens[id]` is the token of an id.
        token_to_id: mapping from token to id.
        pieces: tuple of V bytes: what each token writes. A word writes a space before it, the end of a line or of a
            paragraph `b"\n"`.
        eos_id: the id of the end of a line or paragraph, or None.
        unk_id: the id of what stands for unknown words, or None.
        unnamed: the tokens that stand for words which they do not name, such as `<unk>`: nobody can type them.
        first: what is put before the first word of a paragraph: " " if it is a token with a space, like any other.
        digest: SHA-256, in hexadecimal, of what decides how a text is read.
    """

    FILE: ClassVar[str]  # its file's name in a folder

    kind: Tokens
    spells: ClassVar[bool]
    limit: int | None
    tokens: tuple[str, ...]
    pieces: tuple[bytes, ...]
    digest: str
    eos_id: int | None
    unk_id: int | None
    unnamed: frozenset[str] = frozenset()
    first: str = " "

    @functools.cached_property
    def token_to_id(self) -> dict[str, int]:
        """The id of each token."""
        return {token: index for index, token in enumerate(self.tokens)}

    @functools.cached_property
    def written(self) -> tuple[str, ...]:
        """The `pieces` as texts; bytes that are no whole character are surrogates."""
        return tuple(piece.decode(errors="surrogateescape") for piece in self.pieces)

    @abc.abstractmethod
    def encode(self, text: str) -> np.ndarray:
        """Returns the ids of a text, int32 [N]; line ends become `tokens[eos_id]`.

        Raises:
            UnknownWordError: a word is unknown, and there is no `unk_id`.
        """

    @abc.abstractmethod
    def decode(self, ids: Iterable[int]) -> str:
        """Returns the text of ids, integers [N]."""

    def encode_typed(self, text: str) -> np.ndarray:
        """Returns the ids of a text that a person typed, as the beginning of a paragraph: after its `eos_id`.

        Args:
            text: any text; may be empty.

        Returns:
            int32 [T], T at least 1.

        Raises:
            DataError: as `encode`, or there is nothing to begin with.
        """
        begin = [] if self.eos_id is None else [self.eos_id]
        ids = np.array([*begin, *self.encode_further(text, Ending.LINE)], "int32")
        if not len(ids):
            raise DataError("Expected a text with at least one word: the vocabulary has no <eos> to begin with.")
        return ids

    @abc.abstractmethod
    def continued(self, text: str, ids: Iterable[int]) -> str:
        """Returns a text as it was typed, and what ids, integers [N], write after it."""

    @abc.abstractmethod
    def typed_after(self, text: str, before: str) -> str:
        """Returns a text that is typed after another, with the space that comes between."""

    @abc.abstractmethod
    def encode_further(self, text: str, before: Ending = Ending.WORD) -> np.ndarray:
        """Returns the ids of a text that a person typed after another, int32 [T]; it raises as `encode`.

        Args:
            text: the text.
            before: how the other ends, in whole words.
        """

    @abc.abstractmethod
    def units_typed(self, text: str) -> list[Unit]:
        """Returns the parts of a text in which something is read: together what `encode_typed` reads after `eos_id`."""

    @abc.abstractmethod
    def words_typed(self, text: str) -> Iterator[str]:
        """Yields the words of a text that a person typed, all whole, as keys show them; `<eos>` for a line's end."""

    @abc.abstractmethod
    def typed_parts(self, text: str, keep_lines: bool | None = None) -> tuple[np.ndarray, Parts]:
        """Returns the ids of a text that a person types, and what stands between white space in it.

        Args:
            text: any text.
            keep_lines: of subwords and characters, whether each line is a paragraph; `None` for what suits the text.

        Returns:
            ids: int32 [T], as of `encode_typed`.
            parts: list of lists of `TypedWord`; an empty one for a line's end.
        """

    @abc.abstractmethod
    def parts_of(self, ids: np.ndarray) -> Parts:
        """Returns the parts of a text of ids, int32 [N], as `typed_parts` does."""

    @abc.abstractmethod
    def split_typed(self, text: str, others: WordsThatBegin | None = None) -> tuple[str, str]:
        """Splits a text into what is whole, and the beginning of the word that is being typed.

        Args:
            text: any text, of which the last word is unfinished unless something else follows it.
            others: finds words beside a vocabulary's that may be typed; `None` for none.

        Returns:
            The two parts. The second has the space before the word; it is "" if anything may come.
        """

    @abc.abstractmethod
    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the tokenizer to a file, completely or not at all."""

    def check_size(self, size: int) -> None:
        """Raises a `DataError` unless it has as many tokens as a model, V."""
        if len(self) != size:
            raise DataError(f"Expected the model's vocabulary, of {size} {self.kind}. Received: one of {len(self)}")

    def to_tokens(self, ids: Iterable[int]) -> list[str]:
        """Returns the tokens of ids.

        Args:
            ids: integers [N], each in 0 .. V - 1.

        Raises:
            DataError: an id is out of range, or `ids` is not one row of integers.
        """
        return [self.tokens[index] for index in self._checked(ids)]

    def _checked(self, ids: Iterable[int]) -> list[int]:
        array = as_ids(ids)
        if array.size and (array.min() < 0 or array.max() >= len(self)):
            wrong = next(index for index in array.tolist() if not 0 <= index < len(self))
            raise DataError(f"Expected ids between 0 and {len(self) - 1}. Received: {wrong}")
        return array.tolist()

    def __len__(self) -> int:
        return len(self.tokens)

    def __contains__(self, token: object) -> bool:
        return token in self.token_to_id

    def __eq__(self, other: object) -> bool:
        return self.digest == other.digest if isinstance(other, Tokenizer) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"<{len(self)} {self.kind}: {', '.join(self.tokens[:5])}{', …' if len(self) > 5 else ''}>"
