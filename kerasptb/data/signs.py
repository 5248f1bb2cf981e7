"""Signs that are written in several ways, as `'` and `’`: one that a text lacks is read as one that the text has.

Keyboards of phones and word processors write typographic quotes, dashes and spaces; a model that has never met them
would read each as bytes that mean nothing to it, and all after them worse.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable

# The ways to write a sign, the one to prefer first: at the beginning of a word, and elsewhere.
_WAYS = (
    ("'‚‘‛’ʼ", "'’ʼ‘‚‛"),
    ('"„“‟”', '"”“„‟'),
    (["...", "…"],) * 2,
    (["--", "—"],) * 2,
    ("-‐‑–−",) * 2,
    (" \u00a0\u202f\u2009",) * 2,  # no-break spaces, and a thin one
)
# All but a hyphen and a space, which any text may have: they are read as nothing else.
ALL = tuple(sign for ways, _ in _WAYS for sign in ways if sign not in "- ")
_NEAR = 16  # characters before a sign that are looked at, and all of the text if these are quotes
# Quotes that may open or close; of the others some always open.
_QUOTES = "\"'“”‟‘’‛«»‹›"


def begins_word(text: str) -> bool:
    """Returns whether what follows a text begins a word: after white space, an opening quote or bracket, or nothing.

    A quote opens if what stands before it is such a place; `“`, which closes in German, does so too.
    """
    last = text.rstrip(_QUOTES)[-1:]
    return not last or last.isspace() or last in "¿¡" or unicodedata.category(last) == "Ps"


def absent_signs(pieces: Iterable[str]) -> tuple[str, ...]:
    """Returns those of the signs that a text, in pieces one after the other, does not have."""
    absent, end = list(ALL), ""
    for piece in pieces:
        absent = [sign for sign in absent if sign not in end + piece[:2] and sign not in piece]
        end = piece[-2:]  # a sign has three characters at most
    return tuple(absent)


class Signs:
    """Reads texts with the signs that one text has.

    Args:
        absent: the signs that it lacks.

    Attributes:
        readings: dict from each of them that is read otherwise to what it is read as at a word's beginning, and
            elsewhere. If a text lacks all ways to write a sign, they are read as the first.
    """

    def __init__(self, absent: Iterable[str]) -> None:
        lacks, self.readings = set(absent), dict[str, tuple[str, str]]()
        for ways in _WAYS:
            first, other = (next((sign for sign in order if sign not in lacks), order[0]) for order in ways)
            self.readings |= {
                sign: (first, other) for sign in ways[0] if sign in lacks and (first, other) != (sign, sign)
            }
        longest_first = sorted(self.readings, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")

    def read(self, text: str, before: str = "") -> str:
        """Returns a text, which another stands before, with signs that the model knows."""
        return self._pattern.sub(self._reading_after(before), text)

    def places(self, text: str) -> list[int]:
        """Returns where in a text each character of what is read begins, and where the last one ends."""
        places, done, reading = list[int](), 0, self._reading_after("")
        for match in self._pattern.finditer(text):
            places += range(done, match.start())
            places += [match.start()] * len(reading(match))
            done = match.end()
        return [*places, *range(done, len(text) + 1)]

    def _reading_after(self, before: str) -> Callable[[re.Match[str]], str]:
        """Returns what gives the readings of a text's matches, one after the other."""
        begins, last = None, 0

        def reading(match: re.Match[str]) -> str:
            nonlocal begins, last
            at_beginning, elsewhere = self.readings[match[0]]
            if at_beginning == elsewhere:
                return elsewhere
            text, place = match.string, match.start()
            if begins is None or text[last:place].strip(_QUOTES):  # else what stands before the last one decides
                near = text[max(place - _NEAR, 0) : place]
                begins = begins_word(near if near.strip(_QUOTES) else before + text[:place])
            last = place
            return at_beginning if begins else elsewhere

        return reading
