"""A Keras model as a graph of plain values, which runs without Keras."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import keras
import numpy as np
from keras import layers

from kerasptb.compat.keras import functional_of, get_keras_mask, nodes_of
from kerasptb.conversion.frozen_recurrent import bidirectional, handed_on, recurrent
from kerasptb.conversion.graph_maker import GraphMaker, Traced
from kerasptb.frozen.graph import NONE, Graph, Input
from kerasptb.frozen.network import FrozenNetwork, FrozenPrecision

_MOST_IDS = 1 << 24  # float32, in which ids are handed on, has all whole numbers up to it
_PACKAGES = ("keras.", "kerasptb.")


class Refused:
    """What an operation gives that is not served."""

    def __init__(self, operation: Any) -> None:
        self.operation = operation


_MERGED = ("Add", "Subtract", "Multiply", "Maximum", "Minimum")
Converter: TypeAlias = "Callable[..., Any]"


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
    outputs = _through(maker, graph, given)
    keys = {id(x): key for key, x in graph.input.items()} if isinstance(graph.input, dict) else {}
    inputs = tuple(
        Input(keys.get(id(symbolic), symbolic.name), traced.number, tuple(symbolic.shape))
        for symbolic, traced in zip(graph.inputs, given, strict=True)
    )
    names = _names_of(maker, model, graph.output)
    return Graph(tuple(maker.nodes), inputs, tuple(x.number for x in outputs), names, tuple(maker.arrays))


def _names_of(maker: GraphMaker, model: Any, outputs: Any) -> Sequence[str] | None:
    """Returns the names of a `Graph`'s outputs. Keras returns a list of one as what is in it."""
    if isinstance(outputs, keras.KerasTensor):
        return None
    is_dict = isinstance(outputs, dict)
    if not all(isinstance(x, keras.KerasTensor) for x in (outputs.values() if is_dict else outputs)):
        raise maker.refuse(model, "with outputs in one another; `keras.tree.flatten` makes a list of them")
    return sorted(outputs) if is_dict else None if len(outputs) == 1 else []


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
        given = args[0]
        if isinstance(given, dict) and not isinstance(graph.input, dict):
            given = [given[symbolic.name] for symbolic in graph.inputs]
        return _through(maker, graph, keras.tree.flatten(given))
    if getattr(layer, "quantization_mode", None) is not None:
        raise maker.refuse(
            layer, f"whose weights are quantized to {layer.quantization_mode}; freeze the model as it was before"
        )
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
    weights = [maker.weight(layer.kernel), maker.bias(layer, layer.units)]
    return maker.one("dense", x, weights=weights, mask=x.mask, **maker.activation(layer, layer.activation))


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
    weights = [kernel, maker.bias(layer, filters)]
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
    return maker.one("unfold", results[0], x, mask=handed_on(layer, x))


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
    layers.RNN: recurrent,
    layers.Bidirectional: bidirectional,
    layers.TimeDistributed: _time_distributed,
}
