"""Cross-entropy of a linear layer's softmax, without keeping its logits.

Shape letters: `N` words (all leading dimensions flattened), `R` words of one chunk, `D` features in,
`V` vocabulary.

With z = h W + b and p = softmax(z), for a word with target y and upstream gradient g:

    loss = logsumexp(z) - z_y        dz = g (p - onehot(y))
    dh = dz W^T        dW = h^T dz        db = sum over words of dz

At a language model's sizes z is by far the largest tensor of a training step, and gradients need p again. So the work
is done in chunks of R words: the logits of a chunk are computed, read and dropped before those of the next chunk.
"""

import numbers
from collections.abc import Callable
from typing import Literal

import keras
import numpy as np
from keras import ops

from kerasptb.ops import platform as platforms
from kerasptb.ops.backend import ON_JAX, ON_TENSORFLOW, ON_TORCH
from kerasptb.ops.chunked_cross_entropy import (
    KerasOperations,
    NativeKernel,
    NativeSoftmax,
    WithGradient,
    nan_where_invalid,
)
from kerasptb.ops.plan import Plan, choose, warn_if_slower
from kerasptb.ops.tensors import as_tensor, check_one_dtype, check_shape, do_not_convert, raise_unless
from kerasptb.ops.types import Shape
from kerasptb.utils.types import Backend, Precision, Tensor

# Features up to which the fused kernel is faster in float32 than the framework's products around the softmax. The
# framework's products run nearer to the processor's limit, and the passes over the logits that fusing saves matter less
# as the products grow. Measured with AVX-512 at N = 60 to 1,200: equal (within 10 %) at D = 550 to 800; at 1,500 the
# fused kernel is 6 to 14 % slower. For few words (`few_words_limit`) it is another kernel, and faster at any D.
_MAX_FUSED_FEATURES = 650


@do_not_convert
def linear_cross_entropy(
    h: Tensor,
    kernel: Tensor,
    bias: Tensor,
    targets: Tensor,
    reduction: Literal["none", "sum"] = "none",
    *,
    backend: Backend = "auto",
    precision: Precision | keras.DTypePolicy = "float32",
    scale: float = 1.0,
    transpose_kernel: bool = False,
    weights: Tensor | None = None,
    return_losses: bool = False,
) -> Tensor:
    """Returns the cross-entropy in nats of `softmax(h @ kernel + bias)` against integer targets.

    Only one chunk of the logits exists at any time. The result can be differentiated once, in `h`, `kernel` and `bias`.

    Args:
        h: float32 `[..., D]`, any leading shape. Other backends than "native" take any float type.
        kernel: `[D, V]`, or `[V, D]` with `transpose_kernel`, of the type of `h`.
        bias: `[V]`, of the type of `h`.
        targets: int `[...]`, each in `[0, V)`.
        reduction: `"none"` for the loss of each word, or `"sum"` for their sum. The sum is the training path:
            under a gradient tape the gradients are computed together with the loss, so the logits are computed once.
        backend: `"reference"` (plain operations, the specification), `"keras"` (chunked, Keras operations),
            `"native"` (C++ and CUDA kernels, for float32 and static shapes) or `"auto"`: native where it can be
            used, else Keras.
        precision: precision of the matrix products: `"float32"`, or with the native kernels `"bfloat16"` or, on
            processors, `"bfloat16x3"` (two bfloat16 for each operand, three products). Inputs, sums, softmax and
            results are always float32; the gradient of the bias is a sum of terms that were rounded as operands. On a
            processor the products of few words (N of at most 6 to 39, by processor and precision) are float32 too,
            which takes no longer. Or a dtype policy: `"bfloat16"` for `mixed_bfloat16` where it can be used.
        scale: factor of the loss, `1 / batch_size` for example. A factor given here saves a pass over the gradients
            that a multiplication afterwards would need.
        transpose_kernel: whether the kernel is `[V, D]`, as is an embedding matrix tied to the logits. The kernel is
            read, and its gradient computed, in this layout, without a transposed copy.
        weights: factors of the words' losses, `[...]`, through which no gradient goes; `None` for 1.
        return_losses: whether to return the losses of the words too, without weights and scale. They cost nothing, and
            no gradient goes through them.

    Returns:
        The loss: `[...]` with `reduction="none"`, a scalar with `"sum"`. With `return_losses` a pair of it and the
        losses of the words, `[...]`.

    Raises:
        ValueError: for shapes, types or names that do not fit, and for targets outside `[0, V)`.
        NativeUnavailableError: if the native backend or a bfloat16 precision was named and is not available.
        tf.errors.InvalidArgumentError: for targets outside `[0, V)` inside a `tf.function`. XLA cannot raise; under
            XLA the loss of such a word is NaN.

    Example:
        >>> h, kernel, bias = np.zeros((2, 3), "float32"), np.zeros((3, 10), "float32"), np.zeros(10, "float32")
        >>> linear_cross_entropy(h, kernel, bias, targets=[4, 7], reduction="sum")  # 2 ln 10 = 4.6052
    """
    h, kernel, bias, targets = (as_tensor(x) for x in (h, kernel, bias, targets))
    weights = None if weights is None else as_tensor(weights)
    check_arguments(h, kernel, bias, targets, reduction, scale, transpose_kernel, weights)
    dtype = keras.backend.standardize_dtype(h.dtype)
    planned = plan(tuple(h.shape), bias.shape[0], dtype, backend=backend, precision=precision)
    loss, losses = run(planned, h, kernel, bias, targets, reduction, scale, bool(transpose_kernel), weights)
    return (loss, losses) if return_losses else loss


def plan(
    shape: Shape,
    vocabulary_size: int,
    dtype: str = "float32",
    *,
    backend: Backend = "auto",
    precision: Precision | keras.DTypePolicy = "float32",
    platform: platforms.Platform | None = None,
) -> Plan:
    """Returns the `Plan` of a call, h is [..., D], with None for unknown sizes; raises if a named backend cannot."""
    platform = platform or platforms.this_process()
    is_open = shape[-1] is None or (platform.gpu and None in shape)
    limits = {
        f"The native backend takes float32. Received: dtype={dtype}.": dtype != "float32",
        f"The native backend needs static shapes. Received: h of shape {shape}.": is_open,
    }
    base = choose(backend, precision, limits=limits, platform=platform)
    if not base.is_native:
        return base
    features = shape[-1]
    many = base.precision == "float32" and features > _MAX_FUSED_FEATURES and None not in shape
    if platform.gpu:
        reason = "On a GPU the framework computes the products."
    elif many and np.prod(shape[:-1]) > platform.few_words_limit(features, vocabulary_size):
        reason = f"In float32 the framework's products are faster above {_MAX_FUSED_FEATURES} features."
        reason = f"{reason} Received: {features}."
    else:
        return base
    return base._replace(implementation="native_softmax", reason=reason)


@do_not_convert
def run(
    plan: Plan,
    h: Tensor,
    kernel: Tensor,
    bias: Tensor,
    targets: Tensor,
    reduction: Literal["none", "sum"] = "none",
    scale: float = 1.0,
    transpose_kernel: bool = False,
    weights: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Returns the loss as planned, and the losses of the words, without weights, scale and gradient."""
    warn_if_slower(plan)
    if plan.implementation == "native" and 0 in (*h.shape, *kernel.shape):
        plan = plan._replace(implementation="keras", precision="float32")  # the kernel takes no empty tensors
    implementation = _IMPLEMENTATIONS[plan.implementation](plan, transpose_kernel)
    lead = ops.shape(targets)
    h, targets = ops.reshape(h, (-1, h.shape[-1])), ops.reshape(targets, (-1,))
    valid, targets = _checked_targets(targets, bias.shape[0])
    scale = ops.cast(scale, h.dtype)
    if weights is not None:
        scale = scale * ops.stop_gradient(ops.reshape(ops.cast(weights, h.dtype), (-1,)))
    if reduction == "sum":
        loss, losses = implementation.loss_sum(h, kernel, bias, targets, valid, scale)
    else:
        losses = nan_where_invalid(implementation.loss_per_word(h, kernel, bias, targets), valid)
        loss = ops.reshape(losses * scale, lead)
    return loss, ops.reshape(ops.stop_gradient(losses), lead)


class _Reference:
    """Plain operations, differentiated by the framework: the specification of every other implementation."""

    def __init__(self, plan: Plan, transpose_kernel: bool) -> None:
        self.transpose_kernel = transpose_kernel

    def loss_per_word(self, h: Tensor, kernel: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
        logits = ops.matmul(h, ops.transpose(kernel) if self.transpose_kernel else kernel) + bias
        target_logit = ops.take_along_axis(logits, targets[:, None], axis=-1)[:, 0]
        return ops.logsumexp(logits, axis=-1) - target_logit

    def loss_sum(
        self, h: Tensor, kernel: Tensor, bias: Tensor, targets: Tensor, valid: Tensor, scale: Tensor
    ) -> tuple[Tensor, Tensor]:
        losses = nan_where_invalid(self.loss_per_word(h, kernel, bias, targets), valid)
        return ops.sum(losses * scale), losses


_IMPLEMENTATIONS: dict[str, Callable[[Plan, bool], _Reference | WithGradient]] = {
    "reference": _Reference,
    # Other backends of Keras have no gradients of one's own.
    "keras": KerasOperations if ON_TENSORFLOW or ON_JAX or ON_TORCH else _Reference,
    "native": NativeKernel,
    "native_softmax": NativeSoftmax,
}


def check_arguments(
    h: Tensor,
    kernel: Tensor,
    bias: Tensor,
    targets: Tensor,
    reduction: str,
    scale: float,
    transpose_kernel: bool,
    weights: Tensor | None,
) -> None:
    """Raises a ValueError for arguments of `linear_cross_entropy` that do not fit."""
    if reduction not in ("none", "sum"):
        raise ValueError(f'`reduction` must be "none" or "sum". Received: reduction={reduction!r}')
    if not isinstance(scale, numbers.Real):
        raise ValueError(f"`scale` must be a number, through which no gradient goes. Received: scale={scale!r}")
    axis = 1 if transpose_kernel else 0  # of D
    if len(h.shape) < 1 or len(kernel.shape) != 2 or kernel.shape[axis] != h.shape[-1]:
        raise ValueError(
            f"`h` must be [..., D] and `kernel` {'[V, D]' if transpose_kernel else '[D, V]'}. "
            f"Received: h of shape {tuple(h.shape)}, kernel of shape {tuple(kernel.shape)}"
        )
    check_shape("bias", bias, {"[V]": (kernel.shape[1 - axis],)})
    for name, x in {"targets": targets, **({} if weights is None else {"weights": weights})}.items():
        check_shape(name, x, {"of h's shape without its last axis": tuple(h.shape[:-1])})
    if "int" not in keras.backend.standardize_dtype(targets.dtype):
        raise ValueError(f"`targets` must be integers. Received: targets of dtype {targets.dtype}")
    check_one_dtype({"h": h, "kernel": kernel, "bias": bias})


def _checked_targets(targets: Tensor, vocabulary_size: int) -> tuple[Tensor, Tensor]:
    """Returns which targets are in `[0, V)`, and int32 targets with 0 for the others; raises for any, but under XLA."""
    if keras.backend.standardize_dtype(targets.dtype) in ("int8", "uint8", "int16", "uint16"):
        targets = ops.cast(targets, "int32")  # V may not fit in the narrower type
    valid = ops.logical_and(targets >= 0, targets < vocabulary_size)
    expected = f"`targets` must be in [0, {vocabulary_size}). Received: targets containing "
    valid = raise_unless(valid, expected, targets)
    return valid, ops.where(valid, ops.cast(targets, "int32"), 0)
