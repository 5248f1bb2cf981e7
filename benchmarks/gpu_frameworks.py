"""TensorFlow and JAX behind the few methods that the GPU check needs. Each is imported by its own class only.

Functions here take and return lists of tensors.
"""

import os

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


class TensorFlow:
    """TensorFlow; a function is compiled to a graph, or by XLA to a program."""

    name = "tensorflow"
    modes = ("graph", "XLA")
    keras_mode = "graph"  # XLA does not take Keras' cuDNN operation

    def __init__(self):
        import tensorflow as tf  # noqa: PLC0415

        self._tf = tf

    def gpus(self):
        """Returns the names of the GPUs that are seen."""
        return [device.name for device in self._tf.config.get_visible_devices("GPU")]

    def set_tf32(self, allowed):
        """Lets products of float32 matrices round their operands to TF32, as is the default, or not."""
        self._tf.config.experimental.enable_tensor_float_32_execution(allowed)

    def tensors(self, arrays):
        """Returns arrays as tensors."""
        return [self._tf.constant(array) for array in arrays]

    def with_gradients(self, function):
        """Returns `(arguments, upstream) -> (outputs, gradients)` of `function(*arguments) -> outputs`."""

        def run(arguments, upstream):
            with self._tf.GradientTape() as tape:
                tape.watch(arguments)
                outputs = list(function(*arguments))
            return outputs, tape.gradient(outputs, arguments, output_gradients=upstream)

        return run

    def compile(self, function, mode):
        """Returns a function compiled in one of `modes`."""
        return self._tf.function(function, jit_compile=mode == "XLA", autograph=False)

    def loop(self, times, body, carry):
        """Returns `carry` after so many times `carry = body(*carry)`."""

        def count(i, *carry):
            return i + 1, *body(*carry)

        start = (self._tf.constant(0), *carry)
        return list(self._tf.while_loop(lambda i, *_: i < times, count, start, parallel_iterations=1)[1:])

    def wait(self, tensors):
        """Returns when the tensors have been computed."""
        # Copying one tensor waits for all earlier work on the GPU's stream.
        min(tensors, key=lambda tensor: int(np.prod(tensor.shape))).numpy()


class Jax:
    """JAX; every function is compiled by XLA."""

    name = "jax"
    modes = ("XLA",)
    keras_mode = "XLA"

    def __init__(self):
        import jax  # noqa: PLC0415

        self._jax = jax

    def gpus(self):
        """Returns the names of the GPUs that are seen."""
        return [str(device) for device in self._jax.devices()] if self._jax.default_backend() == "gpu" else []

    def set_tf32(self, allowed):
        """Lets products of float32 matrices round their operands to TF32, as is the default, or not."""
        self._jax.config.update("jax_default_matmul_precision", None if allowed else "highest")

    def tensors(self, arrays):
        """Returns arrays as tensors."""
        return [self._jax.numpy.asarray(array) for array in arrays]

    def with_gradients(self, function):
        """Returns `(arguments, upstream) -> (outputs, gradients)` of `function(*arguments) -> outputs`."""

        def run(arguments, upstream):
            outputs, pull_back = self._jax.vjp(lambda *arguments: list(function(*arguments)), *arguments)
            return outputs, list(pull_back(list(upstream)))

        return run

    def compile(self, function, mode):
        """Returns a function compiled in one of `modes`."""
        del mode
        return self._jax.jit(function)

    def loop(self, times, body, carry):
        """Returns `carry` after so many times `carry = body(*carry)`."""
        return self._jax.lax.fori_loop(0, times, lambda _, carry: list(body(*carry)), list(carry))

    def wait(self, tensors):
        """Returns when the tensors have been computed."""
        self._jax.block_until_ready(tensors)


FRAMEWORKS = {"tensorflow": TensorFlow, "jax": Jax}
