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
from typing import Literal

import keras
import numpy as np
from keras import ops

from kerasptb.ops import platform as platforms
from kerasptb.ops.plan import choose, warn_if_slower
from kerasptb.ops.sharding import Rows
from kerasptb.ops.tensors import (
    after,
    as_tensor,
    differentiable,
    do_not_convert,
    matmul,
    matmul_bfloat16,
    raise_unless,
)
from kerasptb.utils.types import Backend, Precision, Tensor

_ON_TENSORFLOW = keras.backend.backend() == "tensorflow"
if _ON_TENSORFLOW:
    import tensorflow as tf

# Measured at N = 1,200, D = 128 and V = 10,000 on chunks of 4 to 48 MB of logits: 6 to 16 MB are the fastest. Each
# chunk adds its share to dW in a pass over D x V floats; smaller chunks need more passes. Larger chunks leave the cache
# between product and softmax. To limit the passes, a chunk has at least 64 rows, and at least D (D rows are as large as
# dW).
_CHUNK_BYTES = 8 * 2**20
_MIN_CHUNK_ROWS = 64
# Features up to which the fused kernel is faster in float32 than the framework's products around the softmax. The
# framework's products run nearer to the processor's limit, and the passes over the logits that fusing saves matter less
# as the products grow. Measured with AVX-512 at N = 60 to 1,200: equal (within 10 %) at D = 550 to 800; at 1,500 the
# fused kernel is 6 to 14 % slower. For few words (`few_words_limit`) it is another kernel, and faster at any D.
_MAX_FUSED_FEATURES = 650
# On a GPU, chunks that fit in a cache have no benefit, and each costs a round of launches from the host. There chunks
# only limit the memory, and a training step of common size is one chunk.
_GPU_CHUNK_BYTES = 256 * 2**20


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
    if reduction not in ("none", "sum"):
        raise ValueError(f'`reduction` must be "none" or "sum". Received: reduction={reduction!r}')
    if not isinstance(scale, numbers.Real):
        raise ValueError(f"`scale` must be a number, through which no gradient goes. Received: scale={scale!r}")
    h, kernel, bias, targets = (as_tensor(x) for x in (h, kernel, bias, targets))
    weights = None if weights is None else as_tensor(weights)
    _check_arguments(h, kernel, bias, targets, weights, transpose_kernel)
    dtype = keras.backend.standardize_dtype(h.dtype)
    planned = plan(tuple(h.shape), bias.shape[0], dtype, backend=backend, precision=precision)
    warn_if_slower(planned, backend)
    loss, losses = run(planned, h, kernel, bias, targets, reduction, scale, bool(transpose_kernel), weights)
    return (loss, losses) if return_losses else loss


def plan(shape, vocabulary_size, dtype="float32", *, backend="auto", precision="float32", platform=None):
    """Returns the `Plan` of a call of `linear_cross_entropy`; raises as that does if a named backend cannot serve it.

    "native" is one kernel for products and softmax; with "native_softmax" the framework computes the products.

    Args:
        shape: [..., D] of h, with None for sizes that are not known.
        vocabulary_size: V.
        dtype: name of the dtype of h.
        backend: as in `linear_cross_entropy`.
        precision: of the products, as there; or a dtype policy, as in `choose`.
        platform: a `Platform`; `None` for this process's.
    """
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


def run(plan, h, kernel, bias, targets, reduction="none", scale=1.0, transpose_kernel=False, weights=None):
    """Computes a cross-entropy as planned, of tensors as `linear_cross_entropy` takes them.

    Returns:
        The loss, and the losses of the words without weights and scale, through which no gradient goes.
    """
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
        losses = _nan_where_invalid(implementation.loss_per_word(h, kernel, bias, targets), valid)
        loss = ops.reshape(losses * scale, lead)
    return loss, ops.reshape(ops.stop_gradient(losses), lead)


class _Reference:
    """Plain operations, differentiated by the framework: the specification of every other implementation."""

    def __init__(self, plan, transpose_kernel):
        self.transpose_kernel = transpose_kernel

    def loss_per_word(self, h, kernel, bias, targets):
        logits = ops.matmul(h, ops.transpose(kernel) if self.transpose_kernel else kernel) + bias
        target_logit = ops.take_along_axis(logits, targets[:, None], axis=-1)[:, 0]
        return ops.logsumexp(logits, axis=-1) - target_logit

    def loss_sum(self, h, kernel, bias, targets, valid, scale):
        losses = _nan_where_invalid(self.loss_per_word(h, kernel, bias, targets), valid)
        return ops.sum(losses * scale), losses


class _WithGradient:
    """An implementation with its own gradients, based on two methods of its subclasses.

    `_loss(h, kernel, bias, targets)`, the forward pass, returns the loss [N]. `_loss_and_gradients(h, kernel, bias,
    targets, weights)`, both passes, also returns the gradients of `sum(weights * loss)`: dh [N, D], dW of the kernel's
    shape, and db [V].
    """

    def loss_per_word(self, h, kernel, bias, targets):
        def forward(*arguments):
            return self._loss(*arguments), arguments

        def backward(arguments, upstream):
            return *self._loss_and_gradients(*arguments, upstream[0])[1:], None

        rows = Rows((0, None, None, 0), (0,))
        return differentiable(self._loss, forward, backward, rows)(h, kernel, bias, targets)

    def loss_sum(self, h, kernel, bias, targets, valid, scale):
        # Scale and NaN are applied in here. Outside, they would make the upstream gradient unknown at tracing time, and
        # so cost a pass over dW.
        def total(losses, valid, scale):
            return ops.sum(_nan_where_invalid(losses, valid) * scale), _nan_where_invalid(losses, valid)

        def inference(h, kernel, bias, targets, valid, scale):
            return total(self._loss(h, kernel, bias, targets), valid, scale)

        def forward(h, kernel, bias, targets, valid, scale):
            weights = ops.where(valid, scale, 0.0)
            losses, *gradients = self._loss_and_gradients(h, kernel, bias, targets, weights)
            return total(losses, valid, scale), gradients

        def backward(gradients, upstream):
            return *_times_upstream(gradients, upstream[0]), None, None, None

        rows = Rows((0, None, None, 0, 0, 0 if len(scale.shape) else None), (None, 0))
        return differentiable(inference, forward, backward, rows)(h, kernel, bias, targets, valid, scale)


class _Chunked(_WithGradient):
    """Processes one chunk of rows at a time; subclasses compute the loss and the gradients of a chunk.

    Args:
        plan: the `Plan`, whose precision is that of the products.
        transpose_kernel: whether the kernel is [V, D] instead of [D, V].
    """

    def __init__(self, plan, transpose_kernel):
        self.transpose_kernel = transpose_kernel
        self.product = matmul if plan.precision == "float32" else matmul_bfloat16
        self.chunk_bytes = _GPU_CHUNK_BYTES if plan.platform == "gpu" else _CHUNK_BYTES

    def _logits(self, h, kernel):
        return self.product(h, kernel, transpose_b=self.transpose_kernel)

    def _products(self, h, kernel, d_logits):
        """Returns dz W^T and h^T dz."""
        dh = self.product(d_logits, kernel, transpose_b=not self.transpose_kernel)
        factors = (d_logits, h) if self.transpose_kernel else (h, d_logits)
        # Each product keeps all cores busy. TensorFlow would run both at once, which takes up to a sixth longer.
        with after(dh):
            return dh, self.product(*factors, transpose_a=True)

    def _loss(self, h, kernel, bias, targets):
        num_words, num_chunks, rows = _chunking(h, bias, self.chunk_bytes)
        if _is_one(num_chunks):
            return self._chunk_loss(h, kernel, bias, targets)
        h, targets = (_pad_rows(x, num_chunks * rows) for x in (h, targets))

        def step(chunk, loss):
            chunk_loss = self._chunk_loss(_rows_of(h, chunk, rows), kernel, bias, _rows_of(targets, chunk, rows))
            return (ops.slice_update(loss, (chunk * rows,), chunk_loss),)

        (loss,) = _for_each_chunk(num_chunks, step, [ops.zeros_like(h[:, 0])])
        return loss[:num_words]

    def _loss_and_gradients(self, h, kernel, bias, targets, weights):
        num_words, num_chunks, rows = _chunking(h, bias, self.chunk_bytes)
        if _is_one(num_chunks):
            return self._chunk_loss_and_gradients(h, kernel, bias, targets, weights)
        # Padding has weight 0, so it does not change the gradients.
        h, targets, weights = (_pad_rows(x, num_chunks * rows) for x in (h, targets, weights))

        def step(chunk, loss, dh, d_kernel, d_bias):
            chunk_h, chunk_targets, chunk_weights = (_rows_of(x, chunk, rows) for x in (h, targets, weights))
            chunk_loss, chunk_dh, chunk_d_kernel, chunk_d_bias = self._chunk_loss_and_gradients(
                chunk_h, kernel, bias, chunk_targets, chunk_weights
            )
            return (
                ops.slice_update(loss, (chunk * rows,), chunk_loss),
                ops.slice_update(dh, _start(chunk * rows, 2), chunk_dh),
                d_kernel + chunk_d_kernel,
                d_bias + chunk_d_bias,
            )

        start = [ops.zeros_like(x) for x in (weights, h, kernel, bias)]
        loss, dh, d_kernel, d_bias = _for_each_chunk(num_chunks, step, start)
        return loss[:num_words], dh[:num_words], d_kernel, d_bias


class _Keras(_Chunked):
    """The framework's matrix products and softmax."""

    def _chunk_loss(self, h, kernel, bias, targets):
        logits = _add_bias(self._logits(h, kernel), bias)
        target_logit = ops.take_along_axis(logits, targets[:, None], axis=-1)[:, 0]
        return ops.logsumexp(logits, axis=-1) - target_logit

    def _chunk_loss_and_gradients(self, h, kernel, bias, targets, weights):
        logits = _add_bias(self._logits(h, kernel), bias)
        target_logit = ops.take_along_axis(logits, targets[:, None], axis=-1)[:, 0]
        # Keras' softmax warns about a vocabulary of one word, which is valid here.
        probabilities = tf.nn.softmax(logits) if _ON_TENSORFLOW else ops.softmax(logits, axis=-1)
        # The largest probability is 1 / sum(exp(z - max z)), so the log-sum-exp costs no second exponential.
        log_sum_exp = ops.max(logits, axis=-1) - ops.log(ops.max(probabilities, axis=-1))
        target_index = ops.stack([ops.arange(ops.shape(targets)[0], dtype="int32"), targets], axis=-1)
        target_probability = ops.take_along_axis(probabilities, targets[:, None], axis=-1)[:, 0]
        residual = ops.scatter_update(probabilities, target_index, target_probability - 1.0)
        # dz = weights * residual, but the weights go into the smaller factors.
        dh, d_kernel = self._products(h * weights[:, None], kernel, residual)
        d_bias = ops.matmul(weights[None, :], residual)[0]
        return log_sum_exp - target_logit, dh * weights[:, None], d_kernel, d_bias


class _NativeSoftmax(_Chunked):
    """The framework's matrix products, and a native kernel that reads each logit once between them."""

    def _chunk_loss(self, h, kernel, bias, targets):
        logits = self._logits(h, kernel)
        return _native_call("softmax_cross_entropy_loss_float32", [logits, bias, targets], [targets.shape])[0]

    def _chunk_loss_and_gradients(self, h, kernel, bias, targets, weights):
        logits = self._logits(h, kernel)
        loss, d_logits, d_bias = _native_call(
            "softmax_cross_entropy_loss_and_gradients_float32",
            [logits, bias, targets, weights],
            [targets.shape, logits.shape, bias.shape],
            aliases={0: 1},  # the gradient of the logits may take their memory
        )
        return loss, *self._products(h, kernel, d_logits), d_bias


class _NativeFused(_WithGradient):
    """Products and softmax in one native kernel, for processors."""

    def __init__(self, plan, transpose_kernel):
        self.attributes = {"transpose_kernel": transpose_kernel}
        self.precision = plan.precision
        self.without_elements = _Keras(plan._replace(precision="float32"), transpose_kernel)

    def _loss(self, h, kernel, bias, targets):
        if 0 in (*h.shape, *kernel.shape):
            return self.without_elements._loss(h, kernel, bias, targets)
        target = f"linear_cross_entropy_loss_{self.precision}"
        return _native_call(target, [h, kernel, bias, targets], [targets.shape], attributes=self.attributes)[0]

    def _loss_and_gradients(self, h, kernel, bias, targets, weights):
        if 0 in (*h.shape, *kernel.shape):
            return self.without_elements._loss_and_gradients(h, kernel, bias, targets, weights)
        return _native_call(
            f"linear_cross_entropy_loss_and_gradients_{self.precision}",
            [h, kernel, bias, targets, weights],
            [targets.shape, h.shape, kernel.shape, bias.shape],
            attributes=self.attributes,
        )


_IMPLEMENTATIONS = {
    "reference": _Reference,
    # Of a function of one's own, such as a loop over chunks, Keras on PyTorch differentiates one result alone.
    "keras": _Keras if keras.backend.backend() in ("tensorflow", "jax") else _Reference,
    "native": _NativeFused,
    "native_softmax": _NativeSoftmax,
}


def _native_call(target, arguments, shapes, **options):
    from kerasptb.ops.native import calls  # noqa: PLC0415  (imports private parts of TensorFlow: only when used)

    shapes = [calls.open_shape(shape) for shape in shapes]
    return calls.call(f"kerasptb_{target}", arguments, shapes, sized_by=0, **options)


def _chunking(h, bias, chunk_bytes):
    """Returns N, the number of chunks, and the rows of each chunk; all ints if N is static."""
    features, vocabulary_size = h.shape[1], bias.shape[0]
    max_rows = max(chunk_bytes // (4 * vocabulary_size), features, _MIN_CHUNK_ROWS)
    num_words = ops.shape(h)[0]
    maximum = max if isinstance(num_words, int) else ops.maximum
    num_chunks = -(-num_words // max_rows)
    return num_words, num_chunks, -(-num_words // maximum(num_chunks, 1))


def _is_one(num_chunks):
    return isinstance(num_chunks, int) and num_chunks == 1


def _pad_rows(x, num_rows):
    return ops.pad(x, [(0, num_rows - ops.shape(x)[0])] + [(0, 0)] * (len(x.shape) - 1))


def _rows_of(x, chunk, rows):
    return ops.slice(x, _start(chunk * rows, len(x.shape)), (rows, *x.shape[1:]))


def _start(row, rank):
    """Indices of a row's first element, all of one type: with 64 bits enabled, JAX gives Python's 0 another type."""
    return (row, *[ops.zeros_like(row)] * (rank - 1)) if ops.is_tensor(row) else (row,) + (0,) * (rank - 1)


def _for_each_chunk(num_chunks, step, loop_vars):
    """Runs `step(chunk, *loop_vars) -> loop_vars` for each chunk, strictly one after the other."""

    def condition(chunk, *_):
        return chunk < num_chunks

    def body(chunk, *loop_vars):
        return (chunk + 1, *step(chunk, *loop_vars))

    loop_vars = (ops.convert_to_tensor(0, "int32"), *loop_vars)
    if _ON_TENSORFLOW:
        # Parallel iterations would keep more than one chunk of logits in memory.
        return tf.while_loop(condition, body, loop_vars, parallel_iterations=1)[1:]
    return ops.while_loop(condition, body, loop_vars)[1:]


def _add_bias(logits, bias):
    # TensorFlow fuses bias_add with the product before it.
    return tf.nn.bias_add(logits, bias) if _ON_TENSORFLOW else logits + bias


def _times_upstream(gradients, upstream):
    """The gradients times a scalar, without a pass over them if the scalar is known to be 1."""
    if _ON_TENSORFLOW and tf.get_static_value(upstream) == 1.0:
        return gradients
    return [upstream * gradient for gradient in gradients]


def _check_arguments(h, kernel, bias, targets, weights, transpose_kernel):
    axis = 1 if transpose_kernel else 0  # of D
    if len(h.shape) < 1 or len(kernel.shape) != 2 or kernel.shape[axis] != h.shape[-1]:
        raise ValueError(
            f"`h` must be [..., D] and `kernel` {'[V, D]' if transpose_kernel else '[D, V]'}. "
            f"Received: h of shape {tuple(h.shape)}, kernel of shape {tuple(kernel.shape)}"
        )
    vocabulary_size = kernel.shape[1 - axis]
    if tuple(bias.shape) != (vocabulary_size,):
        raise ValueError(f"`bias` must be [V], here [{vocabulary_size}]. Received: bias of shape {tuple(bias.shape)}")
    for name, x in {"targets": targets, **({} if weights is None else {"weights": weights})}.items():
        if len(x.shape) != len(h.shape) - 1 or any(
            a != b for a, b in zip(x.shape, h.shape[:-1], strict=True) if a is not None and b is not None
        ):
            raise ValueError(
                f"`{name}` must have h's shape without its last axis. "
                f"Received: {name} of shape {tuple(x.shape)}, h of shape {tuple(h.shape)}"
            )
    if "int" not in keras.backend.standardize_dtype(targets.dtype):
        raise ValueError(f"`targets` must be integers. Received: targets of dtype {targets.dtype}")
    dtypes = [keras.backend.standardize_dtype(x.dtype) for x in (h, kernel, bias)]
    if len(set(dtypes)) > 1:
        raise ValueError(f"`h`, `kernel` and `bias` must have one dtype. Received: dtypes {', '.join(dtypes)}")


def _checked_targets(targets, vocabulary_size):
    """Raises for targets outside `[0, V)`; returns which are valid, and int32 targets with 0 for invalid ones.

    Only under XLA, which cannot raise, are there invalid ones.
    """
    if keras.backend.standardize_dtype(targets.dtype) in ("int8", "uint8", "int16", "uint16"):
        targets = ops.cast(targets, "int32")  # V may not fit in the narrower type
    valid = ops.logical_and(targets >= 0, targets < vocabulary_size)
    expected = f"`targets` must be in [0, {vocabulary_size}). Received: targets containing "
    valid = raise_unless(valid, expected, targets)
    return valid, ops.where(valid, ops.cast(targets, "int32"), 0)


def _nan_where_invalid(loss, valid):
    """The loss where `valid`, else NaN, through which no gradient flows.

    The NaN is computed, not a constant. Tools that search for NaN (`tf.debugging.enable_check_numerics`,
    `jax_debug_nans`) would report a constant NaN even if all targets are valid.
    """
    mark = ops.sqrt(ops.cast(valid, loss.dtype) - 1.0)  # 0 or NaN
    return ops.where(valid, loss, 0.0) + ops.stop_gradient(mark)
