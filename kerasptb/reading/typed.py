"""A text as far as it is typed."""

from __future__ import annotations

import dataclasses
from typing import Self

from kerasptb.data import Tokenizer
from kerasptb.data.tokenizers.tokenizer import WordsThatBegin
from kerasptb.data.tokenizers.written_text import comes_unspaced


@dataclasses.dataclass(frozen=True)
class Typed:
    """A text as far as it is typed.

    Attributes:
        whole: the text up to the last whole word.
        prefix: the beginning of the word that is being typed, with the space before it; "" if anything may come.
        begins: whether that word comes without a space before it, see `comes_unspaced`.
    """

    whole: str
    prefix: str
    begins: bool

    @classmethod
    def after(cls, tokenizer: Tokenizer, whole: str, prefix: str) -> Self:
        """Returns a text whose whole words and the beginning after them are known."""
        return cls(whole, prefix, prefix[:1] != " " and comes_unspaced(whole, tokenizer.first))


def split(tokenizer: Tokenizer, text: str, complete: bool = True, known: WordsThatBegin | None = None) -> Typed:
    """Returns a text as `Typed`.

    Args:
        tokenizer: the `Tokenizer`.
        text: any text.
        complete: whether its last word is unfinished, unless something else than a letter follows it.
        known: words any of which may be the one that is being typed; `None` for none.
    """
    whole, prefix = tokenizer.split_typed(text, known) if complete else (text.rstrip(" "), "")
    return Typed.after(tokenizer, whole, prefix)
