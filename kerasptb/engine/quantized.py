"""Weights in 8 bits, for runs that are handed on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kerasptb.utils.files import atomic_write

_LARGEST = 127
_SCALE = "/scale"
_HEADER = 1024  # bytes that an array's shape and type take at most


def quantize_rows(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns an array in 8 bits, and the float32 scale of each row, with an axis for each of its axes.

    A scale is the largest magnitude by 127, as in symmetric post-training quantization (Jacob et al., 2018).
    """
    scales = np.abs(values).max(axis=tuple(range(1, values.ndim)), keepdims=True) / _LARGEST
    return np.rint(values / np.where(scales > 0, scales, 1)).astype(np.int8), scales


class Quantized(NamedTuple):
    """A matrix in 8 bits.

    Attributes:
        integers: int8, the matrix but for the scales.
        scales: float32, that of each row, with an axis for each of the matrix.
    """

    integers: np.ndarray
    scales: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the matrix."""
        return self.integers.shape

    def values(self) -> np.ndarray:
        """Returns the matrix in float32."""
        return self.integers * self.scales


def write_quantized(path: Path, weights: Mapping[str, np.ndarray]) -> None:
    """Writes arrays by their paths, as Keras names them, with a scale for each row of a matrix; vectors stay float32.

    A row is a token of the embeddings, or an input of a layer.
    """
    arrays: dict[str, Any] = {}
    for name, value in weights.items():
        arrays[name] = np.ascontiguousarray(value, np.float32)
        if _is_matrix(name, value.shape):
            arrays[name], arrays[name + _SCALE] = quantize_rows(arrays[name])
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


def read_quantized(path: Path, weights: Iterable[tuple[str, tuple[int, ...]]]) -> list[np.ndarray | Quantized]:
    """Returns arrays that `write_quantized` wrote, by their paths and shapes; ValueError for others."""
    values: list[np.ndarray | Quantized] = []
    with path.open("rb") as file, np.load(file) as arrays:  # which leaves a damaged file open
        for name, shape in weights:
            if _is_matrix(name, shape):
                numbers = _read(arrays, name + _SCALE, (shape[0], *(1 for _ in shape[1:])), np.float32)
                values.append(Quantized(_read(arrays, name, shape, np.int8), numbers))
            else:
                values.append(numbers := _read(arrays, name, shape, np.float32))
            if not np.isfinite(numbers).all():
                raise ValueError(f"{name} has values that are not numbers")
    return values


def as_float32(weight: np.ndarray | Quantized) -> np.ndarray:
    """Returns a weight in float32."""
    return weight.values() if isinstance(weight, Quantized) else weight


def _is_matrix(name: str, shape: tuple[int, ...]) -> bool:
    """Whether a weight is a matrix; a GRU's biases have two dimensions."""
    return len(shape) > 1 and not name.endswith("/bias")


def _read(arrays: Any, name: str, shape: tuple[int, ...], dtype: type[np.generic]) -> np.ndarray:
    """Returns an array of a file that `numpy.savez` wrote; one of another size, which may be huge, is not read."""
    if name not in arrays:
        raise ValueError(f"it has no {name}: its config.json is of another model")
    size, member = np.dtype(dtype).itemsize * math.prod(shape), f"{name}.npy"
    value = arrays[member] if arrays.zip.getinfo(member).file_size <= size + _HEADER else None
    if value is None or value.shape != shape or value.dtype != dtype:
        raise ValueError(f"{name} is no {np.dtype(dtype)} {shape}, which its config.json's model has")
    return value
