"""Which models run a step at a time: those whose layers leave the axis of the steps to recurrent ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from kerasptb.frozen import reference
from kerasptb.frozen.graph import NONE, Graph, Node

_STEPS = 1  # the axis
_MIX = {"conv1d", "pool1d", "global_pool1d", "permute", "reshape", "repeat", "reverse"}


class Stepwise(NamedTuple):
    """What a graph does with a step.

    Attributes:
        why_not: which layer needs more than a step, in words; `None` if none does.
        graph: the graph, of which the outputs of a step that is masked are those before.
        outputs: of each output whether it has the axis of the steps.
    """

    why_not: str | None
    graph: Graph
    outputs: Sequence[bool]


def stepwise(graph: Graph) -> Stepwise:
    """Follows the axis of the steps through a graph, from its inputs, whose second it is."""
    inputs = [np.zeros((1, 1, *(size or 1 for size in given.shape[2:])), "float32") for given in graph.inputs]
    if any(len(given.shape) < 2 for given in graph.inputs):
        return Stepwise("an input that is no sequence", graph, [])
    tensors: dict[int, Any] = {NONE: None, **{g.tensor: x for g, x in zip(graph.inputs, inputs, strict=True)}}
    having = {given.tensor for given in graph.inputs}
    for node in graph.nodes:
        if not node.attributes.get("inner") and _mixes(node, tensors, having):
            return Stepwise(f"{node.layer}, which needs more than one step", graph, [])
        outputs = reference.compute(graph, node, [tensors[i] for i in node.inputs])
        tensors.update(zip(node.outputs, outputs, strict=True))
        having |= _having(node, having)
    nodes = tuple(
        node._replace(attributes={**node.attributes, "is_step": True}) if node.begins_with_zeros else node
        for node in graph.nodes
    )
    return Stepwise(None, graph._replace(nodes=nodes), [tensor in having for tensor in graph.outputs])


def _having(node: Node, having: set[int]) -> set[int]:
    """Returns the outputs of a node that have the axis."""
    if node.op == "recurrent":
        return {node.outputs[0]} if node.attributes["return_sequences"] else set()
    if node.op in ("take_step", "fold"):
        return set()
    of = node.inputs[-1] if node.op == "unfold" else node.inputs[0]
    return set(node.outputs) if of in having else set()


def _mixes(node: Node, tensors: dict[int, Any], having: set[int]) -> bool:
    """Returns whether an output at a step is of more than the inputs at that step and a state."""
    attributes, given = node.attributes, [i for i in node.inputs if i != NONE]
    with_steps = [i in having for i in given]
    if node.op == "recurrent":  # over another axis its state would go on from step to step
        return bool(attributes["go_backwards"] or not node.begins_with_zeros or not with_steps[0])
    if not any(with_steps) or node.op == "unfold":
        return False
    if node.op == "take_step":
        return bool(attributes["index"] != -1)
    ranks = {tensors[i].ndim for i in given}
    rank = max(ranks)
    last = {rank - 1}
    axes = {
        "dense": last,
        "activation": last if attributes.get("activation") in reference.OVER_VECTORS else set(),
        "mask_of": set() if attributes.get("of_ids") else last,
        "concatenate": {attributes.get("axis", 0) % rank},
        "affine": {attributes.get("axis", 0) % rank},
        "layer_norm": set(range(rank - attributes["axes"], rank)) if node.op == "layer_norm" else set(),
        "merge": {_STEPS} if len(ranks) > 1 else set(),  # whose axes are not beside each other
    }.get(node.op, set())
    return node.op in _MIX or _STEPS in axes or not all(with_steps)
