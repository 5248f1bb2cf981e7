"""What each node of a graph computes, in NumPy: the specification of the native program and of the C file.

A function takes the node's attributes, its weights and its inputs, float32 with the batch first, and returns its
outputs. B rows, T steps, D features, H units. A mask is an array [B, T] of ones and zeros.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from kerasptb.cells import CELLS, Cell
from kerasptb.cells.cell import NumPy
from kerasptb.cells.gru import GRU
from kerasptb.frozen.graph import NONE, Graph, Node

Arrays: TypeAlias = list[np.ndarray]
States: TypeAlias = list[list[np.ndarray]]
_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805
OVER_VECTORS = ("softmax", "log_softmax")  # activations of which each number is of all of the last axis
_erf = np.vectorize(math.erf, otypes=["float32"])
sigmoid = NumPy.sigmoid


class IdError(ValueError):
    """An id that no row of an embedding's table has."""

    def __init__(self) -> None:
        super().__init__("Expected ids within the model's embeddings. Received: one that is out of range")


def _softplus(x: np.ndarray, _: float) -> np.ndarray:
    return np.logaddexp(x, np.float32(0))


def _softmax(x: np.ndarray, _: float) -> np.ndarray:
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def _gelu(x: np.ndarray, approximate: float) -> np.ndarray:
    if approximate:
        return 0.5 * x * (1 + np.tanh(0.7978845608 * (x + 0.044715 * x**3)))
    return 0.5 * x * (1 + _erf(x * 0.7071067811865476))


def _hard_sigmoid(x: np.ndarray, _: float) -> np.ndarray:
    return np.clip(x / 6 + 0.5, 0, 1)


def _leaky_relu(x: np.ndarray, slope: float) -> np.ndarray:
    return np.where(x > 0, x, slope * x)


def _elu(x: np.ndarray, alpha: float) -> np.ndarray:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


# In the order of their numbers in native/src/frozen/ops.c; the second argument is a parameter of some.
ACTIVATIONS: dict[str, Callable[[Any, float], Any]] = {
    "linear": lambda x, _: x,
    "relu": lambda x, _: np.maximum(x, 0),
    "tanh": lambda x, _: np.tanh(x),
    "sigmoid": lambda x, _: sigmoid(x),
    "softmax": _softmax,
    "hard_sigmoid": _hard_sigmoid,
    "leaky_relu": _leaky_relu,
    "relu6": lambda x, _: np.clip(x, 0, 6),
    "elu": _elu,
    "selu": lambda x, _: _SELU_SCALE * _elu(x, _SELU_ALPHA),
    "softplus": _softplus,
    "softsign": lambda x, _: x / (1 + np.abs(x)),
    "exponential": lambda x, _: np.exp(x),
    "silu": lambda x, _: x * sigmoid(x),
    "gelu": _gelu,
    "mish": lambda x, _: x * np.tanh(_softplus(x, 0)),
    "hard_silu": lambda x, _: x * _hard_sigmoid(x, 0),
    "log_softmax": lambda x, _: np.log(_softmax(x, 0)),
}


def activate(attributes: Mapping[str, Any], x: np.ndarray) -> np.ndarray:
    """Returns the activation that attributes name, of an array."""
    return ACTIVATIONS[attributes["activation"]](x, attributes.get("parameter", 0.0))


class _SimpleRNN(Cell):
    """Elman 1990: one state, h[t] = tanh(x[t] W + h[t-1] U + b)."""

    name, title, gates = "simple_rnn", "a SimpleRNN", "h"

    def step(self, x: Any, state: Any, weights: Any, *_: Any, ops: Any = NumPy) -> list[Any]:
        kernel, recurrent_kernel, bias = weights
        return [ops.tanh(ops.matmul(x, kernel) + ops.matmul(state[0], recurrent_kernel) + bias)]


ALL_CELLS = {**CELLS, "gru_reset_before": GRU(reset_after=False), "simple_rnn": _SimpleRNN()}


def recurrent(attributes: Mapping[str, Any], weights: Arrays, x: Any, mask: Any, *state: Any) -> Arrays:
    """The outputs of a recurrent layer, [B, T, H] or [B, H], and its state after the last step.

    A step that is masked leaves the state; its output is the one before, zeros before the first, or zeros always. Of a
    step of a signal that goes on, the output before is the state.
    """
    cell, (B, T, _), H = ALL_CELLS[attributes["cell"]], x.shape, attributes["units"]
    functions = {
        "tanh": lambda z: ACTIVATIONS[attributes["activation"]](z, attributes.get("parameter", 0.0)),
        "sigmoid": lambda z: ACTIVATIONS[attributes["recurrent_activation"]](z, 0.0),
    }
    # Cells that Keras lacks have these activations by definition.
    ops = type("Ops", (NumPy,), {name: staticmethod(function) for name, function in functions.items()})
    h = [np.zeros((B, H), "float32") if s is None else s for s in state]
    out = h[0] if attributes.get("is_step") else np.zeros((B, H), "float32")
    outputs = np.zeros((B, T, H), "float32")
    for t in reversed(range(T)) if attributes["go_backwards"] else range(T):
        after = cell.step(x[:, t], h, weights, ops=ops)
        if mask is None:
            h, out = after, after[0]
        else:
            taken = mask[:, t, np.newaxis] > 0
            out = np.where(taken, after[0], 0 if attributes["zero_output_for_mask"] else out)
            h = [np.where(taken, a, b) for a, b in zip(after, h, strict=True)]
        outputs[:, T - 1 - t if attributes["go_backwards"] else t] = out
    return [outputs if attributes["return_sequences"] else out, *h]


def embedding(_: Any, weights: Arrays, ids: np.ndarray) -> Arrays:
    """The rows of a table, [..., E], of ids."""
    if ids.size and not (ids.min() >= 0 and ids.max() < len(weights[0])):
        raise IdError
    return [weights[0][ids.astype("int64")]]


def mask_of(attributes: Mapping[str, Any], _: Arrays, x: np.ndarray) -> Arrays:
    """A mask: which ids, or which steps in any feature, are not a value."""
    found = x != np.float32(attributes["value"])
    return [(found if attributes["of_ids"] else found.any(axis=-1)).astype("float32")]


def keep(attributes: Mapping[str, Any], _: Arrays, x: np.ndarray, mask: np.ndarray, other: Any = None) -> Arrays:
    """An array where the mask has ones, else another array, or a number."""
    other = np.float32(attributes.get("fill", 0)) if other is None else other
    return [np.where(mask.reshape(mask.shape + (1,) * (x.ndim - mask.ndim)) > 0, x, other)]


def dense(attributes: Mapping[str, Any], weights: Arrays, x: np.ndarray) -> Arrays:
    """The product of the last axis with a kernel [K, N], and a bias [N]."""
    product = NumPy.matmul(x.reshape(-1, x.shape[-1]), weights[0]).reshape(*x.shape[:-1], -1)
    return [activate(attributes, product + weights[1])]


def activation(attributes: Mapping[str, Any], _: Arrays, x: np.ndarray) -> Arrays:
    """An activation alone."""
    return [activate(attributes, x)]


def padding_of(attributes: Mapping[str, Any], steps: int) -> tuple[int, int]:
    """Returns how many steps of padding a window that slides has before and behind `steps` of input."""
    reach = (attributes["size"] - 1) * attributes.get("dilation", 1)
    if attributes["padding"] == "causal":
        return reach, 0
    if attributes["padding"] == "valid":
        return 0, 0
    stride = attributes["stride"]
    total = max((-(-steps // stride) - 1) * stride + reach + 1 - steps, 0)
    return total // 2, total - total // 2


def _windows(attributes: Mapping[str, Any], x: np.ndarray, fill: float) -> np.ndarray:
    """Returns what a window sees at each place, [B, places, size, D]; `fill` where it has no step."""
    size, stride, dilation = (attributes.get(name, 1) for name in ("size", "stride", "dilation"))
    before, behind = padding_of(attributes, x.shape[1])
    padded = np.pad(x, ((0, 0), (before, behind), (0, 0)), constant_values=fill)
    places = (padded.shape[1] - (size - 1) * dilation - 1) // stride + 1
    return padded[:, stride * np.arange(places)[:, np.newaxis] + dilation * np.arange(size)]


def conv1d(attributes: Mapping[str, Any], weights: Arrays, x: np.ndarray) -> Arrays:
    """A convolution over the steps, with a kernel [size * D, N]."""
    windows = _windows(attributes, x, 0.0)
    return dense(attributes, weights, windows.reshape(*windows.shape[:2], -1))


def pool1d(attributes: Mapping[str, Any], _: Arrays, x: np.ndarray) -> Arrays:
    """The largest, or the average, of each window of steps."""
    if attributes["kind"] == "max":
        return [_windows(attributes, x, -np.inf).max(axis=2)]
    sums, numbers = (_windows(attributes, of, 0.0).sum(axis=2) for of in (x, np.ones_like(x)))
    return [sums / numbers]  # padding does not count


def global_pool1d(attributes: Mapping[str, Any], _: Arrays, x: np.ndarray, mask: Any) -> Arrays:
    """The largest, or the average, of all steps; the average of those that the mask has."""
    if attributes["kind"] == "max":
        return [x.max(axis=1, keepdims=attributes["keepdims"])]
    x = x if mask is None else keep({}, [], x, mask)[0]
    number = x.shape[1] if mask is None else mask.sum(axis=1)[(slice(None), *[np.newaxis] * (x.ndim - 2))]
    means = x.sum(axis=1) / number
    return [means[:, np.newaxis] if attributes["keepdims"] else means]


def permute(attributes: Mapping[str, Any], _: Arrays, x: np.ndarray) -> Arrays:
    """Other axes in the places of those behind the batch."""
    return [np.ascontiguousarray(x.transpose(0, *attributes["axes"]))]


def reshape(attributes: Mapping[str, Any], _: Arrays, x: np.ndarray) -> Arrays:
    """Another shape of a row; -1 once for what remains."""
    shape = list(attributes["shape"])
    if -1 in shape and 0 not in x.shape:
        shape[shape.index(-1)] = -(math.prod(x.shape[1:]) // math.prod(shape))
    return [x.reshape(len(x), *shape)]


def repeat(attributes: Mapping[str, Any], _: Arrays, x: np.ndarray) -> Arrays:
    """A row as so many steps."""
    return [np.repeat(x[:, np.newaxis], attributes["number"], axis=1)]


def concatenate(attributes: Mapping[str, Any], _: Arrays, *inputs: np.ndarray) -> Arrays:
    """Arrays one after the other."""
    return [np.concatenate(inputs, axis=attributes["axis"])]


_MERGED: dict[str, Callable[[Any, Any], Any]] = {
    "add": np.add,
    "average": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "maximum": np.maximum,
    "minimum": np.minimum,
}


def merge(attributes: Mapping[str, Any], _: Arrays, *inputs: np.ndarray) -> Arrays:
    """A sum and so on, number by number; an array of fewer axes is repeated over the first of the others."""
    rank = max(x.ndim for x in inputs)
    same = [x.reshape(len(x), *[1] * (rank - x.ndim), *x.shape[1:]) for x in inputs]
    merged = functools.reduce(_MERGED[attributes["kind"]], same)
    return [merged / len(inputs) if attributes["kind"] == "average" else merged]


def affine(attributes: Mapping[str, Any], weights: Arrays, x: np.ndarray) -> Arrays:
    """An array times a factor of each index of an axis, and a summand."""
    shape = [1] * x.ndim
    shape[attributes["axis"]] = -1
    return [x * weights[0].reshape(shape) + weights[1].reshape(shape)]


def layer_norm(attributes: Mapping[str, Any], weights: Arrays, x: np.ndarray) -> Arrays:
    """Mean zero and variance one of the last axes, then factors and summands."""
    axes = tuple(range(-attributes["axes"], 0))
    centred = x - x.mean(axis=axes, keepdims=True)
    scale = 1 / np.sqrt(np.square(centred).mean(axis=axes, keepdims=True) + np.float32(attributes["epsilon"]))
    return [centred * scale * weights[0] + weights[1]]


def reverse(_: Any, __: Arrays, x: np.ndarray) -> Arrays:
    """The steps, the last first."""
    return [np.ascontiguousarray(x[:, ::-1])]


def take_step(attributes: Mapping[str, Any], _: Arrays, x: np.ndarray) -> Arrays:
    """One of the steps."""
    return [np.ascontiguousarray(x[:, attributes["index"]])]


def fold(_: Any, __: Arrays, x: np.ndarray) -> Arrays:
    """Steps as rows, [B T, ...]: what is done to each step alone."""
    return [x.reshape(-1, *x.shape[2:])]


def unfold(_: Any, __: Arrays, x: np.ndarray, like: np.ndarray) -> Arrays:
    """Such rows as steps again, as many as another array has."""
    return [x.reshape(len(like), -1, *x.shape[1:]) if x.size else x.reshape(*like.shape[:2], *x.shape[1:])]


# In the order of their numbers in native/src/frozen/ops.h.
OPS: dict[str, Callable[..., Arrays]] = {
    function.__name__: function
    for function in (
        *(reshape, fold, unfold, embedding, mask_of, keep, recurrent, dense, activation, conv1d, pool1d),
        *(global_pool1d, permute, repeat, concatenate, merge, affine, layer_norm, reverse, take_step),
    )
}


def run(graph: Graph, inputs: Sequence[np.ndarray], states: States | None = None) -> tuple[dict[int, Any], States]:
    """Computes a graph.

    Args:
        graph: of `B` rows.
        inputs: float32, in the order of the graph's.
        states: of each of `graph.recurrent` the arrays of its state, [B, H] each; zeros if `None`.

    Returns:
        All tensors by their numbers, and the states after the last step.
    """
    tensors: dict[int, Any] = {NONE: None}
    tensors.update((given.tensor, x) for given, x in zip(graph.inputs, inputs, strict=True))
    after, before = [], iter(states or ())
    for node in graph.nodes:
        given = [tensors[i] for i in node.inputs]
        is_ours = node.begins_with_zeros
        if is_ours and states is not None:
            given[2:] = next(before)
        outputs = compute(graph, node, given)
        after += [outputs[1:]] if is_ours else []
        tensors.update(zip(node.outputs, outputs, strict=True))
    return tensors, after


def compute(graph: Graph, node: Node, given: Sequence[Any]) -> Arrays:
    """Returns the outputs of a node, float32; raises a ValueError that names its layer if its inputs do not fit."""
    try:
        with np.errstate(all="ignore"):  # NaN and infinity go on, as in Keras
            outputs = OPS[node.op](node.attributes, graph.weights_of(node), *given)
    except IdError:
        raise
    except (IndexError, ValueError) as error:
        shapes = [x.shape[1:] for x in given if x is not None]
        raise ValueError(f"Expected as much as {node.layer} needs. Received there: rows of shape {shapes}") from error
    return [np.asarray(output, "float32") for output in outputs]
