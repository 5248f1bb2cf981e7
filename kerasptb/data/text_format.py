"""How a text is read: what it is cut into, and what its lines are."""

from __future__ import annotations

import dataclasses
import os
from typing import Any, Self, get_args

from kerasptb.data.errors import DataError
from kerasptb.data.subwords import Subwords
from kerasptb.data.tokenizer import Tokenizer
from kerasptb.utils.types import Tokens


@dataclasses.dataclass(frozen=True)
class TextFormat:
    """How a text is read; `None` where nothing is said of it."""

    tokens: Tokens | None = None  # what it is cut into, see `load_corpus`
    tokenizer: Tokenizer | None = None  # which cuts it
    vocabulary_size: int | None = None  # the most tokens of a tokenizer that is made of the text
    keep_lines: bool | None = None  # whether each of its lines is a paragraph
    # Whether its lines are of words, and read as subwords or characters with one space between two words.
    of_words: bool | None = None

    @property
    def named(self) -> dict[str, Any]:
        """What is said, by name, a dict."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    @property
    def says_tokens(self) -> bool:
        """Whether it says what the text is cut into."""
        return bool({"tokens", "tokenizer", "vocabulary_size"} & set(self.named))

    def check(self) -> None:
        """Raises a `DataError` if a text cannot be read so."""
        if self.tokens not in (None, *get_args(Tokens)):
            raise DataError(f"Expected tokens that are {', '.join(get_args(Tokens))}. Received: tokens={self.tokens!r}")
        if self.tokenizer is not None and (self.tokens is not None or self.vocabulary_size is not None):
            raise DataError(f"Expected a vocabulary, or what to make one of. Received: {self.named}")
        if self.tokens == "characters" and self.vocabulary_size is not None:
            raise DataError(f"Characters are the 256 bytes. Received: vocabulary_size={self.vocabulary_size}")

    def or_tokens(self, tokens: Tokens | None) -> Self:
        """Returns the format with these tokens, unless it says what the text is cut into."""
        return self if self.says_tokens else dataclasses.replace(self, tokens=tokens)

    def of_text(self, usual_tokens: Tokens) -> Self:
        """Returns the whole format of a text, cut into the usual tokens if nothing is said; it may lack a tokenizer."""
        tokenizer = Subwords.characters() if self.tokens == "characters" else self.tokenizer
        tokens = self.tokens or (usual_tokens if tokenizer is None else tokenizer.kind)
        of_words = usual_tokens == "words" and tokens != "words"
        keep_lines = bool(self.keep_lines) or of_words
        return dataclasses.replace(self, tokens=tokens, tokenizer=tokenizer, keep_lines=keep_lines, of_words=of_words)


USUAL = TextFormat()


def open_tokenizer(tokenizer: Tokenizer | str | os.PathLike[str] | None) -> Tokenizer | None:
    """Returns a tokenizer, read if it is named by its file: a tokenizer.json or a SentencePiece .model."""
    return tokenizer if tokenizer is None or isinstance(tokenizer, Tokenizer) else Subwords.load(tokenizer)
