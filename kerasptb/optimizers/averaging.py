"""What an optimizer of ours knows about averages of the weights."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
from keras import ops

from kerasptb.utils.types import Tensor


class PolyakAveraging(keras.optimizers.Optimizer):
    """Lets an optimizer keep the mean of the weights after each step since `start_averaging`; a base beside Keras' own.

    Polyak and Juditsky, 1992, "Acceleration of Stochastic Approximation by Averaging". The means are the variables of
    Keras' moving average (`use_ema`), with another factor: until the start they are the weights themselves.
    """

    polyak_averaging = False

    def build(self, variables: list[keras.Variable]) -> None:
        """Makes the optimizer's variables."""
        if self.built:
            return
        super().build(variables)
        if self.polyak_averaging:
            # The step after which averaging began, counted from 1; 0 before.
            self._average_start = self.add_variable((), initializer="zeros", dtype="int", name="average_start")

    def start_averaging(self) -> None:
        """Begins the mean of the weights with the next step, if it has not begun; needs `polyak_averaging=True`."""
        if not (self.polyak_averaging and self.built):
            raise ValueError("Expected an optimizer with polyak_averaging=True that has been built.")
        if not self.is_averaging():
            self._average_start.assign(self.iterations + 1)

    def is_averaging(self) -> bool:
        """Whether the mean of the weights has begun."""
        return self.polyak_averaging and self.built and int(self._average_start) > 0

    def average_momentum(self) -> Tensor:
        """Returns what the averages keep of themselves in this step, a float32 scalar in [0, 1)."""
        if not self.polyak_averaging:
            return ops.where(ops.equal(self.iterations, 0), 0.0, float(self.ema_momentum))
        start = ops.cast(self._average_start, "int32")
        count = ops.cast(self.iterations, "int32") - start + 2
        count = ops.where(start > 0, ops.maximum(count, 1), 1)
        momentum = 1.0 - 1.0 / ops.cast(count, "float32")
        if self.gradient_accumulation_steps:  # of several steps only the last changes the weights
            last = ops.equal((self._iterations + 1) % self.gradient_accumulation_steps, 0)
            momentum = ops.where(ops.logical_or(last, start == 0), momentum, 1.0)
        return momentum

    def finalize_variable_values(self, var_list: list[keras.Variable]) -> None:
        """Puts the averages in the weights' place, as `fit` does at its end, if there was a step to average."""
        if int(self.iterations) > 0:
            super().finalize_variable_values(var_list)

    def _update_model_variables_moving_average(self, trainable_variables):
        self._average(zip(trainable_variables, self._model_variables_moving_average, strict=True))

    def _average(self, pairs):
        """Lets averages follow their variables; `pairs` of these, of which an average may be `None`."""
        momentum = self.average_momentum()
        for variable, average in pairs:
            if average is not None:
                new = ops.convert_to_tensor(variable)
                factor = ops.cast(momentum, new.dtype)
                average.assign(new + factor * (average - new))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "polyak_averaging": self.polyak_averaging}


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
