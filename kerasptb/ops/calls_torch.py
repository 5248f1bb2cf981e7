"""Calls a handler of the native library on PyTorch tensors on a processor, in place, by the library's C interface.

A call costs some 15 µs more than the kernel.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch

from kerasptb.native import call as native
from kerasptb.ops.types import Aliases, Attributes, Outputs, Tensors
from kerasptb.utils.types import Tensor

_NAMES = {getattr(torch, name): name for name in ("float32", "int32", "bfloat16", "int16")}


class _Call(torch.autograd.Function):
    """A call through which a gradient may be asked for: only that of a gradient, since it has one of its own."""

    @staticmethod
    def forward(_: Any, run: Callable[..., list[Tensor]], *arguments: Tensor) -> tuple[Tensor, ...]:
        return tuple(run(arguments))

    @staticmethod
    def backward(_: Any, *upstream: Tensor) -> None:
        raise NotImplementedError(
            "The native backend has no gradients of its gradients. Received: a second derivative of a native "
            'operation. Use backend="keras" for it.'
        )


def call(target: str, arguments: Tensors, outputs: Outputs, aliases: Aliases, attributes: Attributes) -> list[Tensor]:
    """See `calls.call`; each output is a (shape, dtype) pair."""
    if any(argument.is_meta for argument in arguments):  # Keras asks for shapes
        return _empty(outputs, "meta")
    if other := next((argument.device for argument in arguments if argument.device.type != "cpu"), None):
        raise ValueError(f"With Keras on PyTorch native operations run on a processor. Received: tensors on {other}")
    run = functools.partial(_run, target, outputs, aliases, tuple(attributes.items()))
    if torch.is_grad_enabled() and any(argument.requires_grad for argument in arguments):
        return list(_Call.apply(run, *arguments))
    return run(arguments)


def _run(
    target: str, outputs: Outputs, aliases: Aliases, attributes: tuple[tuple[str, bool], ...], arguments: Tensors
) -> list[Tensor]:
    arguments = [argument.contiguous() for argument in arguments]
    results = _empty(outputs, "cpu")
    for argument, output in aliases.items():
        results[output] = arguments[argument]
        torch.autograd.graph.increment_version(arguments[argument])
    kinds = tuple([(_NAMES[argument.dtype], argument.shape) for argument in arguments])
    addresses = [array.data_ptr() for array in (*arguments, *results)]
    native.run(target, kinds, tuple([(dtype, tuple(shape)) for shape, dtype in outputs]), addresses, attributes)
    return results


def _empty(outputs: Outputs, device: str) -> list[Tensor]:
    return [torch.empty(shape, dtype=getattr(torch, dtype), device=device) for shape, dtype in outputs]
