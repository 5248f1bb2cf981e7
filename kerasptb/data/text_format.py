"""How a text is read: what it is cut into, and what its lines are."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
from pathlib import Path
from typing import Any, Self, cast, get_args

from kerasptb.data.errors import DataError
from kerasptb.data.signs import Signs
from kerasptb.data.sources.opening import OpenedText
from kerasptb.data.streams import check_sizes
from kerasptb.data.tokenizers.subwords import Subwords
from kerasptb.data.tokenizers.tokenizer import Tokenizer, Unit
from kerasptb.data.tokenizers.vocabulary import Vocabulary
from kerasptb.utils.files import write_json
from kerasptb.utils.types import Tokens

_LINES = "lines.json"


@dataclasses.dataclass(frozen=True)
class TextFormat:
    """How a text is read; `None` where nothing is said of it."""

    tokens: Tokens | None = None  # what it is cut into, see `load_corpus`
    tokenizer: Tokenizer | None = None  # which cuts it
    vocabulary_size: int | None = None  # the most tokens of a tokenizer that is made of the text
    keep_lines: bool | None = None  # whether each of its lines is a paragraph; None for what `wrapped` says
    # Whether its lines are of words, and read as subwords or characters with one space between two words.
    of_words: bool | None = None
    wrapped: bool | None = None  # whether it was found to be wrapped prose, of which lines are joined
    # The signs that its training text lacks, which are read as others, see `Signs`.
    absent_signs: tuple[str, ...] | None = None

    @functools.cached_property
    def signs(self) -> Signs:
        """What reads the signs of any text as its own; without `absent_signs` as they are."""
        return Signs(self.absent_signs or ())

    def line(self, text: str) -> str:
        """Returns a line as it is read: of words with one space between two, else without the space at its end."""
        return " ".join(text.split()) if self.of_words else text.rstrip()

    def units_typed(self, text: str) -> list[Unit]:
        """Returns the `Unit`s of a text, with offsets in it as it was typed."""
        units = cast(Tokenizer, self.tokenizer).units_typed(self.signs.read(text))
        places = self.signs.places(text)
        return [dataclasses.replace(unit, start=places[unit.start], end=places[unit.end]) for unit in units]

    def end_typed(self, text: str, size: int) -> str:
        """Returns the end of a text's last word as it was typed, of which so many characters are read."""
        word = (text.rsplit(None, 1) or [""])[-1]
        return word[self.signs.places(word)[-1 - size] :]

    @property
    def named(self) -> dict[str, Any]:
        """What is said, by name, a dict."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    @property
    def keeps_lines(self) -> bool:
        """Whether each line is a paragraph, by what is said, or else by what was found."""
        return self.wrapped is False if self.keep_lines is None else self.keep_lines

    @property
    def says_tokens(self) -> bool:
        """Whether it says what the text is cut into."""
        return bool({"tokens", "tokenizer", "vocabulary_size"} & set(self.named))

    def check(self) -> None:
        """Raises a `DataError` if a text cannot be read so."""
        if self.tokens not in (None, *get_args(Tokens)):
            raise DataError(f"Expected tokens that are {', '.join(get_args(Tokens))}. Received: tokens={self.tokens!r}")
        if self.vocabulary_size is not None:
            check_sizes(vocabulary_size=self.vocabulary_size)
        if self.tokenizer is not None and (self.tokens is not None or self.vocabulary_size is not None):
            raise DataError(f"Expected a vocabulary, or what to make one of. Received: {self.named}")
        if self.tokens == "characters" and self.vocabulary_size is not None:
            raise DataError(f"Characters are the 256 bytes. Received: vocabulary_size={self.vocabulary_size}")

    def or_tokens(self, tokens: Tokens | None) -> Self:
        """Returns the format with these tokens, unless it says what the text is cut into."""
        return self if self.says_tokens else dataclasses.replace(self, tokens=tokens)

    def of_text(self, text: OpenedText) -> Self:
        """Returns the whole format of a text, cut into the usual tokens if nothing is said; it may lack a tokenizer."""
        usual_tokens = text.usual_tokens
        tokenizer = Subwords.characters() if self.tokens == "characters" else self.tokenizer
        tokens = self.tokens or (usual_tokens if tokenizer is None else tokenizer.kind)
        of_words = usual_tokens == "words" and tokens != "words"
        whole = dataclasses.replace(self, tokens=tokens, tokenizer=tokenizer, of_words=of_words)
        if of_words:
            return dataclasses.replace(whole, keep_lines=True)
        judged = tokens != "words" and self.keep_lines is None and self.wrapped is None
        return dataclasses.replace(whole, wrapped=text.is_wrapped) if judged else whole

    def describe_lines(self, joined: int) -> str | None:
        """Returns what became of a text's lines and why, for people; `None` if it was asked, or is of the tokens."""
        if self.wrapped is False:
            return "Each line is a paragraph, since the whole text is no wrapped prose. --no-keep-lines joins some."
        if joined:
            why = "since the text is wrapped prose" if self.wrapped else "as was asked"
            return f"Lines are joined into paragraphs, {joined:,} to the one before, {why}. --keep-lines leaves them."
        return None

    def save(self, folder: Path) -> list[Path]:
        """Writes it into a folder, and returns the files: its tokenizer, and what of it is unusual; none without it."""
        if self.tokenizer is None:
            return []
        self.tokenizer.save(folder / self.tokenizer.FILE)
        names = ("keep_lines", "of_words", "absent_signs")
        unusual = {name: value for name in names if (value := getattr(self, name))}
        if unusual:
            write_json(folder / _LINES, unusual)
        return [folder / name for name in (self.tokenizer.FILE, *([_LINES] if unusual else []))]

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads what `save` wrote; raises as `load_tokenizer`."""
        tokenizer, path = load_tokenizer(folder), folder / _LINES
        unusual = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        if "absent_signs" in unusual:
            unusual["absent_signs"] = tuple(unusual["absent_signs"])
        return cls(tokenizer=tokenizer, **unusual)


USUAL = TextFormat()


def load_tokenizer(folder: Path) -> Tokenizer:
    """Reads the tokenizer that `save` wrote under its `FILE` in a folder, of whichever kind it is.

    Raises:
        DataError: the file is damaged.
        FileNotFoundError: there is none.
    """
    subwords = folder / Subwords.FILE
    return Subwords.load(subwords) if subwords.exists() else Vocabulary.load(folder / Vocabulary.FILE)


def open_tokenizer(tokenizer: Tokenizer | str | os.PathLike[str] | None) -> Tokenizer | None:
    """Returns a tokenizer, read if it is named by its file: a tokenizer.json or a SentencePiece .model."""
    return tokenizer if tokenizer is None or isinstance(tokenizer, Tokenizer) else Subwords.load(tokenizer)
