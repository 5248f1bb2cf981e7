"""A graph as a program of `native/src/frozen/ops.h`: nodes with sizes of a row, weights in panels, a plan of memory.

The library runs it, and the C file of a model is it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from kerasptb.engine.quantized import quantize_rows
from kerasptb.frozen import reference
from kerasptb.frozen.graph import NONE, Graph, Node
from kerasptb.frozen.reference import ACTIVATIONS, ALL_CELLS, OPS

# As the enumerations of ops.h have them.
CELLS = ("lstm", "gru", "cifg", "capped_lstm", "gru_reset_before", "simple_rnn")
MERGES = ("add", "average", "subtract", "multiply", "maximum", "minimum")
BACKWARDS, SEQUENCES, ZERO_OUTPUT, INTERLEAVED, STEP = 1, 2, 4, 8, 16
INPUTS, OUTPUTS, SIZES, MATRICES, VALUES = 8, 3, 12, 3, 2
_ALIASES = ("reshape", "fold", "unfold")
_VECTORS, _DEPTH = 4, 32  # of a panel: vectors; inputs in bfloat16, a multiple of so many


class NotServedError(ValueError):
    """A program has no form of a node; the message names its layer."""


class Matrix(NamedTuple):
    """A kernel [inputs, outputs] in panels, flat; see `Packing`."""

    weights: np.ndarray
    scales: np.ndarray | None
    bias: np.ndarray | None
    inputs: int
    outputs: int


class Step(NamedTuple):
    """A node of a program: the fields of `fz_node`."""

    op: str
    inputs: Sequence[int]
    outputs: Sequence[int]
    sizes: Sequence[int] = ()
    activation: str = "linear"
    recurrent_activation: str = "linear"
    kind: int = 0
    parameter: float = 0.0
    matrices: Sequence[Matrix] = ()
    values: Sequence[np.ndarray] = ()


class Place(NamedTuple):
    """Where a tensor is: in the arena, or in an array of the caller's, by its number; floats of a row."""

    external: int
    offset: int
    row: int


class Program(NamedTuple):
    """A graph for inputs of given shapes.

    Attributes:
        steps: its nodes.
        places: of each tensor.
        arena: floats of a row.
        few_scratch: floats of a row beside them, where few rows are computed at once.
        block_scratch: the same of many.
        operations: multiply-adds of a row.
        shapes: of the outputs, without the batch.
    """

    steps: list[Step]
    places: list[Place]
    arena: int
    few_scratch: int
    block_scratch: int
    operations: int
    shapes: list[tuple[int, ...]]


class Packing:
    """How weights are laid out: panels of columns, `lanes` in a vector, in a precision. Each array is packed once."""

    def __init__(self, lanes: int, precision: str, vectors: int = _VECTORS, interleaves: bool = True) -> None:
        self.lanes, self.precision, self.vectors, self.interleaves = lanes, precision, vectors, interleaves
        self._made: dict[Any, Any] = {}

    def once(self, key: Any, make: Callable[[], Any]) -> Any:
        """Returns what `make` returns, made once for a key."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def matrix(self, values: np.ndarray, bias: np.ndarray | None, width: int = 0) -> Matrix:
        """Returns a matrix [K, N] in panels of `width` columns, of all vectors by default."""
        inputs, outputs = values.shape
        width, scales = width or self.vectors * self.lanes, None
        padded = np.pad(values, ((0, 0), (0, -outputs % self.lanes)))
        if self.precision == "int8":
            rows, scales = quantize_rows(padded.T)
            padded, scales = np.ascontiguousarray(rows.T), scales.ravel().astype("float32")
        if self.precision == "bfloat16":
            pairs = np.pad(as_bfloat16(padded), ((0, -inputs % _DEPTH), (0, 0)))
            padded = pairs.reshape(-1, 2, pairs.shape[1]).swapaxes(1, 2).reshape(-1, 2 * pairs.shape[1])
            width *= 2
        panels = [padded[:, i : i + width].ravel() for i in range(0, padded.shape[1], width)]
        return Matrix(np.concatenate(panels), scales, bias, inputs, outputs)

    def interleaved(self, values: np.ndarray, gates: int) -> np.ndarray:
        """Returns columns [..., G H] with the gates of a vector of units beside each other, zeros for no unit."""
        units = values.shape[-1] // gates
        blocks = values.reshape(-1, gates, units)
        blocks = np.pad(blocks, ((0, 0), (0, 0), (0, -units % self.lanes)))
        blocks = blocks.reshape(len(blocks), gates, -1, self.lanes).swapaxes(1, 2)
        return blocks.reshape(*values.shape[:-1], -1)


def as_bfloat16(values: np.ndarray) -> np.ndarray:
    """Returns float32 values rounded to bfloat16, their bits as uint16."""
    bits = np.ascontiguousarray(values, "float32").view("uint32")
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("uint16")


def make_program(graph: Graph, shapes: Sequence[tuple[int, ...]], packing: Packing, with_states: bool) -> Program:
    """Returns a program for inputs of these shapes, without the batch.

    The caller's arrays are the inputs, the outputs, and with states the states [B, S] before and after.

    Raises:
        NotServedError: if it has no form of a node.
    """
    return _Maker(graph, shapes, packing, with_states).make()


class _Maker:
    """Makes a program. Shapes are those that the reference gives one row, so that rows that are folded count."""

    def __init__(self, graph: Graph, shapes: Sequence[tuple[int, ...]], packing: Packing, with_states: bool) -> None:
        self.graph, self.packing = graph, packing
        tensors, _ = reference.run(graph, [np.zeros((1, *shape), "float32") for shape in shapes])
        self.shapes: list[tuple[int, ...]] = [tensors[i].shape for i in range(len(tensors) - 1)]
        self.roots = [*range(len(self.shapes))]  # of tensors that are another in other shape
        self.places: dict[int, Place] = {}
        self.steps: list[Step] = []
        self.scratch, self.block_scratch, self.operations = 0, 0, 0
        self.state_size = sum(map(sum, graph.state_sizes)) if with_states else 0
        self.state_at = 0
        self.used = {i for node in graph.nodes for i in node.inputs} | set(graph.outputs)

    def make(self) -> Program:
        num_inputs = len(self.graph.inputs)
        for i, given in enumerate(self.graph.inputs):
            self.places[given.tensor] = Place(i, 0, self.size(given.tensor))
        outputs = list(self.graph.outputs)
        aliases = {node.outputs[0] for node in self.graph.nodes if node.op in _ALIASES}
        for i, tensor in enumerate(outputs):
            if tensor not in aliases and tensor not in self.places:
                self.places[tensor] = Place(num_inputs + i, 0, self.size(tensor))
        for node in self.graph.nodes:
            self.add(node)
        for i, tensor in enumerate(outputs):
            if self.places.get(tensor, Place(0, 0, 0)).external != num_inputs + i:  # it is somewhere else too
                place = Place(num_inputs + i, 0, self.size(tensor))
                self.copy(tensor, self.new(self.shapes[tensor], place), place.row)
        arena = self.plan_arena()
        places = [self.places.get(root, Place(-1, 0, 0)) for root in self.roots]
        shapes = [self.shapes[tensor][1:] for tensor in outputs]
        return Program(self.steps, places, arena, self.scratch, self.block_scratch, self.operations, shapes)

    def add(self, node: Node) -> None:
        """Adds the steps of a node."""
        if node.op in _ALIASES:
            self.roots[node.outputs[0]] = self.roots[node.inputs[0]]
        elif node.op == "recurrent":
            self.recurrent(node)
        elif node.op == "merge":
            self.merge(node)
        else:
            if len(node.inputs) > INPUTS:
                raise NotServedError(f"{node.layer} has more than {INPUTS} inputs")
            self.steps.append(
                _STEPS[node.op](self, node)._replace(op=node.op, inputs=node.inputs, outputs=node.outputs)
            )

    def size(self, tensor: int) -> int:
        """Returns the numbers of a row of a tensor."""
        return math.prod(self.shapes[tensor])

    def new(self, shape: tuple[int, ...], place: Place | None = None) -> int:
        """Returns a new tensor."""
        self.shapes.append(shape)
        self.roots.append(len(self.roots))
        if place is not None:
            self.places[len(self.roots) - 1] = place
        return len(self.roots) - 1

    def copy(self, source: int, to: int, row: int) -> None:
        """Adds a copy, to rows that are so many floats apart."""
        self.steps.append(Step("reshape", (source,), (to,), (1, self.size(source), row)))

    def weights(self, node: Node, i: int) -> np.ndarray:
        """Returns an array of a node."""
        return self.graph.arrays[node.weights[i]]

    def matrix(self, node: Node, kernel: int, bias: int) -> Matrix:
        """Returns a kernel of a node with its bias."""
        make = lambda: self.packing.matrix(self.weights(node, kernel), self.weights(node, bias))  # noqa: E731
        return self.packing.once((node.weights[kernel], node.weights[bias]), make)

    def recurrent(self, node: Node) -> None:
        """Adds a recurrent layer, with its state in the arrays of the caller if it is to be kept."""
        attributes = node.attributes
        if attributes["cell"] not in CELLS:
            raise NotServedError(f"{node.layer} is {ALL_CELLS[attributes['cell']].title}")
        kind, H = CELLS.index(attributes["cell"]), attributes["units"]
        rows, T, D = self.shapes[node.inputs[0]]
        is_own = kind < 4 and attributes["activation"] == "tanh" and attributes["recurrent_activation"] == "sigmoid"
        is_own = is_own and self.packing.interleaves
        flags = BACKWARDS * attributes["go_backwards"] + SEQUENCES * attributes["return_sequences"]
        flags += ZERO_OUTPUT * attributes["zero_output_for_mask"] + INTERLEAVED * is_own
        flags += STEP * attributes.get("is_step", False)
        matrices = self.packing.once((node.weights, is_own), lambda: self.matrices_of(node, is_own))
        columns, units = matrices[0].outputs, -(-H // self.packing.lanes) * self.packing.lanes if is_own else H
        # Of ours in bfloat16 also h rounded, of 16 rows at least.
        few = rows * (T * columns + 7 * units if is_own else 2 * columns + 4 * H)
        self.scratch, block = max(self.scratch, few), rows * (2 * columns + 4 * units)
        self.block_scratch = max(self.block_scratch, block)
        self.operations += rows * T * columns * (D + H)
        inputs, outputs, after, strides = self.states_of(node)
        sizes = (T, D, H, flags, columns, *strides, rows)
        step = Step(node.op, inputs, outputs, sizes, kind=kind, matrices=matrices, **_activation_of(node))
        self.steps.append(step._replace(recurrent_activation=attributes["recurrent_activation"]))
        for source, to in after:
            self.copy(source, to, self.state_size)

    def states_of(self, node: Node) -> tuple[list[int], list[int], list[tuple[int, int]], tuple[int, int]]:
        """Returns the inputs and outputs of a recurrent layer, copies that follow, and the floats between states."""
        H, S = node.attributes["units"], self.state_size
        inputs, outputs = list(node.inputs), list(node.outputs)
        outputs[1:] = [i if i in self.used else NONE for i in outputs[1:]]
        copies: list[tuple[int, int]] = []
        if not S or node not in self.graph.recurrent:
            return inputs, outputs, copies, (H, H)
        before = len(self.graph.inputs) + len(self.graph.outputs)
        is_direct = not any(i != NONE for i in outputs[1:])
        for k in range(1, len(outputs)):
            inputs[1 + k] = self.new((1, H), Place(before, self.state_at, S))
            to = self.new((1, H), Place(before + 1, self.state_at, S))
            self.state_at += H
            if is_direct:
                outputs[k] = to
            else:
                outputs[k] = node.outputs[k]
                copies.append((outputs[k], to))
        return inputs, outputs, copies, (S, S if is_direct else H)

    def matrices_of(self, node: Node, is_own: bool) -> list[Matrix]:
        """Returns the matrices of a recurrent layer."""
        cell, H = ALL_CELLS[node.attributes["cell"]], node.attributes["units"]
        kernel, recurrent, bias = (self.weights(node, i) for i in range(3))
        gates, biases = len(cell.gates), bias if bias.ndim > 1 else (bias, None)
        if is_own:
            layout = self.packing.interleaved
            biases = [None if b is None else layout(b, gates) for b in biases]
            width = gates * self.packing.lanes
            first = self.packing.matrix(layout(kernel, gates), biases[0])
            return [first, self.packing.matrix(layout(recurrent, gates), biases[1], width)]
        first = self.packing.matrix(kernel, biases[0])
        if node.attributes["cell"] == "gru_reset_before":
            parts = recurrent[:, : 2 * H], recurrent[:, 2 * H :]
            return [first, *(self.packing.matrix(np.ascontiguousarray(part), None) for part in parts)]
        return [first, self.packing.matrix(recurrent, biases[1])]

    def merge(self, node: Node) -> None:
        """Adds a merge, two inputs at a time."""
        kind, (left, *rest) = node.attributes["kind"], node.inputs
        shape = self.shapes[node.outputs[0]]
        rest = rest or [left]  # of one input: itself twice, of which the average is itself
        for i, right in enumerate(rest):
            is_last = i == len(rest) - 1
            between = np.broadcast_shapes(*(_widened(self.shapes[x], len(shape)) for x in (left, right)))
            to = node.outputs[0] if is_last else self.new(between)
            (left_size, left_run), (right_size, right_run) = (self.run_of(node, x, between) for x in (left, right))
            sizes = math.prod(between), left_size, right_size, left_run, right_run
            number = MERGES.index(kind) if is_last or kind != "average" else 0
            self.steps.append(Step("merge", (left, right), (to,), sizes, kind=number, parameter=1 / (len(rest) + 1)))
            left = to

    def run_of(self, node: Node, tensor: int, shape: tuple[int, ...]) -> tuple[int, int]:
        """Returns the numbers of an input that is repeated to a shape, and how often each stands in a run."""
        own = _widened(self.shapes[tensor], len(shape))
        taken = [i for i, size in enumerate(own) if size > 1] or [0]
        first, past = taken[0], taken[-1] + 1
        if own[first:past] != shape[first:past]:
            raise NotServedError(f"{node.layer} repeats its inputs along axes that are apart")
        return self.size(tensor), math.prod(shape[past:])

    def plan_arena(self) -> int:
        """Places the tensors that no array of the caller's holds, where others are no more needed; returns its size."""
        last: dict[int, int] = {}
        for i, step in enumerate(self.steps):
            last.update((self.roots[tensor], i) for tensor in (*step.inputs, *step.outputs) if tensor != NONE)
        taken: dict[int, tuple[int, int]] = {}
        size = 0
        for i, step in enumerate(self.steps):
            taken = {tensor: part for tensor, part in taken.items() if last[tensor] >= i}
            for tensor in step.outputs:
                if tensor == NONE or tensor in self.places:
                    continue
                room, at = self.packing.lanes * -(-self.size(tensor) // self.packing.lanes), 0
                for begin, end in sorted(taken.values()):
                    if begin - at >= room:
                        break
                    at = max(at, end)
                taken[tensor] = at, at + room
                self.places[tensor], size = Place(-1, at, 0), max(size, at + room)
        return size


def _widened(shape: tuple[int, ...], rank: int) -> tuple[int, ...]:
    return (shape[0], *[1] * (rank - len(shape)), *shape[1:])


def _activation_of(node: Node) -> dict[str, Any]:
    return {"activation": node.attributes["activation"], "parameter": node.attributes.get("parameter", 0.0)}


def _embedding(maker: _Maker, node: Node) -> Step:
    table = maker.weights(node, 0)
    matrix = maker.packing.once(("table", node.weights[0]), lambda: _table(table, maker.packing.precision))
    return Step("", (), (), (maker.size(node.inputs[0]), *table.shape), matrices=[matrix])


def _table(table: np.ndarray, precision: str) -> Matrix:
    rows, scales = quantize_rows(table) if precision == "int8" else (table, None)
    return Matrix(rows, None if scales is None else scales.ravel().astype("float32"), None, *table.shape)


def _mask_of(maker: _Maker, node: Node) -> Step:
    number = maker.size(node.outputs[0])
    return Step("", (), (), (number, maker.size(node.inputs[0]) // number), parameter=node.attributes["value"])


def _keep(maker: _Maker, node: Node) -> Step:
    number = maker.size(node.inputs[1])
    width = maker.size(node.inputs[0]) // number
    return Step("", (), (), (number, width), parameter=node.attributes.get("fill", 0.0))


def _dense(maker: _Maker, node: Node) -> Step:
    shape, width = maker.shapes[node.inputs[0]], maker.shapes[node.outputs[0]][-1]
    vectors = math.prod(shape[:-1])
    maker.operations += vectors * shape[-1] * width
    matrices = [maker.matrix(node, 0, 1)]
    return Step("", (), (), (vectors, shape[-1], width), matrices=matrices, **_activation_of(node))


def _activation(maker: _Maker, node: Node) -> Step:
    shape = maker.shapes[node.inputs[0]]
    vectors = math.prod(shape[:-1])
    # As a copy, whose rows are those of the batch.
    return Step("", (), (), (vectors, shape[-1], math.prod(shape)), **_activation_of(node))


def _window(maker: _Maker, node: Node) -> tuple[int, ...]:
    (rows, T, D), (_, places, outputs) = (maker.shapes[i[0]] for i in (node.inputs, node.outputs))
    names = ("size", "stride", "dilation")
    size, stride, dilation = (node.attributes.get(name, 1) for name in names)
    before, _ = reference.padding_of(node.attributes, T)
    return T, D, places, outputs, size, stride, dilation, before, rows


def _conv1d(maker: _Maker, node: Node) -> Step:
    sizes = _window(maker, node)
    _, D, places, outputs, size, *_, rows = sizes
    maker.operations += rows * places * size * D * outputs
    maker.scratch, maker.block_scratch = max(maker.scratch, size * D), max(maker.block_scratch, size * D)
    return Step("", (), (), sizes, matrices=[maker.matrix(node, 0, 1)], **_activation_of(node))


def _pool1d(maker: _Maker, node: Node) -> Step:
    return Step("", (), (), _window(maker, node), kind=int(node.attributes["kind"] == "average"))


def _global_pool1d(maker: _Maker, node: Node) -> Step:
    rows, T, *_ = shape = maker.shapes[node.inputs[0]]
    sizes = T, math.prod(shape[2:]), rows
    return Step("", (), (), sizes, kind=int(node.attributes["kind"] == "average"))


def _permute(maker: _Maker, node: Node) -> Step:
    rows, *shape = maker.shapes[node.inputs[0]]
    axes = [axis - 1 for axis in node.attributes["axes"]]
    if len(shape) > 3:
        raise NotServedError(f"{node.layer} permutes more than three axes")
    apart = [math.prod(shape[axis + 1 :]) for axis in axes]
    fill = 3 - len(shape)
    return Step("", (), (), (*[1] * fill, *(shape[axis] for axis in axes), *[0] * fill, *apart, rows))


def _steps(maker: _Maker, node: Node) -> Step:
    shape = maker.shapes[node.outputs[0] if node.op == "repeat" else node.inputs[0]]
    T = shape[1]
    index = node.attributes.get("index", 0) % T
    return Step("", (), (), (T, math.prod(shape[2:]), index, shape[0]))


def _concatenate(maker: _Maker, node: Node) -> Step:
    shapes = [maker.shapes[i] for i in node.inputs]
    axis = node.attributes["axis"] % len(shapes[0])
    return Step("", (), (), (math.prod(shapes[0][:axis]), *(math.prod(shape[axis:]) for shape in shapes)))


def _affine(maker: _Maker, node: Node) -> Step:
    shape = maker.shapes[node.inputs[0]]
    axis = node.attributes["axis"] % len(shape)
    values = [maker.weights(node, i) for i in range(2)]
    return Step("", (), (), (math.prod(shape), shape[axis], math.prod(shape[axis + 1 :])), values=values)


def _layer_norm(maker: _Maker, node: Node) -> Step:
    values = [maker.weights(node, i) for i in range(2)]
    width = values[0].size
    sizes = maker.size(node.inputs[0]) // width, width
    return Step("", (), (), sizes, parameter=node.attributes["epsilon"], values=values)


_STEPS: dict[str, Callable[[_Maker, Node], Step]] = {
    "embedding": _embedding,
    "mask_of": _mask_of,
    "keep": _keep,
    "dense": _dense,
    "activation": _activation,
    "conv1d": _conv1d,
    "pool1d": _pool1d,
    "global_pool1d": _global_pool1d,
    "permute": _permute,
    "repeat": _steps,
    "reverse": _steps,
    "take_step": _steps,
    "concatenate": _concatenate,
    "affine": _affine,
    "layer_norm": _layer_norm,
}


def fields_of(step: Step) -> Iterator[tuple[str, Any]]:
    """Yields the fields of `fz_node` but for its arrays, in their order."""
    yield "op", list(OPS).index(step.op)
    yield "activation", list(ACTIVATIONS).index(step.activation)
    yield "recurrent_activation", list(ACTIVATIONS).index(step.recurrent_activation)
    yield "kind", step.kind
    yield "parameter", step.parameter
    yield "inputs", [*step.inputs, *[NONE] * (INPUTS - len(step.inputs))]
    yield "outputs", [*step.outputs, *[NONE] * (OUTPUTS - len(step.outputs))]
    yield "sizes", [*step.sizes, *[0] * (SIZES - len(step.sizes))]
