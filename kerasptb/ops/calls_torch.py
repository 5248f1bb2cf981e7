"""Calls a handler of the native library on PyTorch tensors on a processor, in place, by the library's C interface.

A call costs some 15 µs more than the kernel.
"""

import ctypes
import functools

import torch

from kerasptb.native import loader

_TYPES = {torch.float32: 11, torch.int32: 4, torch.bfloat16: 16, torch.int16: 3}  # as XLA numbers them


class _Call(torch.autograd.Function):
    """A call through which a gradient may be asked for: only that of a gradient, since it has one of its own."""

    @staticmethod
    def forward(_, run, *arguments):
        return tuple(run(arguments))

    @staticmethod
    def backward(_, *upstream):
        raise NotImplementedError(
            "The native backend has no gradients of its gradients. Received: a second derivative of a native "
            'operation. Use backend="keras" for it.'
        )


def call(target, arguments, outputs, aliases, attributes):
    """See `calls.call`; each output is a (shape, dtype) pair."""
    outputs = tuple((shape, getattr(torch, dtype)) for shape, dtype in outputs)
    if any(argument.is_meta for argument in arguments):  # Keras asks for shapes
        return [torch.empty(shape, dtype=dtype, device="meta") for shape, dtype in outputs]
    if other := next((argument.device for argument in arguments if argument.device.type != "cpu"), None):
        raise ValueError(f"With Keras on PyTorch native operations run on a processor. Received: tensors on {other}")
    run = functools.partial(_run, target, outputs, aliases, tuple(attributes.items()))
    if torch.is_grad_enabled() and any(argument.requires_grad for argument in arguments):
        return list(_Call.apply(run, *arguments))
    return run(arguments)


def _run(target, outputs, aliases, attributes, arguments):
    arguments = [argument.contiguous() for argument in arguments]
    results = [torch.empty(shape, dtype=dtype) for shape, dtype in outputs]
    for argument, output in aliases.items():
        results[output] = arguments[argument]
        torch.autograd.graph.increment_version(arguments[argument])
    kinds = tuple([(argument.shape, argument.dtype) for argument in arguments])
    addresses = [array.data_ptr() for array in (*arguments, *results)]
    problem = loader.plain_call()(
        loader.handlers()[target],
        _description(kinds, outputs, len(attributes)),
        (ctypes.c_void_p * len(addresses))(*addresses),
        *_attributes(attributes),
    )
    if problem is not None:
        raise ValueError(problem.decode())
    return results


@functools.lru_cache(maxsize=1024)
def _description(arguments, results, num_attributes):
    """The counts, types and shapes of a call, as `src/ffi/plain.cc` reads them."""
    numbers = [len(arguments), len(results), num_attributes]
    for shape, dtype in (*arguments, *results):
        numbers += [_TYPES[dtype], len(shape), *shape]
    return (ctypes.c_int64 * len(numbers))(*numbers)


@functools.lru_cache(maxsize=64)
def _attributes(attributes):
    names, values = zip(*attributes, strict=True) if attributes else ((), ())
    count = len(attributes)
    return (ctypes.c_char_p * count)(*(name.encode() for name in names)), (ctypes.c_bool * count)(*values)
