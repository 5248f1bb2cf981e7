"""A text as it is written, letter by letter: its words and signs, and the word that is being typed."""

import bisect
import itertools
import unicodedata
from collections.abc import Sequence

import numpy as np

from kerasptb.data.scripts import is_unspaced
from kerasptb.data.signs import begins_word
from kerasptb.data.tokenizers.ptb_words import NUMBER
from kerasptb.data.tokenizers.tokenizer import UNK, Parts, TypedWord

# Characters before a word that tell how it begins.
_FEW = 8
# What stands for words that the text does not name, in texts that have it.
_UNNAMED = (UNK, NUMBER)


def is_of_word(character: str) -> bool:
    """Returns whether it is of a word: a letter, a mark, a joiner, a digit, `'`, `-`, or a byte of such a character.

    Letters of scripts without spaces are not: where a word ends in them, only its piece tells, which is a sign then.
    """
    category = unicodedata.category(character)
    return (category[0] in "LMN" and not is_unspaced(character)) or category == "Cs" or character in "'’-\u200c\u200d"


def comes_unspaced(text: str, first: str) -> bool:
    """Returns whether the word after a text comes without a space: after an opening quote or bracket, as in `("`.

    Where a tokenizer puts nothing before a paragraph's first word, `first` being "", that comes so too.
    """
    return not first if not text or text.endswith("\n") else not text[-1].isspace() and begins_word(text)


def split_typed(text: str, first: str) -> tuple[str, str]:
    """Splits a text into what is whole, and the beginning of the word that is being typed, with the space before it.

    The last word is unfinished unless something else than a letter follows it. What a tokenizer puts before a
    paragraph's first word is `first`, " " or "".
    """
    start = next((i for i in range(len(text), 0, -1) if not is_of_word(text[i - 1])), 0)
    before = text[start - 1 : start] if start else "\n"
    if before == " ":
        return text[: start - 1], text[start - 1 :]
    return text[:start], (first if before == "\n" else "") + text[start:]


def read_parts(pieces: Sequence[bytes], first: str) -> Parts:
    """Returns what stands between white space in a text of pieces: words and signs; `[]` for a line's end."""
    words = _Words(pieces, first)
    text, parts = words.text, Parts()
    for kind, group in itertools.groupby(range(len(text)), lambda i: "\n" if text[i] == "\n" else text[i].isspace()):
        if kind == "\n":
            parts += [[] for _ in group]
        elif not kind:
            part = list(group)
            start, end = part[0], part[-1] + 1
            whole = text[start:end] in words.unnamed
            cuts = [i for i in part[1:] if not (whole or words.goes_on(i))]
            parts.append([words.between(*pair) for pair in itertools.pairwise([start, *cuts, end])])
    return parts


class _Words:
    """The words and signs of a text by where they stand in it, and between its pieces."""

    def __init__(self, pieces: Sequence[bytes], first: str) -> None:
        self._ends, self._written, self._first = np.cumsum([0, *map(len, pieces)]), b"".join(pieces), first
        self.text = text = self._written.decode(errors="surrogateescape")
        sizes = [1] * len(text) if len(text) == len(self._written) else map(_num_bytes, text)
        self._places = np.cumsum([0, *sizes])
        self.unnamed = _UNNAMED if UNK in text.split() else ()

    def goes_on(self, place: int) -> bool:
        """Returns whether the character at a place is of the same word as the one before."""
        last, this = self.text[place - 1], self.text[place]
        if is_unspaced(last) and is_unspaced(this):
            at = self._places[place]
            return self._ends[bisect.bisect_left(self._ends, at)] != at  # within a piece
        return is_of_word(last) and is_of_word(this)

    def between(self, start: int, end: int) -> TypedWord:
        text, ends, places = self.text, self._ends, self._places
        before = start - 1 if text[start - 1 : start] == " " else start
        context = bisect.bisect_right(ends, places[before]) - 1
        last = bisect.bisect_left(ends, places[end])
        lead = self._written[ends[context] : places[start]].decode(errors="surrogateescape")
        name = text[start:end]
        begins = not lead and comes_unspaced(text[max(start - _FEW, 0) : start], self._first)
        return TypedWord(
            text=name,
            word=name,
            lead=lead,
            context=context,
            end=last if ends[last] == places[end] else None,
            shown_from=0 if begins or lead.endswith(" ") or (not lead and is_unspaced(name[0])) else 1,
            is_named=name not in self.unnamed,
            begins=begins,
        )


def _num_bytes(character: str) -> int:
    return len(character.encode(errors="surrogateescape"))
