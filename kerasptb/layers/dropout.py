"""Dropout that draws its numbers quickly on a processor."""

from collections.abc import Sequence

import keras
from keras import ops

from kerasptb.ops.dropout import plan as plan_dropout
from kerasptb.ops.dropout import run as run_dropout
from kerasptb.ops.plan import Plan, choose, warn_if_slower
from kerasptb.utils.types import Tensor


@keras.saving.register_keras_serializable(package="kerasptb")
class Dropout(keras.layers.Dropout):
    """`keras.layers.Dropout` that on a processor runs as one native operation, forward and backward.

    TensorFlow takes a quarter of a training step in bfloat16 for the notebook's three dropouts, XLA several times as
    long. With a `noise_shape`, such as (B, 1, D) for one mask for all steps ("locked" dropout), the operation draws
    that many numbers. Where the native library cannot serve a call (a GPU, float64), Keras' dropout does, and draws
    other numbers from the same seed.

    Arguments and call arguments are those of `keras.layers.Dropout`.
    """

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        """Returns the inputs, with elements dropped if `training`."""
        if not (training and 0 < self.rate < 1):
            return super().call(inputs, training=training)
        plan = self.plan(inputs.shape)
        warn_if_slower(plan)
        if not plan.is_native:
            return super().call(inputs, training=training)
        if self.noise_shape is None:
            return run_dropout(plan, inputs, self.rate, self.seed_generator)
        noise_shape = [b if a is None else a for a, b in zip(self.noise_shape, ops.shape(inputs), strict=True)]
        factors = run_dropout(plan, ops.ones(noise_shape, "float32"), self.rate, self.seed_generator)
        return inputs * ops.cast(factors, inputs.dtype)

    def plan(self, shape: Sequence[int | None] | None = None) -> Plan:
        """Returns the `Plan` of the layer's calls in training; `shape` as in `kerasptb.ops.dropout.plan`."""
        if self.noise_shape is not None and shape is not None and len(self.noise_shape) != len(shape):
            limit = "The native backend takes a noise shape of as many dimensions as the inputs."
            return choose("auto", limit=f"{limit} Received: noise_shape={self.noise_shape}, shape={tuple(shape)}.")
        return plan_dropout(None if shape is None else tuple(shape), self.compute_dtype)
