"""Calls a handler of the native library on NumPy arrays, in place: the plain C call of `src/ffi/plain.cc`.

A call costs some microseconds more than the kernel. Threads may call at the same time.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from kerasptb.native import loader

# Of arrays, dtype and shape of each.
Kinds: TypeAlias = tuple[tuple[str, tuple[int, ...]], ...]

_TYPES = {"float32": 11, "int32": 4, "bfloat16": 16, "int16": 3}  # as XLA numbers them


def call(
    target: str, arguments: Sequence[np.ndarray], shapes: Sequence[tuple[int, ...]], **attributes: bool
) -> list[np.ndarray]:
    """Returns the results of the handler `target`, float32 arrays of these shapes.

    Args:
        target: its name, such as "kerasptb_lstm_inference_float32".
        arguments: float32 or int32 arrays, as the header of the operation says.
        shapes: those of the results.
        **attributes: of the handler.

    Raises:
        ValueError: the arrays do not fit.
        NativeUnavailableError: the library cannot be used.
    """
    arguments = [np.ascontiguousarray(argument) for argument in arguments]
    results = [np.empty(shape, "float32") for shape in shapes]
    addresses = [array.ctypes.data for array in (*arguments, *results)]
    kinds = tuple((array.dtype.name, array.shape) for array in arguments)
    run(target, kinds, tuple(("float32", tuple(shape)) for shape in shapes), addresses, tuple(attributes.items()))
    return results


def run(
    target: str, arguments: Kinds, results: Kinds, addresses: Sequence[int], attributes: tuple[tuple[str, bool], ...]
) -> None:
    """Runs the handler `target` on arrays at these addresses; raises ValueError if they do not fit."""
    problem = loader.plain_call()(
        loader.handlers()[target],
        _describe(arguments, results, len(attributes)),
        (ctypes.c_void_p * len(addresses))(*addresses),
        *_name_attributes(attributes),
    )
    if problem is not None:
        raise ValueError(problem.decode())


@functools.lru_cache(maxsize=1024)
def _describe(arguments: Kinds, results: Kinds, num_attributes: int) -> ctypes.Array:
    """Returns the counts, types and shapes of a call, as `src/ffi/plain.cc` reads them."""
    numbers = [len(arguments), len(results), num_attributes]
    for dtype, shape in (*arguments, *results):
        numbers += [_TYPES[dtype], len(shape), *shape]
    return (ctypes.c_int64 * len(numbers))(*numbers)


@functools.lru_cache(maxsize=64)
def _name_attributes(attributes: tuple[tuple[str, bool], ...]) -> tuple[ctypes.Array, ctypes.Array]:
    """Returns the names and the values of attributes, as the library takes them."""
    names, values = zip(*attributes, strict=True) if attributes else ((), ())
    count = len(attributes)
    return (ctypes.c_char_p * count)(*(name.encode() for name in names)), (ctypes.c_bool * count)(*values)
