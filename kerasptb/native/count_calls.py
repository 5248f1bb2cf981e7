"""The counts of a text on the native library; `kerasptb.reading.counts` says what they are. Arrays are NumPy's."""

import ctypes
import weakref
from typing import Any

import numpy as np

from kerasptb.native import loader

_INT32, _INT8, _FLOAT = (np.ctypeslib.ndpointer(dtype, flags="C") for dtype in ("int32", "int8", "float32"))
_SIZE, _POINTER = ctypes.c_int64, ctypes.c_void_p


def sort(tokens: np.ndarray, vocabulary_size: int) -> np.ndarray:
    """Returns the positions of tokens, int32 [N], sorted by the tokens before them, int32 [N]."""
    order = np.empty_like(tokens)
    _call("sort", (_INT32, _SIZE, _SIZE, _INT32), tokens, len(tokens), vocabulary_size, order)
    return order


class NativeCounts:
    """What `kerasptb.reading.counts.NumpyCounts` is, in the library's memory."""

    def __init__(self, tokens: np.ndarray | None = None, order: np.ndarray | None = None) -> None:
        self._arrays = tokens, order  # which the library reads
        size, pointers = 0, (None, None)
        if tokens is not None and order is not None:
            size, pointers = len(tokens), (tokens.ctypes.data, order.ctypes.data)
        open_counts = loader.function("kerasptb_counts_open", _POINTER, _POINTER, _SIZE, returns=_POINTER)
        self._counts = open_counts(*pointers, size)
        if self._counts is None:
            raise MemoryError("no memory for the counts of a text")
        weakref.finalize(self, loader.function("kerasptb_counts_close", _POINTER, returns=None), self._counts)

    def append(self, tokens: np.ndarray) -> None:
        """Adds tokens, int32 [T]."""
        _call("append", (_POINTER, _INT32, _SIZE), self._counts, tokens, len(tokens))

    def mix(self, weights: np.ndarray, histories: np.ndarray, log_probabilities: np.ndarray) -> None:
        """Refines float32 [N, V] in place, after histories, int32 [N, DEPTH]."""
        types = _POINTER, _FLOAT, _INT32, _SIZE, _FLOAT, _SIZE
        rows, vocabulary_size = log_probabilities.shape
        _call("mix", types, self._counts, weights, histories, rows, log_probabilities, vocabulary_size)

    def find_parts(
        self, context: np.ndarray, tokens: np.ndarray, parts: np.ndarray, numbers: np.ndarray, append: bool = False
    ) -> None:
        """Writes the parts of tokens, int32 [T], after a context, int32 [T - 1 + DEPTH]."""
        pointer = np.ctypeslib.ndpointer(parts.dtype, flags="C")
        types = _POINTER, ctypes.c_int, _INT32, _INT32, _SIZE, pointer, _INT8
        _call("find_parts", types, self._counts, append, context, tokens, len(tokens), parts, numbers)


def mix_parts(
    weights: np.ndarray, rate: float, parts: np.ndarray, numbers: np.ndarray, log_probabilities: np.ndarray
) -> None:
    """Refines log probabilities of tokens, float32 [T], in place; the weights go a step after each."""
    pointer = np.ctypeslib.ndpointer(parts.dtype, flags="C")
    types = _FLOAT, ctypes.c_float, pointer, _INT8, _SIZE, _FLOAT
    mix = loader.function("kerasptb_counts_mix_parts", *types, returns=None)
    mix(weights, rate, parts, numbers, len(numbers), log_probabilities)


def _call(name: str, types: tuple[Any, ...], *arguments: Any) -> None:
    if not loader.function(f"kerasptb_counts_{name}", *types, returns=ctypes.c_bool)(*arguments):
        raise MemoryError("no memory for the counts of a text")
