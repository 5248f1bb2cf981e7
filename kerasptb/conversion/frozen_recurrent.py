"""Recurrent Keras layers as nodes of a graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers

from kerasptb.conversion.graph_maker import GraphMaker, Traced
from kerasptb.frozen.graph import NONE
from kerasptb.frozen.reference import OVER_VECTORS
from kerasptb.layers.keras_cell import kind_of, weights_of


def recurrent(maker: GraphMaker, layer: Any, x: Traced, initial_state: Any = None, mask: Any = None) -> Any:
    """LSTM, GRU, SimpleRNN, and RNN of cells: with a state that is given, Keras hands on no mask."""
    state = keras.tree.flatten(initial_state) if initial_state is not None else []
    used = mask.number if mask is not None else NONE if state else x.mask
    cells = layer.cell.cells if isinstance(layer.cell, layers.StackedRNNCells) else [layer.cell]
    if len(cells) > 1 and (state or layer.return_state):
        raise maker.refuse(layer, "stacked cells with a state that is given or returned")
    for i, cell in enumerate(cells):
        sequence = layer.return_sequences or i < len(cells) - 1
        outputs = _one_cell(
            maker, layer, cell, x, used, state, go_backwards=layer.go_backwards and i == 0, return_sequences=sequence
        )
        x = outputs[0]
        if i == 0 and layer.go_backwards and used != NONE and len(cells) > 1:
            used = maker.one("reverse", Traced(used)).number
    x.mask = handed_on(layer, x)
    return outputs if layer.return_state else x


def handed_on(layer: Any, x: Traced) -> int:
    """Returns the mask of what a layer puts out at each step of x: from Keras 3.16 on its recurrent ones have none."""
    return x.mask if layer.supports_masking and getattr(layer, "return_sequences", True) else NONE


def _one_cell(
    maker: GraphMaker, layer: Any, cell: Any, x: Traced, mask: int, state: Sequence[Traced], **how: bool
) -> list[Traced]:
    kind, attributes = _cell_of(maker, layer, cell)
    shapes = kind.weight_shapes(1, cell.units) if kind else {}
    if kind is None:
        weights = [maker.weight(cell.kernel), maker.weight(cell.recurrent_kernel), maker.bias(cell, cell.units)]
    else:
        variables = zip(weights_of(cell), shapes.values(), strict=True)
        weights = [maker.constant(np.zeros(s)) if v is None else maker.weight(v) for v, (_, s) in variables]
    states = 1 if kind is None else len(kind.states)
    before = [s.number for s in state] or [NONE] * states
    return maker.node(
        "recurrent",
        [x.number, mask, *before],
        weights,
        outputs=1 + states,
        mask=x.mask,
        units=cell.units,
        zero_output_for_mask=bool(getattr(layer, "zero_output_for_mask", False)),
        stateful=bool(layer.stateful),
        **how,
        **attributes,
    )


def _cell_of(maker: GraphMaker, layer: Any, cell: Any) -> tuple[Any, dict[str, Any]]:
    """Returns the `Cell` of one of Keras, `None` for a SimpleRNN's, and the attributes that say what it computes."""
    kind, is_simple = kind_of(cell), type(cell) is layers.SimpleRNNCell
    if kind is None and not is_simple:
        raise maker.refuse(layer, f"an RNN of {type(cell).__name__}")
    name = "simple_rnn" if kind is None else kind.kernels
    attributes = {"cell": name, **maker.activation(layer, cell.activation), "recurrent_activation": "sigmoid"}
    if name in ("lstm", "gru", "gru_reset_before"):
        gate = maker.activation(layer, cell.recurrent_activation)
        if gate.get("parameter") or gate["activation"] in OVER_VECTORS:
            raise maker.refuse(layer, f"with the recurrent activation {gate['activation']}")
        attributes["recurrent_activation"] = gate["activation"]
    elif kind is not None:  # whose step has these two by definition
        attributes["activation"] = "tanh"
    return kind, attributes


def bidirectional(maker: GraphMaker, layer: Any, x: Traced, initial_state: Any = None, mask: Any = None) -> Any:
    """A layer of each direction, and their outputs merged."""
    given = [*initial_state] if initial_state is not None else []
    halves = given[: len(given) // 2] or None, given[len(given) // 2 :] or None
    inputs = Traced(x.number, NONE if given else x.mask)
    both = [
        keras.tree.flatten(recurrent(maker, each, inputs, half, mask))
        for each, half in zip((layer.forward_layer, layer.backward_layer), halves, strict=True)
    ]
    (forward, *states), (backward, *others) = both
    if layer.return_sequences:
        backward = maker.one("reverse", backward)
    if layer.merge_mode is None:
        outputs = [forward, backward]
    elif layer.merge_mode == "concat":
        outputs = [maker.one("concatenate", forward, backward, axis=-1)]
    else:
        kind = {"sum": "add", "ave": "average", "mul": "multiply"}[layer.merge_mode]
        outputs = [maker.one("merge", forward, backward, kind=kind)]
    for output in outputs:
        output.mask = handed_on(layer, x)
    outputs += [*states, *others] if layer.return_state else []
    return outputs[0] if len(outputs) == 1 else outputs
