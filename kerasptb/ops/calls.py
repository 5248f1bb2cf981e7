"""Calls a handler of the native library on tensors of Keras' backend: TensorFlow, JAX or PyTorch."""

from collections.abc import Sequence
from typing import NamedTuple

from kerasptb.ops import hosts
from kerasptb.ops.backend import ON_JAX, ON_TENSORFLOW, ON_TORCH, jax
from kerasptb.ops.types import Aliases, Attributes, Outputs, Shape, Tensors
from kerasptb.utils.types import Tensor

if ON_TORCH:
    from kerasptb.ops import calls_torch
if ON_TENSORFLOW:
    from kerasptb.ops import calls_tensorflow


class OpenSize(NamedTuple):
    """A size that is known when the program runs: `constant + batch B + steps T + both B T`."""

    constant: int = 0
    batch: int = 0
    steps: int = 0
    both: int = 0


def open_shape(shape: Shape) -> Shape:
    """Returns a shape [B, T, ...] as `call` takes it of an output: with an `OpenSize` for an unknown B or T."""
    return tuple(
        size if size is not None else open_size
        for size, open_size in zip(shape, [OpenSize(batch=1), OpenSize(steps=1), *[None] * len(shape)], strict=False)
    )


def call(
    target: str,
    arguments: Tensors,
    outputs: Sequence[Shape | tuple[Shape, str]],
    aliases: Aliases | None = None,
    attributes: Attributes | None = None,
    sized_by: int | None = None,
) -> list[Tensor]:
    """Runs the handler `target` and returns a list of tensors; outputs are shapes, or pairs of shape and dtype.

    With TensorFlow sizes may be unknown: `sized_by` is then the index of an argument [B, T, ...], and outputs may have
    an `OpenSize`. XLA compiles such a call (some 10 ms) for each size that comes. `aliases` maps the index of an
    argument that nothing else reads afterwards to that of the output that may take its memory.
    """
    hosts.register()
    for argument in arguments:
        if sized_by is None and None in tuple(argument.shape):
            raise ValueError(f"A native operation needs static shapes. Received: shape={argument.shape} for {target}")
    with_dtypes = tuple(
        (tuple(output[0]), output[1]) if len(output) == 2 and isinstance(output[1], str) else (tuple(output), "float32")
        for output in outputs
    )
    what = target, arguments, with_dtypes, aliases or {}, attributes or {}
    if ON_JAX:  # which knows all sizes
        return call_jax(*what)
    if ON_TORCH:  # likewise
        return calls_torch.call(*what)
    return calls_tensorflow.call(*what, sized_by)


def call_jax(
    target: str, arguments: Tensors, outputs: Outputs, aliases: Aliases, attributes: Attributes
) -> list[Tensor]:
    """Calls a handler on JAX arrays: eagerly, or as part of a program that `jax.jit` compiles."""
    results = [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in outputs]
    # Under `jax.vmap` the calls run one after the other, each with all threads.
    function = jax.ffi.ffi_call(target, results, input_output_aliases=aliases, vmap_method="sequential")
    return function(*arguments, **attributes)
