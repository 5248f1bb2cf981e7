"""Keras' recurrent layers of any model, made to run on the native kernels."""

import os
import warnings
from collections.abc import Sequence
from typing import Any

import keras

from kerasptb.layers.fused import Fused
from kerasptb.layers.fused_gru import FusedGRU
from kerasptb.layers.fused_lstm import FusedLSTM
from kerasptb.layers.fused_rnn import FusedRNN
from kerasptb.layers.keras_cell import kind_of, limit_of_activations
from kerasptb.ops import platform as platforms
from kerasptb.ops.plan import dtype_limit
from kerasptb.ops.recurrence import plan as plan_recurrence

_FUNCTIONS = ("train_function", "test_function", "predict_function")


class Accelerated(Fused):
    """A layer of Keras in whose place kernels run. In files it is Keras' own: each side loads what the other wrote."""

    keras_class: type[keras.layers.RNN]

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of Keras' layer, for serialisation."""
        return super(Fused, self).get_config()

    @classmethod
    def from_config(cls, config: dict[str, Any], *others: Any) -> Any:
        """Makes Keras' own layer from the result of `get_config`: a copy of a model is accelerated by another call."""
        return cls.keras_class.from_config(config, *others)


def _accelerated(keras_class: type[keras.layers.RNN], fused: type[Fused]) -> type[Accelerated]:
    """The class that takes the place of Keras': files name layers, and weights, by the name of their class."""
    as_in_files = {"__module__": "keras.layers", "__doc__": fused.__doc__}
    return type(keras_class.__name__, (Accelerated, fused), {**as_in_files, "keras_class": keras_class})


_CLASSES = {
    keras.layers.LSTM: _accelerated(keras.layers.LSTM, FusedLSTM),
    keras.layers.GRU: _accelerated(keras.layers.GRU, FusedGRU),
    keras.layers.RNN: _accelerated(keras.layers.RNN, FusedRNN),
}


def accelerate(model: keras.Model) -> keras.Model:
    """Has the LSTM and GRU layers of a Keras model run on the native kernels, on processors.

    Each `keras.layers.LSTM`, `keras.layers.GRU`, and `keras.layers.RNN` of one of their cells is replaced where it
    stands: in the model, in `Bidirectional`, in `TimeDistributed`, in a model inside. Weights, states, names, the
    optimizer and what `compile` set stay, so it may happen in the middle of a training. What the model saves,
    `.keras` and `.weights.h5`, is what it saved before: it loads where this package is not installed, and is
    accelerated by another call, as a copy of the model is. Losses and outputs agree to rounding; dropout draws other
    masks of the same rates.

    What has other activations, a cell of its own, or is a subclass stays as it is; so does everything on a GPU, where
    cuDNN is Keras' own. `kerasptb.explain` says of each layer what it runs on, and why. Gradients of gradients are not
    among what the kernels have: a model that takes them should not be accelerated.

    Args:
        model: a `keras.Model`, built: functional, `Sequential`, or a subclass whose layers are attributes.

    Returns:
        The same model.

    Raises:
        ValueError: if it is no model, or not built.

    Example:
        >>> model = keras.Sequential([keras.Input((24, 8)), keras.layers.LSTM(64), keras.layers.Dense(1)])
        >>> model = kerasptb.accelerate(model)
        >>> kerasptb.explain(model)[0].implementation
        'native'
    """
    if not isinstance(model, keras.Model):
        hint = " Load it with `keras.saving.load_model`." if isinstance(model, str | os.PathLike) else ""
        raise ValueError(f"Expected a keras.Model. Received: {model!r}.{hint}")
    if not model.built:
        raise ValueError(f"Expected a model that is built, as by a call or an Input. Received: {model.name}, not built")
    layers = list(model._flatten_layers())
    if not platforms.visible_gpus() and not any(isinstance(layer, Fused) or why_not(layer) is None for layer in layers):
        warnings.warn(f"Nothing in {model.name} runs faster now. {_reasons(layers)}", stacklevel=2)
    for layer in layers:
        if why_not(layer) is None:
            _replace(layer)
        if isinstance(layer, keras.Model):
            for function in _FUNCTIONS:  # the next call of `fit` makes it anew
                setattr(layer, function, None)
    return model


def why_not(layer: keras.Layer) -> str | None:
    """Returns one line on why `accelerate` leaves a layer as it is; `None` if it replaces it."""
    kind = kind_of(layer.cell) if isinstance(layer, keras.layers.RNN) else None
    if isinstance(layer, Fused):
        return "It is ours."
    if type(layer) not in _CLASSES:
        bases = [base.__name__ for base in _CLASSES if isinstance(layer, base)]
        return f"A subclass of keras.layers.{bases[0]} may compute anything." if bases else "It has no kernels."
    if kind is None:
        return f"Its cell, {type(layer.cell).__name__}, has no kernels."
    if platforms.visible_gpus():
        return "On a GPU Keras' own runs, cuDNN where it can."
    limit = limit_of_activations(kind, layer.cell) or dtype_limit(layer.dtype_policy)
    return limit or plan_recurrence(kind, None, layer.cell.units, precision=layer.dtype_policy).reason


def _reasons(layers: Sequence[keras.Layer]) -> str:
    """Returns why none of some layers is replaced."""
    reasons = {layer.name: why_not(layer) for layer in layers if isinstance(layer, keras.layers.RNN)}
    told = " ".join(f"{name}: {reason}" for name, reason in reasons.items())
    return told or "It has no recurrent layer of Keras: no LSTM, GRU, or RNN of one of their cells."


def _replace(layer: keras.layers.RNN) -> None:
    layer.__class__ = _CLASSES[type(layer)]
    layer.serve()
