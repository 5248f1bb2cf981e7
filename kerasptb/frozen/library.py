"""A program on the native library: its structures, and the calls."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

from kerasptb.frozen.program import INPUTS, MATRICES, OUTPUTS, SIZES, VALUES, Matrix, Program, fields_of
from kerasptb.native import loader

_POINTER, _INT, _LONG = ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64


class _Matrix(ctypes.Structure):
    _fields_ = [
        *((name, _POINTER) for name in ("weights", "scales", "bias")),
        *((name, _INT) for name in ("inputs", "outputs", "is_bfloat16")),
    ]


class _Node(ctypes.Structure):
    _fields_ = [
        *((name, _INT) for name in ("op", "activation", "recurrent_activation", "kind")),
        ("parameter", ctypes.c_float),
        ("inputs", _INT * INPUTS),
        ("outputs", _INT * OUTPUTS),
        ("sizes", _INT * SIZES),
        ("matrices", _Matrix * MATRICES),
        ("values", _POINTER * VALUES),
    ]


class _Program(ctypes.Structure):
    _fields_ = [
        ("nodes", _POINTER),
        ("places", _POINTER),
        *(
            (name, _LONG)
            for name in ("num_nodes", "num_tensors", "arena", "few_scratch", "block_scratch", "operations")
        ),
    ]


def lanes() -> int:
    """Returns the columns of a vector of weights. Loads the library."""
    return loader.function("kerasptb_frozen_lanes", returns=_LONG)()


def _pop(free: list[Any]) -> Any:
    """Returns one of a list that threads share, `None` if none is left."""
    try:
        return free.pop()
    except IndexError:
        return None


class Loaded:
    """A program as the library takes it.

    Args:
        program: made with `lanes()`.
        precision: its weights', "bfloat16" or another.
    """

    def __init__(self, program: Program, precision: str) -> None:
        self._kept: list[Any] = []
        self.shapes = program.shapes
        nodes = [self._node(step) for step in program.steps]
        places = np.array(program.places, "int64").reshape(-1, 3)
        array = (_Node * max(len(nodes), 1))(*nodes)
        self._kept += [places, array]
        sizes = program.arena, program.few_scratch, program.block_scratch, program.operations
        self._program = _Program(ctypes.addressof(array), places.ctypes.data, len(nodes), len(places), *sizes)
        name = "kerasptb_frozen_run" + ("_bfloat16" if precision == "bfloat16" else "")
        types = _POINTER, _LONG, _POINTER, _POINTER
        self._call, self._address = loader.function(name, *types), ctypes.addressof(self._program)
        room = loader.function("kerasptb_frozen_room", _POINTER, returns=_LONG)(self._address)
        self._room: int = room
        self._arenas: list[Any] = []  # of threads that are not at work

    def _node(self, step: Any) -> _Node:
        node = _Node()
        for name, value in fields_of(step):
            setattr(node, name, tuple(value) if isinstance(value, list) else value)
        for i, matrix in enumerate(step.matrices):
            node.matrices[i] = self._matrix(matrix)
        for i, values in enumerate(step.values):
            node.values[i] = self._address_of(values)
        return node

    def _matrix(self, matrix: Matrix) -> _Matrix:
        arrays = [None if a is None else self._address_of(a) for a in (matrix.weights, matrix.scales, matrix.bias)]
        return _Matrix(*arrays, matrix.inputs, matrix.outputs, int(matrix.weights.dtype == np.uint16))

    def _address_of(self, array: np.ndarray) -> int:
        array = np.ascontiguousarray(array)
        self._kept.append(array)
        return array.ctypes.data

    def run(self, rows: int, arrays: Sequence[np.ndarray]) -> bool:
        """Computes rows; returns whether all ids had rows in their tables.

        Args:
            rows: of each array.
            arrays: float32, dense: inputs, outputs, and states before and after.
        """
        arena = _pop(self._arenas) or self.new_arena(len(arrays))
        for i, array in enumerate(arrays):
            arena.externals[i] = array.__array_interface__["data"][0]
        result = self.call(rows, arena)
        self._arenas.append(arena)
        if result < 0:
            raise MemoryError("There is no memory for the values between the layers: give fewer rows at once.")
        return bool(result)

    def one_row(self, shape: tuple[int, ...]) -> OneRow:
        """Returns a function of an array of a row; of a program of one input and one output."""
        return OneRow(self, shape, (1, *self.shapes[0]))

    def call(self, rows: int, arena: _Arena) -> int:
        """Computes rows of the arrays of an arena."""
        return self._call(self._address, rows, arena.address, arena.memory)

    def new_arena(self, arrays: int) -> _Arena:
        """Returns memory of a call."""
        return _Arena(self._room, arrays)


class OneRow:
    """A call of a row, from and to arrays whose addresses are known: asking NumPy for two takes longer than copying.

    Attributes:
        shape: of the input, with the batch.
    """

    def __init__(self, loaded: Loaded, shape: tuple[int, ...], output: tuple[int, ...]) -> None:
        self.loaded, self.shape, self._output = loaded, shape, output
        self._free: list[tuple[np.ndarray, np.ndarray, _Arena]] = []  # of threads that are not at work

    def _new(self) -> tuple[np.ndarray, np.ndarray, _Arena]:
        x, y, arena = np.empty(self.shape, "float32"), np.empty(self._output, "float32"), self.loaded.new_arena(2)
        arena.externals[:] = [x.ctypes.data, y.ctypes.data]
        return x, y, arena

    def __call__(self, given: np.ndarray) -> np.ndarray | None:
        """Returns the output; `None` if an id is out of range."""
        kept = _pop(self._free) or self._new()
        x, y, arena = kept
        x[...] = given
        result = y.copy() if self.loaded.call(1, arena) else None
        self._free.append(kept)
        return result


class _Arena:
    """Memory of a call, and room for the addresses of its arrays."""

    def __init__(self, floats: int, arrays: int) -> None:
        self._memory = np.empty(floats + 16, "float32")
        self.memory = (self._memory.ctypes.data + 63) // 64 * 64
        self.externals = (_POINTER * arrays)()
        self.address = ctypes.addressof(self.externals)
