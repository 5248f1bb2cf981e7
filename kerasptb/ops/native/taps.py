"""The walk over pieces that taps may come from, on the native library; `kerasptb.ops.taps` says what it is."""

import ctypes

import numpy as np

from kerasptb.ops.native import loader

_INT32, _FLOAT, _DOUBLE = (np.ctypeslib.ndpointer(dtype, flags="C") for dtype in ("int32", "float32", "float64"))
_INT64 = np.ctypeslib.ndpointer("int64", flags="C")
_HITS = (_DOUBLE, _DOUBLE, _DOUBLE, _DOUBLE, ctypes.c_int64, ctypes.c_int64, ctypes.c_bool)
_ROW = (_DOUBLE, ctypes.c_int32)
_TYPES = (
    *(_INT32, _INT32, _INT32, ctypes.c_int64, ctypes.c_int64),  # the trie
    *(*_HITS, *_ROW, ctypes.c_double),
    *(_FLOAT, ctypes.c_int64, ctypes.c_double),
    *(ctypes.c_int64, _INT32, _DOUBLE, _DOUBLE, _INT32),  # what is found
)


def align_all(hits, row, words):
    """Returns the probabilities of all taps for words, int32 [M] each, float64 [W]."""
    lengths = np.array(list(map(len, words)), "int64")
    letters = np.concatenate([np.zeros(0, "int32"), *words])
    ends = np.empty(len(words))
    types = (*_HITS, *_ROW, _INT32, _INT64, ctypes.c_int64, _DOUBLE)
    align = loader.function("kerasptb_taps_align", *types, returns=ctypes.c_bool)
    if not align(*_parts(hits), row.values, row.last, letters, lengths, len(words), ends):
        raise MemoryError("no memory for a search of words")
    return ends


def follow(trie, first, last, hits, row, bound, log_probabilities, log_least, most):
    """Returns the pieces, int32 [M], their values, float64 [M], rows, float64 [M, 2, n + 1], and symbols, int32 [M]."""
    ids, symbols = np.empty(most, "int32"), np.empty(most, "int32")
    values, rows = np.empty(most), np.empty((most, *row.values.shape))
    found = loader.function("kerasptb_taps_follow", *_TYPES, returns=ctypes.c_int64)(
        *(trie.letters, trie.ends, trie.pieces, first, last),
        *_parts(hits),
        *(row.values, row.last, bound, log_probabilities, len(log_probabilities), log_least),
        *(most, ids, values, rows, symbols),
    )
    if found < 0:
        raise MemoryError("no memory for a search of words")
    return ids[:found], values[:found], rows[:found], symbols[:found]


def _parts(hits):
    rates = np.array([hits.hit, hits.doubled, hits.undoubled, hits.exchanged])
    return hits.likelihoods, hits.strays, hits.omitted, rates, *hits.likelihoods.shape, hits.whole
