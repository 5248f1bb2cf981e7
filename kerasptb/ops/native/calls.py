"""Calls a handler of the native library on tensors of Keras' backend, TensorFlow or JAX."""

import keras

from kerasptb.ops.native import loader


def call(target, arguments, outputs, aliases=None, attributes=None):
    """Runs the handler registered under `target`.

    With TensorFlow the first dimension of arguments may be unknown, the batch; XLA then compiles the call (some 10 ms)
    for each batch that it meets.

    Args:
        target: name of the handler, as the headers in `src/` give them.
        arguments: tensors; float32, bfloat16 or int32. Each shape is static, or `(None, ...)` with the batch first.
        outputs: the shape of each output, or a (shape, dtype) pair; dtype float32 unless given. None as the first
            dimension is the batch.
        aliases: dict from the number of an argument to that of the output that may take its memory, if nothing else
            reads the argument afterwards.
        attributes: dict of the handler's attributes, bools.

    Returns:
        A list of tensors.

    Raises:
        NativeUnavailableError: the library cannot be loaded.
        ValueError: an argument's shape is not known well enough.
        tf.errors.InvalidArgumentError, jax.errors.JaxRuntimeError: the handler refused its arguments.
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
