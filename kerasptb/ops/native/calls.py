"""Calls a handler of the native library on tensors of Keras' backend, TensorFlow or JAX."""

from typing import NamedTuple

import keras

from kerasptb.ops.native import loader


class OpenSize(NamedTuple):
    """A size that is known when the program runs: `constant + batch B + steps T + both B T`."""

    constant: int = 0
    batch: int = 0
    steps: int = 0
    both: int = 0


def open_shape(shape):
    """Returns a shape [B, T, ...] as `call` takes it of an output: with an `OpenSize` for an unknown B or T."""
    return tuple(
        size if size is not None else open_size
        for size, open_size in zip(shape, [OpenSize(batch=1), OpenSize(steps=1), *[None] * len(shape)], strict=False)
    )


def call(target, arguments, outputs, aliases=None, attributes=None, sized_by=None):
    """Runs the handler registered under `target`.

    With TensorFlow sizes may be unknown. XLA then compiles the call (some 10 ms) for each size that comes.

    Args:
        target: name of the handler, as in the headers in `src/`.
        arguments: tensors; float32, bfloat16 or int32. Each shape is static, unless `sized_by` is given.
        outputs: the shape of each output, or a (shape, dtype) pair; dtype float32 unless given. Sizes are ints, or with
            `sized_by` also `OpenSize`.
        aliases: dict from the index of an argument to the index of the output that may reuse its memory, if nothing
            else reads the argument afterwards.
        attributes: dict of the handler's attributes, bools.
        sized_by: index of an argument [B, T, ...], if sizes are unknown.

    Returns:
        A list of tensors.

    Raises:
        NativeUnavailableError: if the library cannot be loaded.
        ValueError: if a size is unknown and `sized_by` is not given.
        tf.errors.InvalidArgumentError, jax.errors.JaxRuntimeError: if the handler refuses its arguments.
    """
    loader.load()
    for argument in arguments:
        if sized_by is None and None in tuple(argument.shape):
            raise ValueError(f"A native operation needs static shapes. Received: shape={argument.shape} for {target}")
    outputs = tuple(
        (tuple(output[0]), output[1]) if len(output) == 2 and isinstance(output[1], str) else (tuple(output), "float32")
        for output in outputs
    )
    if keras.backend.backend() == "jax":
        from kerasptb.ops.native import calls_jax as host  # noqa: PLC0415  (needs JAX)
    else:
        from kerasptb.ops.native import calls_tensorflow as host  # noqa: PLC0415  (needs TensorFlow)
    return host.call(target, arguments, outputs, aliases or {}, attributes or {}, sized_by)
