"""How a cross-entropy is computed with its gradients, in chunks of words; see `kerasptb.ops.linear_cross_entropy`.

Its tensors are flat here: h [N, D], targets [N].
"""

from collections.abc import Callable
from typing import Any

from keras import ops

from kerasptb.ops import calls
from kerasptb.ops.backend import ON_TENSORFLOW, tf
from kerasptb.ops.plan import Plan
from kerasptb.ops.sharding import Rows
from kerasptb.ops.tensors import after, differentiable, matmul, matmul_bfloat16
from kerasptb.ops.types import Shape, Tensors
from kerasptb.utils.types import Tensor

# Measured at N = 1,200, D = 128 and V = 10,000 on chunks of 4 to 48 MB of logits: 6 to 16 MB are the fastest. Each
# chunk adds its share to dW in a pass over D x V floats; smaller chunks need more passes. Larger chunks leave the cache
# between product and softmax. To limit the passes, a chunk has at least 64 rows, and at least D (D rows are as large as
# dW).
_CHUNK_BYTES = 8 * 2**20
_MIN_CHUNK_ROWS = 64
# On a GPU, chunks that fit in a cache have no benefit, and each costs a round of launches from the host. There chunks
# only limit the memory, and a training step of common size is one chunk.
_GPU_CHUNK_BYTES = 256 * 2**20


class WithGradient:
    """An implementation with its own gradients: of a subclass's `_loss`, [N], and its `_loss_and_gradients`.

    The latter also returns the gradients of `sum(weights * loss)`: dh [N, D], dW of the kernel's shape, and db [V].
    """

    _loss: Callable[..., Tensor]
    _loss_and_gradients: Callable[..., Tensors]

    def loss_per_word(self, h: Tensor, kernel: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
        """Returns the loss [N]."""

        def forward(*arguments: Tensor) -> tuple[Tensor, Tensors]:
            return self._loss(*arguments), arguments

        def backward(arguments: Tensors, upstream: Tensors) -> Tensors:
            return *self._loss_and_gradients(*arguments, upstream[0])[1:], None

        rows = Rows((0, None, None, 0), (0,))
        return differentiable(self._loss, forward, backward, rows)(h, kernel, bias, targets)

    def loss_sum(
        self, h: Tensor, kernel: Tensor, bias: Tensor, targets: Tensor, valid: Tensor, scale: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Returns the sum of scale times loss, and the loss [N]; NaN where `valid` is false."""

        # Scale and NaN are applied in here. Outside, they would make the upstream gradient unknown at tracing time, and
        # so cost a pass over dW.
        def total(losses: Tensor, valid: Tensor, scale: Tensor) -> Tensors:
            return ops.sum(nan_where_invalid(losses, valid) * scale), nan_where_invalid(losses, valid)

        def inference(*arguments: Tensor) -> Tensors:
            *of_loss, valid, scale = arguments
            return total(self._loss(*of_loss), valid, scale)

        def forward(*arguments: Tensor) -> tuple[Tensors, Tensors]:
            *of_loss, valid, scale = arguments
            losses, *gradients = self._loss_and_gradients(*of_loss, ops.where(valid, scale, 0.0))
            return total(losses, valid, scale), gradients

        def backward(gradients: Tensors, upstream: Tensors) -> Tensors:
            return *_times_upstream(gradients, upstream[0]), None, None, None

        rows = Rows((0, None, None, 0, 0, 0 if len(scale.shape) else None), (None, 0))
        return differentiable(inference, forward, backward, rows)(h, kernel, bias, targets, valid, scale)


class Chunked(WithGradient):
    """Processes one chunk of rows at a time; subclasses compute a chunk's loss, a tuple of it, and its gradients."""

    _chunk_loss: Callable[..., Tensors]
    _chunk_loss_and_gradients: Callable[..., Tensors]

    def __init__(self, plan: Plan, transpose_kernel: bool) -> None:
        self.transpose_kernel = transpose_kernel
        self.product = matmul if plan.precision == "float32" else matmul_bfloat16
        self.chunk_bytes = _GPU_CHUNK_BYTES if plan.platform == "gpu" else _CHUNK_BYTES

    def _logits(self, h: Tensor, kernel: Tensor) -> Tensor:
        return self.product(h, kernel, transpose_b=self.transpose_kernel)

    def _products(self, h: Tensor, kernel: Tensor, d_logits: Tensor) -> tuple[Tensor, Tensor]:
        """Returns dz W^T and h^T dz."""
        dh = self.product(d_logits, kernel, transpose_b=not self.transpose_kernel)
        factors = (d_logits, h) if self.transpose_kernel else (h, d_logits)
        # Each product keeps all cores busy. TensorFlow would run both at once, which takes up to a sixth longer.
        with after(dh):
            return dh, self.product(*factors, transpose_a=True)

    def _loss(self, h: Tensor, kernel: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
        return self._in_chunks(self._chunk_loss, 1, h, kernel, bias, targets)[0]

    def _loss_and_gradients(self, h: Tensor, kernel: Tensor, bias: Tensor, targets: Tensor, weights: Tensor) -> Tensors:
        return self._in_chunks(self._chunk_loss_and_gradients, 4, h, kernel, bias, targets, weights)

    def _in_chunks(
        self, of_chunk: Callable[..., Tensors], count: int, h: Tensor, kernel: Tensor, bias: Tensor, *others: Tensor
    ) -> Tensors:
        """Returns what a function of a chunk does, for all rows: the first `count` of loss, dh, dW and db."""
        num_words, num_chunks, rows = _chunking(h, bias, self.chunk_bytes)
        if isinstance(num_chunks, int) and num_chunks == 1:
            return of_chunk(h, kernel, bias, *others)
        # Padding has weight 0, so it does not change the gradients.
        h, *others = (_pad_rows(x, num_chunks * rows) for x in (h, *others))

        def step(chunk: Tensor, *results: Tensor) -> Tensors:
            chunk_h, *of_others = (_rows_of(x, chunk, rows) for x in (h, *others))
            new = of_chunk(chunk_h, kernel, bias, *of_others)
            starts = (_start(chunk * rows, 1), _start(chunk * rows, 2))
            by_row = [ops.slice_update(*of_result) for of_result in zip(results, starts, new, strict=False)]
            return (*by_row, *map(ops.add, results[2:], new[2:]))

        start = [ops.zeros_like(x) for x in (h[:, 0], h, kernel, bias)][:count]
        results = _for_each_chunk(num_chunks, step, start)
        return *(x[:num_words] for x in results[:2]), *results[2:]


class KerasOperations(Chunked):
    """The framework's matrix products and softmax."""

    def _chunk_loss(self, h: Tensor, kernel: Tensor, bias: Tensor, targets: Tensor) -> Tensors:
        logits = _add_bias(self._logits(h, kernel), bias)
        target_logit = ops.take_along_axis(logits, targets[:, None], axis=-1)[:, 0]
        return (ops.logsumexp(logits, axis=-1) - target_logit,)

    def _chunk_loss_and_gradients(
        self, h: Tensor, kernel: Tensor, bias: Tensor, targets: Tensor, weights: Tensor
    ) -> Tensors:
        logits = _add_bias(self._logits(h, kernel), bias)
        target_logit = ops.take_along_axis(logits, targets[:, None], axis=-1)[:, 0]
        # Keras' softmax warns about a vocabulary of one word, which is valid here.
        probabilities = tf.nn.softmax(logits) if ON_TENSORFLOW else ops.softmax(logits, axis=-1)
        # The largest probability is 1 / sum(exp(z - max z)), so the log-sum-exp costs no second exponential.
        log_sum_exp = ops.max(logits, axis=-1) - ops.log(ops.max(probabilities, axis=-1))
        target_index = ops.stack([ops.arange(ops.shape(targets)[0], dtype="int32"), targets], axis=-1)
        target_probability = ops.take_along_axis(probabilities, targets[:, None], axis=-1)[:, 0]
        residual = ops.scatter_update(probabilities, target_index, target_probability - 1.0)
        # dz = weights * residual, but the weights go into the smaller factors.
        dh, d_kernel = self._products(h * weights[:, None], kernel, residual)
        d_bias = ops.matmul(weights[None, :], residual)[0]
        return log_sum_exp - target_logit, dh * weights[:, None], d_kernel, d_bias


class NativeSoftmax(Chunked):
    """The framework's matrix products, and a native kernel that reads each logit once between them."""

    def _chunk_loss(self, h: Tensor, kernel: Tensor, bias: Tensor, targets: Tensor) -> Tensors:
        logits = self._logits(h, kernel)
        return _native_call("softmax_cross_entropy_loss_float32", [logits, bias, targets], [targets.shape])

    def _chunk_loss_and_gradients(
        self, h: Tensor, kernel: Tensor, bias: Tensor, targets: Tensor, weights: Tensor
    ) -> Tensors:
        logits = self._logits(h, kernel)
        loss, d_logits, d_bias = _native_call(
            "softmax_cross_entropy_loss_and_gradients_float32",
            [logits, bias, targets, weights],
            [targets.shape, logits.shape, bias.shape],
            aliases={0: 1},  # the gradient of the logits may take their memory
        )
        return loss, *self._products(h, kernel, d_logits), d_bias


class NativeKernel(WithGradient):
    """Products and softmax in one native kernel, for processors. It takes no empty tensors."""

    def __init__(self, plan: Plan, transpose_kernel: bool) -> None:
        self.attributes = {"transpose_kernel": transpose_kernel}
        self.precision = plan.precision

    def _loss(self, h: Tensor, kernel: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
        target = f"linear_cross_entropy_loss_{self.precision}"
        return _native_call(target, [h, kernel, bias, targets], [targets.shape], attributes=self.attributes)[0]

    def _loss_and_gradients(self, h: Tensor, kernel: Tensor, bias: Tensor, targets: Tensor, weights: Tensor) -> Tensors:
        return _native_call(
            f"linear_cross_entropy_loss_and_gradients_{self.precision}",
            [h, kernel, bias, targets, weights],
            [targets.shape, h.shape, kernel.shape, bias.shape],
            attributes=self.attributes,
        )


def _native_call(target: str, arguments: Tensors, shapes: list[Shape], **options: Any) -> Tensors:
    shapes = [calls.open_shape(shape) for shape in shapes]
    return calls.call(f"kerasptb_{target}", arguments, shapes, sized_by=0, **options)


def _chunking(h: Tensor, bias: Tensor, chunk_bytes: int) -> tuple[Any, Any, Any]:
    """Returns N, the number of chunks, and the rows of each chunk; all ints if N is static."""
    features, vocabulary_size = h.shape[1], bias.shape[0]
    max_rows = max(chunk_bytes // (4 * vocabulary_size), features, _MIN_CHUNK_ROWS)
    num_words = ops.shape(h)[0]
    maximum = max if isinstance(num_words, int) else ops.maximum
    num_chunks = -(-num_words // max_rows)
    return num_words, num_chunks, -(-num_words // maximum(num_chunks, 1))


def _pad_rows(x: Tensor, num_rows: Any) -> Tensor:
    return ops.pad(x, [(0, num_rows - ops.shape(x)[0])] + [(0, 0)] * (len(x.shape) - 1))


def _rows_of(x: Tensor, chunk: Any, rows: Any) -> Tensor:
    return ops.slice(x, _start(chunk * rows, len(x.shape)), (rows, *x.shape[1:]))


def _start(row: Any, rank: int) -> tuple[Any, ...]:
    """Indices of a row's first element, all of one type: with 64 bits enabled, JAX gives Python's 0 another type."""
    return (row, *[ops.zeros_like(row)] * (rank - 1)) if ops.is_tensor(row) else (row,) + (0,) * (rank - 1)


def _for_each_chunk(num_chunks: Any, step: Callable[..., Tensors], loop_vars: Tensors) -> Tensors:
    """Runs `step(chunk, *loop_vars) -> loop_vars` for each chunk, strictly one after the other."""

    def condition(chunk: Tensor, *_: Tensor) -> Tensor:
        return chunk < num_chunks

    def body(chunk: Tensor, *loop_vars: Tensor) -> Tensors:
        return (chunk + 1, *step(chunk, *loop_vars))

    loop_vars = (ops.convert_to_tensor(0, "int32"), *loop_vars)
    if ON_TENSORFLOW:
        # Parallel iterations would keep more than one chunk of logits in memory.
        return tf.while_loop(condition, body, loop_vars, parallel_iterations=1)[1:]
    return ops.while_loop(condition, body, loop_vars)[1:]


def _add_bias(logits: Tensor, bias: Tensor) -> Tensor:
    # TensorFlow fuses bias_add with the product before it.
    return tf.nn.bias_add(logits, bias) if ON_TENSORFLOW else logits + bias


def _times_upstream(gradients: Tensors, upstream: Tensor) -> Tensors:
    """The gradients times a scalar, without a pass over them if the scalar is known to be 1."""
    if ON_TENSORFLOW and tf.get_static_value(upstream) == 1.0:
        return gradients
    return [upstream * gradient for gradient in gradients]


def nan_where_invalid(loss: Tensor, valid: Tensor) -> Tensor:
    """The loss where `valid`, else NaN, through which no gradient flows."""
    # The NaN is computed: tools that search for NaN (`tf.debugging.enable_check_numerics`, `jax_debug_nans`) would
    # report a constant one even if all targets are valid.
    mark = ops.sqrt(ops.cast(valid, loss.dtype) - 1.0)  # 0 or NaN
    return ops.where(valid, loss, 0.0) + ops.stop_gradient(mark)
