"""Dropout that draws its numbers quickly on a processor."""

import keras
from keras import ops

from kerasptb.ops import backends
from kerasptb.ops.dropout import dropout


@keras.saving.register_keras_serializable(package="kerasptb")
class Dropout(keras.layers.Dropout):
    """`keras.layers.Dropout` that on a processor runs as one native operation, forward and backward.

    TensorFlow takes a quarter of a training step in bfloat16 for the notebook's three dropouts, XLA several times as
    long. Where the native library cannot serve a call (a GPU, float64, a `noise_shape`, a shape that is not static),
    Keras' own dropout does, and draws other numbers from the same seed.

    Arguments and call arguments are those of `keras.layers.Dropout`.
    """

    def call(self, inputs, training=False):
        """Returns the inputs, with elements dropped if `training`."""
        dtype = keras.backend.standardize_dtype(inputs.dtype)
        served = dtype in ("float32", "bfloat16", "float16") and None not in tuple(inputs.shape) and self.is_native()
        if not (training and 0 < self.rate < 1 and served):
            return super().call(inputs, training=training)
        x = dropout(ops.cast(inputs, "float32"), self.rate, self.seed_generator.next())
        return ops.cast(x, dtype)

    def is_native(self):
        """Returns whether the native library serves the layer's calls, if their tensors allow it."""
        if self.noise_shape is not None or self.compute_dtype == "float64":
            return False
        return backends.native_obstacle() is None and not backends.visible_gpus()
