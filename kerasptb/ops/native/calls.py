"""Calls a handler of the native library on tensors of Keras' backend, TensorFlow or JAX."""

import keras

from kerasptb.ops.native import loader


def call(target, arguments, outputs, aliases=None, attributes=None):
    """Runs the handler registered under `target`.

    With TensorFlow the first dimension of arguments, the batch size, may be unknown. XLA then compiles the call (some
    10 ms) for each batch size.

    Args:
        target: name of the handler, as in the headers in `src/`.
        arguments: tensors; float32, bfloat16 or int32. Each shape is static, or `(None, ...)` with the batch first.
        outputs: the shape of each output, or a (shape, dtype) pair; dtype float32 unless given. A first dimension of
            None is the batch size.
        aliases: dict from the index of an argument to the index of the output that may reuse its memory, if nothing
            else reads the argument afterwards.
        attributes: dict of the handler's attributes, bools.

    Returns:
        A list of tensors.

    Raises:
        NativeUnavailableError: if the library cannot be loaded.
        ValueError: if an argument has unknown dimensions besides the first.
        tf.errors.InvalidArgumentError, jax.errors.JaxRuntimeError: if the handler refuses its arguments.
    """
    loader.load()
    for argument in arguments:
        if None in tuple(argument.shape)[1:]:
            raise ValueError(f"A native operation needs static shapes. Received: shape={argument.shape} for {target}")
    outputs = tuple(
        (tuple(output[0]), output[1]) if len(output) == 2 and isinstance(output[1], str) else (tuple(output), "float32")
        for output in outputs
    )
    if keras.backend.backend() == "jax":
        from kerasptb.ops.native import calls_jax as host  # noqa: PLC0415  (needs JAX)
    else:
        from kerasptb.ops.native import calls_tensorflow as host  # noqa: PLC0415  (needs TensorFlow)
    return host.call(target, arguments, outputs, aliases or {}, attributes or {})
