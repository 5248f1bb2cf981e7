"""A frozen model: NumPy arrays in, NumPy arrays out."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias, get_args

import numpy as np

from kerasptb.frozen import library, reference
from kerasptb.frozen.graph import Graph, count_numbers, load_graph, save_graph
from kerasptb.frozen.library import Loaded, OneRow
from kerasptb.frozen.program import NotServedError, Packing, make_program
from kerasptb.frozen.steps import Stepwise, stepwise
from kerasptb.native import NativeUnavailableError, loader
from kerasptb.utils.types import StrPath

FrozenPrecision: TypeAlias = Literal["float32", "bfloat16", "int8"]
Data: TypeAlias = Any  # an array, a list of them, or a dict by the names of inputs or outputs
_MOST_PROGRAMS = 32  # of one for each shape of a row: each has memory of its own for what is between the layers


class FrozenNetwork:
    """A Keras model with the weights that it had, which runs without Keras. See `kerasptb.freeze`.

    Several threads may call it at once, but for one that is stateful, and each has memory of its own.

    Attributes:
        graph: its layers and weights, a `Graph`.
        precision: "float32", "bfloat16" or "int8".
        why_no_library: one line on why NumPy runs it; `None` if the native library does.
    """

    def __init__(self, graph: Graph, precision: FrozenPrecision = "float32", backend: str = "auto") -> None:
        if precision not in get_args(FrozenPrecision) or backend not in ("auto", "native", "reference"):
            raise ValueError(
                f"`precision` must be one of {get_args(FrozenPrecision)}, and `backend` auto, native or reference. "
                f"Received: precision={precision!r}, backend={backend!r}"
            )
        self.graph, self.precision = graph, precision
        self._is_stateful = any(node.attributes.get("stateful") for node in graph.recurrent)
        self._state: np.ndarray | None = None
        self._programs: dict[Any, Loaded] = {}
        self._one_row: OneRow | None = None
        self.why_no_library = "The backend is the reference." if backend == "reference" else self._why_no_library()
        if self.why_no_library and (backend == "native" or precision != "float32"):
            raise NativeUnavailableError(self.why_no_library)

    @property
    def on_library(self) -> bool:
        """Whether the native library runs it."""
        return self.why_no_library is None

    def _why_no_library(self) -> str | None:
        status = loader.status()
        if not status.available:
            return status.reason
        if self.precision == "bfloat16" and (reason := loader.why_not_precision("bfloat16")):
            return reason
        self._packing = Packing(library.lanes(), self.precision)
        shapes = [tuple(size or 4 for size in given.shape[1:]) for given in self.graph.inputs]
        try:
            make_program(self.graph, shapes, self._packing, False)
        except NotServedError as error:
            return f"NumPy runs this model: {error}."
        except ValueError:  # shapes that fit are not known yet
            return None
        return None

    @property
    def state_size(self) -> int:
        """S, the numbers of a row's state in `step`: those of its recurrent layers, each h and c, one after another."""
        return sum(map(sum, self.graph.state_sizes))

    def __call__(self, x: Data) -> Data:
        """Computes the model.

        Args:
            x: float32 array [B, ...] as the model's input, or ids; of several inputs a list in their order, or a dict
                by their names.

        Returns:
            What the model returns: float32 [B, ...], or a list or a dict of such arrays.

        Raises:
            ValueError: for arrays that do not fit, no steps, and ids out of range.
        """
        one = self._one_row
        # As the last call, of which nothing has to be checked again.
        is_next = one is not None and type(x) is np.ndarray and x.shape == one.shape and x.dtype == np.float32
        if one is not None and is_next and (output := one(x)) is not None:
            return output
        inputs = self._checked(x)
        outputs, state = self._run(self.graph, inputs, self._begin(len(inputs[0])))
        if self._is_stateful:
            self._state = state
        return self._as_given(outputs)

    def predict(self, x: Data, batch_size: int | None = None) -> Data:
        """Does the same for many rows, over the cores.

        Args:
            x: as in a call.
            batch_size: rows that are in memory at once; all by default. Of a stateful model the rows of its state.

        Returns:
            As a call does.
        """
        inputs = self._checked(x)
        rows = len(inputs[0])
        if batch_size is None or batch_size >= rows:
            return self(inputs)
        parts = [self(inputs_of) for inputs_of in _batches(inputs, batch_size)]
        if self.graph.names is None:
            return np.concatenate(parts)
        if self.graph.names:
            return {name: np.concatenate([part[name] for part in parts]) for name in self.graph.names}
        return [np.concatenate(of_output) for of_output in zip(*parts, strict=True)]

    def step(self, x: Data, state: np.ndarray | None = None) -> tuple[Data, np.ndarray]:
        """Computes a step of signals that arrive.

        Args:
            x: float32 [B, D], a step of the model's input [B, T, D]; or ids [B]. Of several inputs a step of each.
            state: float32 [B, S], as the step before returned it; zeros if `None`.

        Returns:
            The outputs as if the sequence ended here, each [B, ...], and the state, float32 [B, S].

        Raises:
            ValueError: if a layer needs more than a step, as those of both directions do, and as in a call.
        """
        why_not, graph, having = self._stepwise
        if why_not is not None:
            raise ValueError(f"Expected a model that a step at a time can run. Received: one with {why_not}")
        inputs = self._checked(x, is_step=True)
        rows = len(inputs[0])
        state = np.zeros((rows, self.state_size), "float32") if state is None else state
        if state.shape != (rows, self.state_size):
            raise ValueError(f"Expected a state of shape {(rows, self.state_size)}. Received: {state.shape}")
        outputs, after = self._run(graph, inputs, np.ascontiguousarray(state, "float32"))
        return self._as_given([y[:, 0] if has else y for y, has in zip(outputs, having, strict=True)]), after

    @functools.cached_property
    def _stepwise(self) -> Stepwise:
        return stepwise(self.graph)

    def reset_state(self) -> None:
        """Has a stateful model begin anew."""
        self._state = None

    def save(self, path: StrPath) -> Path:
        """Writes the model to one file, whose name ends in ".frozen"; `kerasptb.load_frozen` reads it without Keras."""
        return save_graph(self.graph, path, precision=self.precision)

    @classmethod
    def load(cls, path: StrPath, precision: FrozenPrecision | None = None, backend: str = "auto") -> Self:
        """Reads what `save` wrote. See `load_frozen`."""
        graph, others = load_graph(path)
        return cls(graph, precision or others["precision"], backend)

    def _run(self, graph: Graph, inputs: list[np.ndarray], state: np.ndarray | None) -> tuple[list[np.ndarray], Any]:
        """Returns the outputs, and the state [B, S] after that which is given."""
        rows = len(inputs[0])
        if self.on_library:
            return self._on_library(graph, rows, inputs, state)
        tensors, states = reference.run(graph, inputs, None if state is None else self._split(state))
        parts = [part for of_node in states for part in of_node]
        after = None if state is None else np.concatenate([np.zeros((rows, 0), "float32"), *parts], axis=1)
        return [tensors[i] for i in graph.outputs], after

    def _on_library(
        self, graph: Graph, rows: int, inputs: list[np.ndarray], state: np.ndarray | None
    ) -> tuple[list[np.ndarray], np.ndarray | None]:
        of_rows = tuple([x.shape[1:] for x in inputs])
        key = of_rows, graph is self.graph
        if (loaded := self._programs.get(key)) is None:
            program = make_program(graph, of_rows, self._packing, state is not None)
            loaded = self._programs[key] = Loaded(program, self.precision)
            for old in [*self._programs][:-_MOST_PROGRAMS]:
                self._programs.pop(old, None)
        outputs = [np.empty((rows, *shape), "float32") for shape in loaded.shapes]
        after = None if state is None else np.empty_like(state)
        states = [] if state is None or after is None else [state, after]
        if rows and not loaded.run(rows, [*inputs, *outputs, *states]):
            raise reference.IdError
        if rows == 1 and state is None and len(inputs) == 1 and self.graph.names is None:
            self._one_row = loaded.one_row(inputs[0].shape)
        return outputs, after

    def _begin(self, rows: int) -> np.ndarray | None:
        """Returns the state from which a call goes on; `None` for a model that is not stateful."""
        if not self._is_stateful:
            return None
        if self._state is None:
            return np.zeros((rows, self.state_size), "float32")
        if rows != len(self._state):
            expected = f"Expected the {len(self._state)} rows of its state, or `reset_state` first"
            raise ValueError(f"{expected}. Received: {rows} rows")
        kept = [
            np.full(sum(sizes), bool(node.attributes.get("stateful")))
            for node, sizes in zip(self.graph.recurrent, self.graph.state_sizes, strict=True)
        ]
        return np.ascontiguousarray(np.where(np.concatenate(kept), self._state, np.float32(0)))

    def _split(self, state: np.ndarray) -> reference.States:
        """Returns a state [B, S] as the arrays of each recurrent node."""
        ends = np.cumsum([size for sizes in self.graph.state_sizes for size in sizes])
        parts = iter(np.split(state, ends[:-1], axis=1) if len(ends) else [])
        return [[next(parts) for _ in sizes] for sizes in self.graph.state_sizes]

    def _checked(self, x: Data, is_step: bool = False) -> list[np.ndarray]:
        """Returns the inputs as float32 arrays, in their order; raises ValueError unless they fit."""
        given = self.graph.inputs
        if isinstance(x, Mapping):
            missing = [each.name for each in given if each.name not in x]
            if missing:
                raise ValueError(f"Expected inputs named {[each.name for each in given]}. Received: {sorted(x)}")
            x = [x[each.name] for each in given]
        elif len(given) == 1 and not (isinstance(x, list | tuple) and len(x) == 1 and np.ndim(x[0]) > 1):
            x = [x]
        if len(x) != len(given):
            raise ValueError(f"Expected {len(given)} inputs. Received: {len(x)}")
        arrays = [_as_input(value, each.name, each.shape, is_step) for value, each in zip(x, given, strict=True)]
        if len({len(array) for array in arrays}) > 1:
            raise ValueError(f"Expected as many rows of each input. Received: {[len(array) for array in arrays]}")
        return arrays

    def _as_given(self, outputs: Sequence[np.ndarray]) -> Data:
        if self.graph.names is None:
            return outputs[0]
        return dict(zip(self.graph.names, outputs, strict=True)) if self.graph.names else list(outputs)


def load_frozen(path: StrPath, precision: FrozenPrecision | None = None, backend: str = "auto") -> FrozenNetwork:
    """Reads a model that `FrozenNetwork.save` wrote. It needs NumPy alone, and the native library if it is there.

    Args:
        path: the file.
        precision: of the products; by default that which it was saved with.
        backend: as in `kerasptb.freeze`.

    Returns:
        A `FrozenNetwork`.

    Raises:
        ValueError: if the file holds no frozen model.
        FileNotFoundError: if there is none.
    """
    return FrozenNetwork.load(path, precision, backend)


def _as_input(value: Any, name: str, shape: Sequence[int | None], is_step: bool) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"Expected numbers for {name}. Received: dtype {array.dtype}")
    array = np.ascontiguousarray(array, "float32")
    if is_step:
        array = array[:, np.newaxis] if array.ndim else array
        shape = (shape[0], 1, *shape[2:])
    elif array.ndim == len(shape) - 1 and shape[-1] == 1:  # as Keras takes it
        array = array[..., np.newaxis]
    fits = array.ndim == len(shape) and all(s in (None, n) for s, n in zip(shape[1:], array.shape[1:], strict=True))
    if not fits:
        raise ValueError(f"Expected {name} of shape {_shown(shape)}. Received: {tuple(np.shape(value))}")
    if count_numbers(array.shape) == 0:
        raise ValueError(f"Expected at least one step of {name}. Received: {tuple(np.shape(value))}")
    return array


def _shown(shape: Sequence[int | None]) -> str:
    return "(" + ", ".join("any" if size is None else str(size) for size in shape) + ")"


def _batches(inputs: Sequence[np.ndarray], size: int) -> list[list[np.ndarray]]:
    return [[x[i : i + size] for x in inputs] for i in range(0, len(inputs[0]), size)]
