"""A graph that is being made, a node at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import numpy as np

from kerasptb.frozen.graph import NONE, Node
from kerasptb.frozen.reference import ACTIVATIONS
from kerasptb.utils.errors import ExportError

# Activations that are named by one function, or one of its arguments, and not by their own name.
_ALIASES = {"swish": "silu", "hard_swish": "hard_silu"}


class Traced:
    """A tensor of the graph that is made: its number, and that of its mask, or `NONE`."""

    def __init__(self, number: int, mask: int = NONE) -> None:
        self.number, self.mask = number, mask


class GraphMaker:
    """Collects the nodes, tensors and weights of a graph.

    Attributes:
        layer: the name of the layer that is converted.
        is_inner: whether it is one of TimeDistributed, whose rows are steps.
    """

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.arrays: list[np.ndarray] = []
        self.layer, self.is_inner = "", False
        self._numbers: dict[Any, int] = {}
        self._kept: list[Any] = []  # a number is by its object's address, which no other may have
        self._tensors = 0

    def tensor(self, mask: int = NONE) -> Traced:
        """Returns a new tensor."""
        self._tensors += 1
        return Traced(self._tensors - 1, mask)

    def weight(self, variable: Any, make: Callable[[], Any] | None = None) -> int:
        """Returns the number of a weight; of what is made of variables, by the first of them and the layer."""
        key = (id(variable), None if make is None else self.layer)
        if key not in self._numbers:
            value = variable if make is None else make()
            self._numbers[key] = len(self.arrays)
            self._kept.append(variable)
            self.arrays.append(np.ascontiguousarray(keras.ops.convert_to_numpy(value), "float32"))
        return self._numbers[key]

    def bias(self, layer: Any, *shape: int) -> int:
        """Returns the number of a layer's bias, zeros if it has none."""
        return self.weight(layer.bias) if layer.bias is not None else self.constant(np.zeros(shape))

    def constant(self, value: np.ndarray) -> int:
        """Returns the number of an array that is none of the model's."""
        self.arrays.append(np.ascontiguousarray(value, "float32"))
        return len(self.arrays) - 1

    def node(
        self,
        op: str,
        inputs: Iterable[int],
        weights: Sequence[int] = (),
        outputs: int = 1,
        mask: int = NONE,
        **others: Any,
    ) -> list[Traced]:
        """Adds a node, and returns its outputs, the first with the mask."""
        results = [self.tensor(mask), *(self.tensor() for _ in range(outputs - 1))]
        numbers = tuple(result.number for result in results)
        others |= {"inner": True} if self.is_inner else {}
        self.nodes.append(Node(op, self.layer, tuple(inputs), numbers, tuple(weights), others))
        return results

    def one(self, op: str, *inputs: Traced, weights: Sequence[int] = (), mask: int = NONE, **others: Any) -> Traced:
        """Adds a node of one output."""
        return self.node(op, [x.number for x in inputs], weights, mask=mask, **others)[0]

    def refuse(self, layer: Any, why: str) -> ExportError:
        """Returns the error of a layer that is not served."""
        name = getattr(layer, "name", type(layer).__name__)
        return ExportError(
            f"Expected a model of layers that can be frozen. Received: {name}, {why}. docs/frozen.md has them."
        )

    def activation(self, layer: Any, function: Any) -> dict[str, Any]:
        """Returns the attributes of an activation."""
        if function is None:
            return {"activation": "linear"}
        name = getattr(function, "__name__", "")
        name = _ALIASES.get(name, name)
        if name not in ACTIVATIONS or function is not getattr(keras.activations, name, None):
            raise self.refuse(layer, f"with the activation {keras.activations.serialize(function)!r}")
        parameters = {"leaky_relu": 0.2, "elu": 1.0, "gelu": 0.0}
        return {"activation": name, **({"parameter": parameters[name]} if name in parameters else {})}
