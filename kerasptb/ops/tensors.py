"""Helpers of the operations: tensors, products, custom gradients, and the state of tracing."""

import contextlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, ParamSpec, TypeVar

import keras
import numpy as np
from keras import ops

from kerasptb.compat.keras import in_symbolic_scope
from kerasptb.ops.backend import ON_JAX, ON_TENSORFLOW, ON_TORCH, jax, tf, torch
from kerasptb.ops.sharding import Passes, Rows, divided
from kerasptb.ops.types import Shape
from kerasptb.utils.types import Tensor

if ON_TENSORFLOW:
    from kerasptb.compat import tensorflow as tf_private
if ON_TORCH:
    from kerasptb.ops import tensors_torch

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


def do_not_convert(function: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
    """Returns a function that AutoGraph does not convert at every trace, nor what it calls: it would warn of some."""
    return tf.autograph.experimental.do_not_convert(function) if ON_TENSORFLOW else function


def as_tensor(x: Any) -> Tensor:
    """Returns a tensor; a variable is read now."""
    # Keras' own conversion leaves a TensorFlow variable as it is. A custom gradient would then read it only when the
    # gradient is computed. By then a layer may have assigned a new state, or an optimizer have updated the weights.
    if ON_TENSORFLOW:
        return tf.convert_to_tensor(x)
    value = getattr(x, "value", x)
    if ON_TORCH and value is not x and not x.trainable:
        # PyTorch's is the variable itself. If weights change before the gradient is computed, PyTorch raises.
        return ops.copy(value)
    return ops.convert_to_tensor(value)


def check_shape(name: str, tensor: Tensor, expected: Mapping[str, Shape]) -> None:
    """Raises a ValueError unless a tensor has one of the shapes, which are by their letters; sizes may be unknown."""
    found = tuple(tensor.shape)
    if not any(_fits(found, shape) for shape in expected.values()):
        wanted = " or ".join(f"{letters}, here {shape}" for letters, shape in expected.items())
        raise ValueError(f"`{name}` must be {wanted}. Received: {name} of shape {found}")


def _fits(found: Shape, wanted: Shape) -> bool:
    return len(found) == len(wanted) and all(a == b for a, b in zip(found, wanted, strict=True) if None not in (a, b))


def check_one_dtype(tensors: Mapping[str, Tensor]) -> None:
    """Raises a ValueError unless all tensors, which are by their names, have one dtype."""
    dtypes = {name: keras.backend.standardize_dtype(tensor.dtype) for name, tensor in tensors.items()}
    if len(set(dtypes.values())) > 1:
        raise ValueError(f"All tensors must have one dtype. Received: {dtypes}")


def word_ids(x: Tensor, name: str) -> Tensor:
    """Returns ids of words as integers; numbers of a float type must be whole. `name` is theirs in messages.

    Raises for a type of 16 bits, which has not every id, and for a number that is not whole. XLA cannot: that is -1.
    """
    dtype = keras.backend.standardize_dtype(x.dtype)
    if "int" in dtype:
        return x
    if dtype in ("float16", "bfloat16"):
        raise ValueError(
            f"Expected {name} of an integer type, such as keras.Input(..., dtype='int32') declares: a {dtype} has not "
            f"every id. Received: {name} of dtype {dtype}, to which a mixed policy casts float inputs"
        )
    ids = ops.cast(x, "int32")
    whole = raise_unless(ops.equal(ops.cast(ids, dtype), x), f"Expected {name} that are whole numbers. Received: ", x)
    return ops.where(whole, ids, -1)


def raise_unless(condition: Tensor, expected: str, x: Tensor) -> Tensor:
    """Raises if a bool tensor is false anywhere; not under XLA, nor while JAX traces. A graph waits for the result.

    The message is `expected` and the first wrong element of x, a tensor of the condition's shape.
    """
    if ON_TENSORFLOW and not tf.executing_eagerly():
        if compiled_by_xla():  # it would leave the check out, and say so
            return condition
        wrong = tf.boolean_mask(x, tf.logical_not(condition))
        with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(condition), [expected, wrong], summarize=1)]):
            return tf.identity(condition)
    try:
        holds = np.asarray(condition)
    except TypeError:  # a value that JAX is tracing: jax.errors.TracerArrayConversionError
        return condition
    if not holds.all():
        raise ValueError(f"{expected}{np.asarray(x)[~holds][0]}")
    return condition


def after(*inputs: Tensor) -> AbstractContextManager:
    """Returns a context whose operations wait for these tensors, even if they do not read them."""
    if not ON_TENSORFLOW:
        return contextlib.nullcontext()
    # Keras' loop over a dataset of unknown length ends with a step that gets no data. In a graph, operations of that
    # step that do not depend on the data would still run, such as counting a batch of a static size.
    return tf.control_dependencies([x for x in inputs if isinstance(x, tf.Tensor)])


def matmul(a: Tensor, b: Tensor, transpose_a: bool = False, transpose_b: bool = False) -> Tensor:
    """Returns the product of two matrices, each transposed if asked for."""
    if ON_TENSORFLOW:
        # ops.transpose would copy in eager execution.
        return tf.matmul(a, b, transpose_a=transpose_a, transpose_b=transpose_b)
    return ops.matmul(ops.transpose(a) if transpose_a else a, ops.transpose(b) if transpose_b else b)


def matmul_bfloat16(a: Tensor, b: Tensor, transpose_a: bool = False, transpose_b: bool = False) -> Tensor:
    """Returns the product of two float32 matrices, rounded to bfloat16 first; sums and result are float32."""
    # XLA has such a product, and on a GPU may drop a cast to bfloat16 and back. TensorFlow's own product of bfloat16
    # has bfloat16 results, which would round the sums, so there the rounded operands are multiplied as float32. A GPU
    # may use TF32 for this without loss, since TF32 represents every bfloat16 number.
    a, b = (ops.cast(x, "bfloat16") for x in (a, b))
    contracted = ([0 if transpose_a else 1], [1 if transpose_b else 0])
    if ON_JAX:
        return jax.lax.dot_general(a, b, (contracted, ([], [])), preferred_element_type="float32")
    if compiled_by_xla():
        dimensions = tf_private.dot_dimensions(
            lhs_contracting_dimensions=contracted[0], rhs_contracting_dimensions=contracted[1]
        )
        return tf_private.dot_general(a, b, dimensions, preferred_element_type="float32")
    return matmul(ops.cast(a, "float32"), ops.cast(b, "float32"), transpose_a, transpose_b)


def differentiable(
    inference: Callable[..., Any],
    forward: Callable[..., tuple[Any, Any]],
    backward: Callable[..., Any],
    rows: Rows | None = None,
) -> Callable[..., Any]:
    """Returns a function of tensors with a custom gradient, that can be differentiated once.

    `inference(*arguments)` returns the outputs, where no gradient can be asked for; `forward` the outputs and what the
    gradient needs; `backward(saved, upstream)` a gradient for each argument, or None. Replicas may divide `rows`.
    """
    passes = Passes(inference, forward, backward)
    if ON_JAX:
        return _differentiable_by_jax(passes, rows)
    return tensors_torch.differentiable(passes) if ON_TORCH else _differentiable_by_tensorflow(passes)


def _differentiable_by_tensorflow(passes: Passes) -> Callable[..., Any]:
    inference, forward, backward = passes

    @tf.custom_gradient
    def run(*arguments: Tensor) -> tuple[Any, Callable[..., Any]]:
        # Saving tensors costs time, so nothing is saved where no gradient can be expected. If a gradient is needed
        # anyway, the forward pass runs again. Inside a `tf.function` a tape outside of it is not seen.
        save = tf_private.could_possibly_record()
        outputs, saved = forward(*arguments) if save else (inference(*arguments), None)

        def gradient(*upstream: Tensor) -> Any:
            return backward(saved if save else forward(*arguments)[1], upstream)

        return outputs, gradient

    def run_and_keep(*arguments: Tensor) -> Any:
        outputs = run(*arguments)
        first = outputs[0] if isinstance(outputs, tuple) else outputs
        if tf.is_symbolic_tensor(first):
            tf_private.keep_gradient_with_graph(first.op)
        return outputs

    return run_and_keep


def _differentiable_by_jax(passes: Passes, rows: Rows | None) -> Callable[..., Any]:
    def run(*arguments: Tensor) -> Any:
        inference, forward, backward = divided(passes, rows, arguments)

        def backward_of_outputs(saved: Any, upstream: Any) -> tuple[Tensor | None, ...]:
            return tuple(backward(saved, upstream if isinstance(upstream, tuple) else (upstream,)))

        function = jax.custom_vjp(inference)
        function.defvjp(forward, backward_of_outputs)
        return function(*arguments)

    return run


def without_gradients() -> AbstractContextManager:
    """Returns a context through which no gradient flows, and in which nothing is kept for one; not with JAX."""
    if ON_TORCH:
        return torch.no_grad()
    return tf_private.stop_recording() if ON_TENSORFLOW else contextlib.nullcontext()


def is_traced(x: Tensor) -> bool:
    """Returns whether a tensor stands for those of a program that is being traced, for more than its shape."""
    if in_symbolic_scope():
        return False
    if ON_TENSORFLOW:
        return tf.is_symbolic_tensor(x)
    return ON_JAX and isinstance(x, jax.core.Tracer)


def compiled_by_xla() -> bool:
    """Returns whether TensorFlow is tracing a function with `jit_compile=True`, or a part of one."""
    if not ON_TENSORFLOW or tf.executing_eagerly():
        return False
    return tf_private.in_xla_context(tf.compat.v1.get_default_graph())
