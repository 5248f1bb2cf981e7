"""A Keras model as a graph of plain values, which runs without Keras."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import keras
import numpy as np
from keras import layers

from kerasptb.compat.keras import functional_of, get_keras_mask, nodes_of
from kerasptb.frozen.graph import NONE, Graph, Input, Node
from kerasptb.frozen.network import FrozenNetwork, FrozenPrecision
from kerasptb.frozen.reference import ACTIVATIONS
from kerasptb.layers.keras_cell import kind_of, weights_of
from kerasptb.utils.errors import ExportError

_MOST_IDS = 1 << 24  # float32, in which ids are handed on, has all whole numbers up to it
_PACKAGES = ("keras.", "kerasptb.")
# Activations that are named by one function, or one of its arguments, and not by their own name.
_ALIASES = {"swish": "silu", "hard_swish": "hard_silu"}


class Traced:
    """A tensor of the graph that is made: its number, and that of its mask, or `NONE`."""

    def __init__(self, number: int, mask: int = NONE) -> None:
        self.number, self.mask = number, mask


class Refused:
    """What an operation gives that is not served."""

    def __init__(self, operation: Any) -> None:
        self.operation = operation


_MERGED = ("Add", "Subtract", "Multiply", "Maximum", "Minimum")
Converter: TypeAlias = "Callable[..., Any]"


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
            self.arrays.append(np.ascontiguousarray(keras.ops.convert_to_numpy(value), "float32"))
        return self._numbers[key]

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


def freeze(model: keras.Model, precision: FrozenPrecision = "float32", backend: str = "auto") -> FrozenNetwork:
    """Makes a network of a Keras model that runs on NumPy and the native library alone, much faster for its user.

    It has the weights of now and no gradients. Outputs are those of `model.predict` to rounding; dropout and noise do
    nothing. Layers: Embedding; LSTM, GRU, SimpleRNN, and RNN of their cells or ours; Bidirectional and TimeDistributed;
    Dense, Conv1D, pooling over steps; Flatten, Reshape, RepeatVector, Permute; Concatenate, Add and the like;
    normalization; Masking, with masks by Keras' rules; activations; models inside, layers used twice.

    Args:
        model: a `keras.Model`, functional or `Sequential`, built.
        precision: "float32"; "bfloat16" for products on processors with AVX512-BF16; "int8" for weights in 8 bits.
        backend: "native" for the native library; "reference" for NumPy; "auto" for the library where it is.

    Returns:
        A `kerasptb.frozen.FrozenNetwork`.

    Raises:
        ExportError: if a layer is not served, which it names, or the model is neither functional nor `Sequential`.
        NativeUnavailableError: if "native" or another precision was asked for and is not there.

    Example:
        >>> model = keras.Sequential([keras.Input((24, 8)), keras.layers.LSTM(64), keras.layers.Dense(1)])
        >>> frozen = kerasptb.freeze(model)
        >>> frozen(np.zeros((1, 24, 8), "float32")).shape
        (1, 1)
    """
    return FrozenNetwork(graph_of(model), precision, backend)


def graph_of(model: Any) -> Graph:
    """Returns the `Graph` of a Keras model; raises an `ExportError` that names what it cannot have."""
    maker = GraphMaker()
    if (graph := functional_of(model)) is None:
        raise maker.refuse(model, f"a {type(model).__name__} that is not functional, or not built")
    given = [maker.tensor() for _ in graph.inputs]
    outputs = keras.tree.flatten(_through(maker, graph, given))
    inputs = tuple(
        Input(symbolic.name, traced.number, tuple(symbolic.shape))
        for symbolic, traced in zip(graph.inputs, given, strict=True)
    )
    struct = graph.output
    names = None if isinstance(struct, keras.KerasTensor) else sorted(struct) if isinstance(struct, dict) else []
    return Graph(tuple(maker.nodes), inputs, tuple(x.number for x in outputs), names, tuple(maker.arrays))


def _through(maker: GraphMaker, graph: Any, inputs: Sequence[Traced]) -> Any:
    """Converts the layers of a functional model in their order; returns its outputs."""
    tensors: dict[int, Any] = {id(symbolic): traced for symbolic, traced in zip(graph.inputs, inputs, strict=True)}
    for operation, arguments, outputs in nodes_of(graph):
        args, kwargs = arguments.fill_in(tensors)
        if (mask := arguments.kwargs.get("mask")) is not None and mask is get_keras_mask(arguments.args[0]):
            del kwargs["mask"]  # which Keras hands on by itself
        if isinstance(operation, keras.Layer):
            results = keras.tree.flatten(_convert(maker, operation, *args, **kwargs))
        else:
            found = _operation(maker, operation, args, kwargs)
            results = found if found is not None else [Refused(operation)] * len(outputs)
        tensors.update((id(symbolic), traced) for symbolic, traced in zip(outputs, results, strict=True))
    return [_served(maker, tensors[id(symbolic)]) for symbolic in graph.outputs]


def _operation(maker: GraphMaker, operation: Any, args: Any, kwargs: Any) -> list[Any] | None:
    """Converts one of few operations that are no layers, `x[:, -1]` and `x + y`; `None` for others."""
    # Keras computes masks by such, which a graph has in its own way: they are refused where they are used otherwise.
    given, kind = [*args, *kwargs.values()], type(operation).__name__
    if kind in _MERGED and len(given) == 2 and all(type(x) is Traced for x in given):
        maker.layer = operation.name
        return [maker.one("merge", *given, kind=kind.lower())]
    is_step = kind == "GetItem" and len(given) == 2 and isinstance(given[1], tuple) and len(given[1]) == 2
    if is_step and given[1][0] == slice(None) and isinstance(given[1][1], int) and type(given[0]) is Traced:
        maker.layer = operation.name
        return [maker.one("take_step", given[0], index=given[1][1])]
    return None


def _served(maker: GraphMaker, x: Any) -> Any:
    if isinstance(x, Refused):
        raise maker.refuse(x.operation, f"a {type(x.operation).__name__}, which is no layer")
    return x


def _convert(maker: GraphMaker, layer: Any, *args: Any, **kwargs: Any) -> Any:
    """Converts a layer at one of its places; returns its outputs."""
    for value in keras.tree.flatten((args, kwargs)):
        _served(maker, value)
    if (graph := functional_of(layer)) is not None:
        return _through(maker, graph, keras.tree.flatten(args[0]))
    converter = next((_CONVERTERS[base] for base in type(layer).__mro__ if base in _CONVERTERS), None)
    if converter is None or not type(layer).__module__.startswith(_PACKAGES):
        raise maker.refuse(layer, f"a {type(layer).__name__}")
    before, maker.layer = maker.layer, layer.name
    kwargs = {name: value for name, value in kwargs.items() if name != "training" and value is not None}
    try:
        return converter(maker, layer, *args, **kwargs)
    except TypeError as error:  # an argument of its call that no converter has
        raise maker.refuse(layer, f"called with {', '.join(kwargs) or type(args[0]).__name__}") from error
    finally:
        maker.layer = before


def _same(_: GraphMaker, __: Any, x: Traced) -> Traced:
    return x


def _embedding(maker: GraphMaker, layer: Any, ids: Traced) -> Traced:
    if layer.input_dim > _MOST_IDS:
        raise maker.refuse(layer, f"an Embedding of more than {_MOST_IDS:,} rows")
    mask = maker.one("mask_of", ids, value=0.0, of_ids=True).number if layer.mask_zero else NONE
    return maker.one("embedding", ids, weights=[maker.weight(layer.embeddings)], mask=mask)


def _masking(maker: GraphMaker, layer: Any, x: Traced) -> Traced:
    mask = maker.one("mask_of", x, value=float(layer.mask_value), of_ids=False)
    return maker.one("keep", x, mask, mask=mask.number)


def _dense(maker: GraphMaker, layer: Any, x: Traced) -> Traced:
    weights = [maker.weight(layer.kernel), _bias(maker, layer, layer.units)]
    return maker.one("dense", x, weights=weights, mask=x.mask, **maker.activation(layer, layer.activation))


def _bias(maker: GraphMaker, layer: Any, *shape: int) -> int:
    return maker.weight(layer.bias) if layer.bias is not None else maker.constant(np.zeros(shape))


def _activation(maker: GraphMaker, layer: Any, x: Traced) -> Traced:
    return maker.one("activation", x, mask=x.mask, **maker.activation(layer, layer.activation))


def _activation_layer(maker: GraphMaker, layer: Any, x: Traced) -> Traced:
    """ReLU, LeakyReLU, ELU and Softmax as layers."""
    kind = type(layer).__name__
    if kind == "Softmax" and (layer.axis not in (-1, [-1]) or x.mask != NONE):
        raise maker.refuse(layer, "a Softmax over another axis, or of what is masked")
    attributes: dict[str, Any] = {"activation": {"Softmax": "softmax", "ELU": "elu"}.get(kind, "leaky_relu")}
    if kind == "ReLU":
        if layer.threshold or layer.max_value not in (None, 6) or (layer.max_value and layer.negative_slope):
            raise maker.refuse(layer, f"a ReLU with threshold={layer.threshold}, max_value={layer.max_value}")
        attributes["activation"] = "relu6" if layer.max_value else "leaky_relu" if layer.negative_slope else "relu"
    parameter = {"ELU": "alpha", "LeakyReLU": "negative_slope", "ReLU": "negative_slope"}.get(kind)
    if parameter:
        attributes["parameter"] = float(getattr(layer, parameter))
    return maker.one("activation", x, mask=x.mask, **attributes)


def _conv1d(maker: GraphMaker, layer: Any, x: Traced) -> Traced:
    if layer.groups != 1:
        raise maker.refuse(layer, f"a Conv1D of {layer.groups} groups")
    size, channels, filters = layer.kernel.shape
    kernel = maker.weight(layer.kernel, lambda: keras.ops.reshape(layer.kernel, (size * channels, filters)))
    attributes = {**_window(maker, layer, layer.kernel_size), **maker.activation(layer, layer.activation)}
    weights = [kernel, _bias(maker, layer, filters)]
    return maker.one("conv1d", x, weights=weights, dilation=layer.dilation_rate[0], **attributes)


def _window(maker: GraphMaker, layer: Any, size: Sequence[int]) -> dict[str, Any]:
    _check_channels(maker, layer)
    return {"size": size[0], "stride": layer.strides[0], "padding": layer.padding}


def _check_channels(maker: GraphMaker, layer: Any) -> None:
    if layer.data_format != "channels_last":
        raise maker.refuse(layer, f"with data_format={layer.data_format!r}")


def _pool1d(maker: GraphMaker, layer: Any, x: Traced) -> Traced:
    pool = (layer.pool_size,) if isinstance(layer.pool_size, int) else layer.pool_size
    strides = (layer.strides,) if isinstance(layer.strides, int) else layer.strides
    _check_channels(maker, layer)
    attributes = {"size": pool[0], "stride": strides[0], "padding": layer.padding}
    return maker.one("pool1d", x, kind=layer.pool_mode, **attributes)


def _global_pool1d(maker: GraphMaker, layer: Any, x: Traced) -> Traced:
    _check_channels(maker, layer)
    kind = "max" if isinstance(layer, layers.GlobalMaxPooling1D) else "average"
    mask = NONE if kind == "max" else x.mask
    return maker.node("global_pool1d", [x.number, mask], kind=kind, keepdims=bool(layer.keepdims))[0]


def _permute(maker: GraphMaker, layer: Any, x: Traced) -> Traced:
    return maker.one("permute", x, axes=list(layer.dims))


def _reshape(maker: GraphMaker, layer: Any, x: Traced) -> Traced:
    return maker.one("reshape", x, shape=list(getattr(layer, "target_shape", (-1,))))


def _flatten(maker: GraphMaker, layer: Any, x: Traced) -> Traced:
    _check_channels(maker, layer)
    return maker.one("reshape", x, shape=[-1])


def _repeat(maker: GraphMaker, layer: Any, x: Traced) -> Traced:
    return maker.one("repeat", x, number=layer.n)


def _merge(maker: GraphMaker, layer: Any, inputs: Sequence[Traced]) -> Traced:
    kind, inputs = type(layer).__name__.lower(), [Traced(x.number, x.mask) for x in inputs]
    mask = _either(maker, inputs)
    if kind == "multiply":  # what is masked does not count
        inputs = [_filled(maker, x, fill=1.0) for x in inputs]
    if kind not in ("maximum", "minimum"):
        result = maker.one("merge", *inputs, kind=kind, mask=mask)
        return _filled(maker, result, fill=0.0) if kind == "multiply" else result
    result = inputs[0]
    for x in inputs[1:]:
        right = _filled(maker, x, result)
        left = _filled(maker, result, right)
        both = _either(maker, [result, x])
        result = maker.one("merge", left, right, kind=kind, mask=both)
    return result


def _either(maker: GraphMaker, inputs: Sequence[Traced]) -> int:
    """Returns the mask of the steps that any of some tensors has; none if one has no mask."""
    masks = {x.mask for x in inputs}
    if NONE in masks or len(masks) == 1:
        return NONE if NONE in masks else inputs[0].mask
    return maker.one("merge", *map(Traced, sorted(masks)), kind="maximum").number


def _filled(maker: GraphMaker, x: Traced, *other: Traced, **fill: Any) -> Traced:
    """Returns a tensor with another in the place of what is masked."""
    return x if x.mask == NONE else maker.one("keep", x, Traced(x.mask), *other, mask=x.mask, **fill)


def _concatenate(maker: GraphMaker, layer: Any, inputs: Sequence[Traced]) -> Traced:
    if any(x.mask != NONE for x in inputs) and layer.axis not in (-1, 2):
        raise maker.refuse(layer, f"a Concatenate of masked inputs along axis {layer.axis}")
    # Where one has no mask, its steps are all there, and so are those of all.
    return maker.one("concatenate", *inputs, axis=layer.axis, mask=_either(maker, inputs))


def _batch_norm(maker: GraphMaker, layer: Any, x: Traced) -> Traced:
    numpy = keras.ops.convert_to_numpy
    scale = 1 / np.sqrt(numpy(layer.moving_variance).astype("float64") + layer.epsilon)
    scale = scale * numpy(layer.gamma) if layer.scale else scale
    summand = (numpy(layer.beta) if layer.center else 0) - numpy(layer.moving_mean) * scale
    weights = [maker.constant(scale), maker.constant(summand)]
    return maker.one("affine", x, weights=weights, mask=x.mask, axis=int(layer.axis))


def _layer_norm(maker: GraphMaker, layer: Any, x: Traced) -> Traced:
    given = layer.get_build_config()["input_shape"]
    axes = sorted(axis % len(given) for axis in ([layer.axis] if isinstance(layer.axis, int) else layer.axis))
    shape, rank = [given[axis] for axis in axes], len(axes)
    if layer.rms_scaling or axes != [*range(len(given) - rank, len(given))]:
        raise maker.refuse(layer, f"a LayerNormalization over axis {layer.axis}, which is not the last")
    weights = [
        maker.weight(layer.gamma) if layer.scale else maker.constant(np.ones(shape)),
        maker.weight(layer.beta) if layer.center else maker.constant(np.zeros(shape)),
    ]
    return maker.one("layer_norm", x, weights=weights, mask=x.mask, axes=rank, epsilon=layer.epsilon)


def _recurrent(maker: GraphMaker, layer: Any, x: Traced, initial_state: Any = None, mask: Any = None) -> Any:
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
    x.mask = _handed_on(layer, x)
    return outputs if layer.return_state else x


def _handed_on(layer: Any, x: Traced) -> int:
    """Returns the mask of what a layer puts out at each step of x: from Keras 3.16 on its recurrent ones have none."""
    return x.mask if layer.supports_masking and getattr(layer, "return_sequences", True) else NONE


def _one_cell(
    maker: GraphMaker, layer: Any, cell: Any, x: Traced, mask: int, state: Sequence[Traced], **how: bool
) -> list[Traced]:
    kind, attributes = _cell_of(maker, layer, cell)
    shapes = kind.weight_shapes(1, cell.units) if kind else {}
    if kind is None:
        weights = [maker.weight(cell.kernel), maker.weight(cell.recurrent_kernel), _bias(maker, cell, cell.units)]
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
        attributes["recurrent_activation"] = maker.activation(layer, cell.recurrent_activation)["activation"]
    elif kind is not None:  # whose step has these two by definition
        attributes["activation"] = "tanh"
    return kind, attributes


def _bidirectional(maker: GraphMaker, layer: Any, x: Traced, initial_state: Any = None, mask: Any = None) -> Any:
    given = [*initial_state] if initial_state is not None else []
    halves = given[: len(given) // 2] or None, given[len(given) // 2 :] or None
    inputs = Traced(x.number, NONE if given else x.mask)
    both = [
        keras.tree.flatten(_recurrent(maker, each, inputs, half, mask))
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
        output.mask = _handed_on(layer, x)
    outputs += [*states, *others] if layer.return_state else []
    return outputs[0] if len(outputs) == 1 else outputs


def _time_distributed(maker: GraphMaker, layer: Any, x: Traced) -> Traced:
    """Each step as a row of its own. Its layer is given the mask of a row alone, which ours have no use for."""
    takes_mask = "mask" in inspect.signature(layer.layer.call).parameters
    if maker.is_inner or (x.mask != NONE and takes_mask and not isinstance(layer.layer, layers.BatchNormalization)):
        raise maker.refuse(layer, "a TimeDistributed in another, or of a layer that takes masks, of what is masked")
    folded, begin = maker.one("fold", x), len(maker.nodes)
    maker.is_inner = True
    results = keras.tree.flatten(_convert(maker, layer.layer, folded))
    maker.is_inner = False
    if len(results) > 1 or any(node.attributes.get("stateful") for node in maker.nodes[begin:]):
        raise maker.refuse(layer, "a TimeDistributed of a layer of several outputs, or of a stateful one")
    return maker.one("unfold", results[0], x, mask=_handed_on(layer, x))


_CONVERTERS: Mapping[type, Converter] = {
    **dict.fromkeys((layers.Dropout, layers.SpatialDropout1D, layers.GaussianNoise, layers.GaussianDropout), _same),
    **dict.fromkeys((layers.AlphaDropout, layers.ActivityRegularization, layers.Identity), _same),
    layers.Embedding: _embedding,
    layers.Masking: _masking,
    layers.Dense: _dense,
    layers.Activation: _activation,
    **dict.fromkeys((layers.ReLU, layers.LeakyReLU, layers.ELU, layers.Softmax), _activation_layer),
    layers.Conv1D: _conv1d,
    **dict.fromkeys((layers.MaxPooling1D, layers.AveragePooling1D), _pool1d),
    **dict.fromkeys((layers.GlobalMaxPooling1D, layers.GlobalAveragePooling1D), _global_pool1d),
    layers.Permute: _permute,
    layers.Reshape: _reshape,
    layers.Flatten: _flatten,
    layers.RepeatVector: _repeat,
    **dict.fromkeys(
        (layers.Add, layers.Subtract, layers.Multiply, layers.Average, layers.Maximum, layers.Minimum), _merge
    ),
    layers.Concatenate: _concatenate,
    layers.BatchNormalization: _batch_norm,
    layers.LayerNormalization: _layer_norm,
    layers.RNN: _recurrent,
    layers.Bidirectional: _bidirectional,
    layers.TimeDistributed: _time_distributed,
}
