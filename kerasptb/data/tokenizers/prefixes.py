"""Texts by how they begin, whatever the case."""

import bisect
import functools
from collections.abc import Iterable

import numpy as np


def fold_case(text: str) -> str:
    """Returns a text as it is compared with what is typed: in lower case, with `'` for `’`, and `σ` for `ς`."""
    return text.replace("’", "'").lower().replace("ς", "σ")


def fold_bytes(text: str) -> bytes:
    """Returns the bytes of a text as it is compared with what is typed, so that parts of a letter compare too.

    Args:
        text: any text; bytes that are no whole character are surrogates, and stay as they are.
    """
    return fold_case(text).encode(errors="surrogateescape")


class PrefixIndex:
    """Finds which of some texts begin with a prefix, by their indices.

    Args:
        texts: N texts, as `fold_bytes` takes them.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        folded = list(map(fold_bytes, texts))
        order = sorted(range(len(folded)), key=folded.__getitem__)
        self._sorted, self._ids = [folded[index] for index in order], np.array(order, int)
        self._longest = max(map(len, folded), default=0)
        self._cached = functools.lru_cache(1 << 12)(self._find)  # the same beginnings are typed again and again

    def beginning(self, prefix: str) -> np.ndarray:
        """Returns the indices of the texts that begin with a prefix, in their order, int [M]."""
        return self._cached(fold_bytes(prefix)) if len(prefix) <= self._longest else self._ids[:0]

    def __contains__(self, text: object) -> bool:
        """Whether a text is one of them, whatever the case."""
        folded = fold_bytes(text) if isinstance(text, str) else b""
        return isinstance(text, str) and len(self._between(folded, folded + b"\0")) > 0

    def _find(self, folded: bytes) -> np.ndarray:
        return np.sort(self._between(folded, folded + b"\xff" * (self._longest + 1)))

    def _between(self, first: bytes, last: bytes) -> np.ndarray:
        low = bisect.bisect_left(self._sorted, first)
        return self._ids[low : bisect.bisect_left(self._sorted, last, lo=low)]
