"""The walk over pieces that taps may come from, on the native library; `kerasptb.keyboard.taps` says what it is."""

import ctypes
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from kerasptb.native import loader

# Arrays go as addresses: a keystroke makes tens of calls, and NumPy's own types check each array for microseconds.
_ARRAY, _SIZE, _NUMBER, _LETTER = ctypes.c_void_p, ctypes.c_int64, ctypes.c_double, ctypes.c_int32
_HITS = (_ARRAY, _ARRAY, _ARRAY, _ARRAY, _SIZE, _SIZE, ctypes.c_bool)
_ROW = (_ARRAY, _LETTER)
_FOLLOW = (
    *(_ARRAY, _ARRAY, _ARRAY, _ARRAY, _SIZE, _SIZE),  # the trie
    *(*_HITS, *_ROW, _NUMBER),
    *(_ARRAY, _SIZE, _NUMBER),
    *(_SIZE, _ARRAY, _ARRAY, _ARRAY, _ARRAY, _ARRAY),  # what is found
)
_ALIGN = (*_HITS, *_ROW, _ARRAY, _ARRAY, _SIZE, _ARRAY)


def align_all(hits: Any, row: Any, words: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the probabilities of all taps for words, int32 [M] each, float64 [W]."""
    lengths, ends = np.array(list(map(len, words)), "int64"), np.empty(len(words))
    letters = np.concatenate([np.zeros(0, "int32"), *words])
    if not _align()(*hits.addresses, *_row(row), *map(_at, (letters, lengths)), len(words), _at(ends)):
        raise MemoryError("no memory for a search of words")
    return ends


def follow(
    trie: Any, first: int, last: int, hits: Any, row: Any, log_probabilities: np.ndarray, log_least: float, most: int
) -> tuple[np.ndarray, ...]:
    """Returns the pieces, int32 [M], values, float64 [M], rows, float64 [M, 2, n + 1], symbols and bounds, [M]."""
    most = min(most, last - first)
    ids, symbols = np.empty(most, "int32"), np.empty(most, "int32")
    values, bounds, rows = np.empty(most), np.empty(most), np.empty((most, *row.values.shape))
    log_probabilities = np.ascontiguousarray(log_probabilities, "float32")
    found = _follow()(
        *(*trie.addresses, first, last),
        *(*hits.addresses, *_row(row), row.bound),
        *(_at(log_probabilities), len(log_probabilities), log_least),
        *(most, *map(_at, (ids, values, rows, symbols, bounds))),
    )
    if found < 0:
        raise MemoryError("no memory for a search of words")
    return ids[:found], values[:found], rows[:found], symbols[:found], bounds[:found]


@functools.cache
def _follow() -> Any:
    return loader.function("kerasptb_taps_follow", *_FOLLOW, returns=_SIZE)


@functools.cache
def _align() -> Any:
    return loader.function("kerasptb_taps_align", *_ALIGN, returns=ctypes.c_bool)


def _at(array: np.ndarray) -> int:
    return array.ctypes.data


def _row(row: Any) -> tuple[int, int]:
    return _at(row.values), row.last
