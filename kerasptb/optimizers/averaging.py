"""Averages of the weights that an optimizer keeps, ours or Keras'."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
from keras import ops


def inner_optimizer(optimizer: Any) -> Any:
    """Returns the optimizer that updates the weights, which `mixed_float16` has within one that scales the loss."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def averages_of(optimizer: Any) -> list[tuple[keras.Variable, keras.Variable]]:
    """Returns (variable, average) pairs of an optimizer that has averages of its variables, else an empty list."""
    optimizer = inner_optimizer(optimizer)
    averages = getattr(optimizer, "_model_variables_moving_average", None) or []
    if not getattr(optimizer, "use_ema", False) or int(optimizer.iterations) == 0:
        return []
    return [pair for pair in zip(optimizer._trainable_variables, averages, strict=True) if pair[1] is not None]


@contextlib.contextmanager
def averaged_weights(model: keras.Model) -> Iterator[None]:
    """Gives a model the averages of its weights while the body runs, if its optimizer keeps some.

    Args:
        model: a compiled `keras.Model`.
    """
    with _weights(model, averaged=True):
        yield


@contextlib.contextmanager
def weights_themselves(model: keras.Model) -> Iterator[None]:
    """Gives a model the weights themselves while the body runs, if it has their averages in their place."""
    with _weights(model, averaged=False):
        yield


@contextlib.contextmanager
def _weights(model: keras.Model, averaged: bool) -> Iterator[None]:
    optimizer = inner_optimizer(model.optimizer)
    were = getattr(optimizer, "_weights_are_averages", False)
    pairs = averages_of(optimizer) if were != averaged else []
    _swap(optimizer, pairs, averaged)
    try:
        yield
    finally:
        _swap(optimizer, pairs, were)


def _swap(optimizer: Any, pairs: list[tuple[keras.Variable, keras.Variable]], averaged: bool) -> None:
    for variable, average in pairs:
        weights = ops.copy(variable.value)
        variable.assign(average.value)
        average.assign(weights)
    optimizer._weights_are_averages = averaged
