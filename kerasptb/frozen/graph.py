"""A model as a graph of plain values, and its file: layers as nodes, weights as arrays, nothing of Keras."""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from kerasptb.utils.files import DAMAGE, atomic_write, check_regular
from kerasptb.utils.types import StrPath

Shape: TypeAlias = tuple[int | None, ...]
VERSION, _GRAPH, _SUFFIX = 1, "graph", ".frozen"
NONE = -1  # in the place of a tensor that a node is not given


class Node(NamedTuple):
    """A layer, or a part of one.

    Attributes:
        op: what it computes, one of `reference.OPS`.
        layer: the name of the Keras layer that it comes from.
        inputs: numbers of tensors; `NONE` for what is not given.
        outputs: numbers of tensors.
        weights: numbers of the graph's arrays; layers that share weights name the same.
        attributes: the rest, by name, as JSON has it.
    """

    op: str
    layer: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    weights: tuple[int, ...] = ()
    attributes: Mapping[str, Any] = {}

    @property
    def begins_with_zeros(self) -> bool:
        """Whether it is a recurrent layer of the sequence itself, whose state is not given by another node."""
        return self.op == "recurrent" and self.inputs[2] == NONE and not self.attributes.get("inner")


class Input(NamedTuple):
    """An input of a model.

    Attributes:
        name: as the model names it.
        tensor: its number.
        shape: with the batch first; `None` for what may vary.
    """

    name: str
    tensor: int
    shape: Shape


class Graph(NamedTuple):
    """A model.

    Attributes:
        nodes: in the order in which they run.
        inputs: those of the model.
        outputs: numbers of tensors.
        names: those of the outputs, if the model returns a dict; `[]` for a list; `None` for one array.
        arrays: the weights, float32.
    """

    nodes: tuple[Node, ...]
    inputs: tuple[Input, ...]
    outputs: tuple[int, ...]
    names: Sequence[str] | None
    arrays: tuple[np.ndarray, ...]

    def weights_of(self, node: Node) -> list[np.ndarray]:
        """Returns the arrays of a node."""
        return [self.arrays[i] for i in node.weights]

    @property
    def recurrent(self) -> list[Node]:
        """Its recurrent nodes whose state begins with zeros, or where it was left."""
        return [node for node in self.nodes if node.begins_with_zeros]

    @property
    def state_sizes(self) -> list[tuple[int, ...]]:
        """Of each of `recurrent` the sizes of the arrays of its state."""
        return [(node.attributes["units"],) * (len(node.outputs) - 1) for node in self.recurrent]


def check_path(path: StrPath) -> Path:
    """Returns the path of a graph's file, whose name has to end in ".frozen"."""
    if Path(path).suffix != _SUFFIX:
        raise ValueError(f"Expected the name of a file that ends in {_SUFFIX}. Received: {path}")
    return Path(path)


def save_graph(graph: Graph, path: StrPath, **further: Any) -> Path:
    """Writes a graph, with further values that JSON has, completely or not at all; replaces a file that is there."""
    path = check_path(path)
    value = {
        "version": VERSION,
        "nodes": graph.nodes,
        "inputs": graph.inputs,
        "outputs": graph.outputs,
        "names": graph.names,
        **further,
    }
    arrays: dict[str, Any] = {str(i): array for i, array in enumerate(graph.arrays)}
    arrays[_GRAPH] = np.frombuffer(json.dumps(value).encode(), np.uint8)
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)
    return path


def load_graph(path: StrPath) -> tuple[Graph, dict[str, Any]]:
    """Returns the graph of a file, and the values that it has besides; raises ValueError for another file."""
    path = check_path(path)
    try:
        check_regular(path)
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            if (damaged := archive.testzip()) is not None:
                raise ValueError(f"{damaged} is damaged")
            file.seek(0)
            return _graph_of(np.load(file, allow_pickle=False))
    except FileNotFoundError:
        raise
    except DAMAGE as error:
        raise ValueError(f"{path} holds no frozen model: {error or type(error).__name__}. Save it again.") from error


def _graph_of(stored: Any) -> tuple[Graph, dict[str, Any]]:
    value = json.loads(stored[_GRAPH].tobytes())
    if (version := value.pop("version")) != VERSION:
        raise ValueError(f"it has version {version}, and this kerasptb reads version {VERSION}")
    nodes = tuple(
        Node(op, layer, tuple(inputs), tuple(outputs), tuple(weights), attributes)
        for op, layer, inputs, outputs, weights, attributes in value.pop("nodes")
    )
    inputs = tuple(Input(name, tensor, tuple(shape)) for name, tensor, shape in value.pop("inputs"))
    arrays = tuple(stored[str(i)] for i in range(len(stored.files) - 1))
    if any(array.dtype != np.float32 for array in arrays) or max([-1, *(i for n in nodes for i in n.weights)]) >= len(
        arrays
    ):
        raise ValueError("its arrays are not those of its graph")
    return Graph(nodes, inputs, tuple(value.pop("outputs")), value.pop("names"), arrays), value


def count_numbers(shape: Sequence[int]) -> int:
    """Returns how many numbers a row of an array has, of its shape with the batch first."""
    return math.prod(shape[1:])
