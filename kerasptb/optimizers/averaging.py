"""Averages of the weights that an optimizer keeps, ours or Keras'."""

import contextlib
from collections.abc import Iterator

import keras
from keras import ops


def inner_optimizer(optimizer):
    """Returns the optimizer that updates the weights, which `mixed_float16` has within one that scales the loss."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def averages_of(optimizer):
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
    pairs = averages_of(model.optimizer)
    _swap(pairs)
    try:
        yield
    finally:
        _swap(pairs)


def _swap(pairs):
    for variable, average in pairs:
        weights = ops.copy(variable.value)
        variable.assign(average.value)
        average.assign(weights)
