"""Products of a few rows with matrices in 8 bits, on the native library: the steps of a network that many ask."""

from __future__ import annotations

import ctypes
import functools
from typing import Any

import numpy as np

from kerasptb.engine.quantized import Quantized
from kerasptb.native import loader

# Rows up to which a product takes less time so than with the matrix in float32.
MOST_ROWS = 32
_SIZE, _ARRAY = ctypes.c_int64, ctypes.c_void_p


class Panels:
    """A matrix [K, M] in 8 bits as the library reads it, in panels of columns.

    Args:
        matrix: a `Quantized` [K, M], with a scale for each of its K rows.
        transposed: whether it is [M, K], as embeddings that are tied, with a scale for each of M.
    """

    def __init__(self, matrix: Quantized, transposed: bool = False) -> None:
        integers, scales = matrix.integers, np.ascontiguousarray(matrix.scales.reshape(-1), "float32")
        integers = integers.T if transposed else integers
        self.inputs, self.outputs = integers.shape
        size = _panel_size()
        padded = np.zeros((self.inputs, -(-self.outputs // size) * size), "int8")
        padded[:, : self.outputs] = integers
        self._panels = np.ascontiguousarray(padded.reshape(self.inputs, -1, size).transpose(1, 0, 2))
        self._scales = (None, scales) if transposed else (scales, None)

    def multiply(self, rows: np.ndarray, bias: np.ndarray | None = None, log_softmax: bool = False) -> np.ndarray:
        """Returns the product of rows, float32 [N, K], and the matrix, [N, M].

        Args:
            rows: the rows.
            bias: float32 [M], added to each; `None` for none.
            log_softmax: whether to return the logarithms of the softmax of that.
        """
        rows = np.ascontiguousarray(rows, "float32")
        result, scaled = np.empty((len(rows), self.outputs), "float32"), np.empty_like(rows)
        arrays = (rows, self._panels, *self._scales, bias, result, scaled)
        a, w, in_scale, out_scale, added, y, memory = (None if each is None else each.ctypes.data for each in arrays)
        _function()(len(rows), self.inputs, self.outputs, a, w, in_scale, out_scale, added, y, log_softmax, memory)
        return result


@functools.cache
def _panel_size() -> int:
    return loader.function("kerasptb_few_rows_panel", returns=_SIZE)()


@functools.cache
def _function() -> Any:
    types = (*[_SIZE] * 3, *[_ARRAY] * 6, ctypes.c_bool, _ARRAY)
    return loader.function("kerasptb_few_rows", *types, returns=None)
