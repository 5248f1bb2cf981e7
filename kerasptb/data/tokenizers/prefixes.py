"""Texts by how they begin, whatever the case."""

import bisect
import functools
from collections.abc import Iterable

import numpy as np

_AFTER_ANY = "\U0010ffff"


def fold_case(text: str) -> str:
    """Returns a text as it is compared with what is typed: in lower case, with `'` for `’`."""
    return text.replace("’", "'").lower()


class PrefixIndex:
    """Finds which of some texts begin with a prefix, by their indices."""

    def __init__(self, texts: Iterable[str]) -> None:
        folded = list(map(fold_case, texts))
        order = sorted(range(len(folded)), key=folded.__getitem__)
        self._sorted, self._ids = [folded[index] for index in order], np.array(order, int)
        self._longest = max(map(len, folded), default=0)
        self._cached = functools.lru_cache(1 << 12)(self._find)  # the same beginnings are typed again and again

    def beginning(self, prefix: str) -> np.ndarray:
        """Returns the indices of the texts that begin with a prefix, in their order, int [M]."""
        return self._cached(fold_case(prefix)) if len(prefix) <= self._longest else self._ids[:0]

    def beginning_of(self, text: str) -> np.ndarray:
        """Returns the indices of the texts that a longer text begins with, shorter ones first, int [M]."""
        folded = fold_case(text)
        fits = [self._between(folded[:end], folded[:end] + "\0") for end in range(1, min(len(text), self._longest + 1))]
        return np.concatenate(fits) if fits else self._ids[:0]

    def __contains__(self, text: object) -> bool:
        """Whether a text is one of them, whatever the case."""
        return isinstance(text, str) and len(self._between(fold_case(text), fold_case(text) + "\0")) > 0

    def _find(self, folded):
        return np.sort(self._between(folded, folded + _AFTER_ANY))

    def _between(self, first, last):
        low = bisect.bisect_left(self._sorted, first)
        return self._ids[low : bisect.bisect_left(self._sorted, last, lo=low)]
