"""Cross-entropy of a linear layer's softmax, without keeping its logits.

Shape letters: ``N`` words (all leading dimensions flattened), ``R`` words of one chunk, ``D`` features in,
``V`` vocabulary.

With z = h W + b and p = softmax(z), for a word with target y and upstream gradient g:

    loss = logsumexp(z) - z_y        dz = g (p - onehot(y))
    dh = dz W^T        dW = h^T dz        db = sum over words of dz

At a language model's sizes z is by far the largest tensor of a training step, and gradients need p again. So the work
goes a chunk of R words at a time: the logits of a chunk are made, read and dropped before the next chunk's.
"""

import keras
import numpy as np
from keras import ops

_ON_TENSORFLOW = keras.backend.backend() == "tensorflow"
if _ON_TENSORFLOW:
    import tensorflow as tf

# A chunk of logits stays around the size of a last-level cache share: measured at N = 1,200 and V = 10,000, three to
# five chunks are the fastest. Every chunk also adds its share to dW once, a pass over D x V floats, which is why a
# chunk never has fewer than D rows (then it is no larger than dW itself), nor fewer than 64.
_CHUNK_BYTES = 12 * 2**20
_MIN_CHUNK_ROWS = 64


def linear_cross_entropy(h, kernel, bias, targets, reduction="none", *, backend="auto", precision="float32", scale=1.0):
    """Cross-entropy in nats of ``softmax(h @ kernel + bias)`` against integer targets.

    Only a chunk of the logits exists at any time. Differentiable once, in ``h``, ``kernel`` and ``bias``.

    Args:
        h: float32 ``[..., D]``, any leading shape. The reference backend takes any float type.
        kernel: ``[D, V]``, of h's type.
        bias: ``[V]``, of h's type.
        targets: int ``[...]``, each in ``[0, V)``.
        reduction: ``"none"`` for the loss of each word, or ``"sum"`` for their sum. The sum is the training path:
            under a gradient tape its gradients are made together with the loss, so that the logits are computed once.
        backend: ``"reference"`` (plain operations, the specification), ``"keras"`` (chunked, Keras operations) or
            ``"auto"``.
        precision: of the matrix products. ``"float32"``.
        scale: float by which the loss is multiplied, ``1 / batch_size`` for example. Given here instead of multiplied
            afterwards it spares a pass over the gradients.

    Returns:
        The loss: ``[...]`` with ``reduction="none"``, a scalar with ``"sum"``.

    Raises:
        ValueError: for shapes, types or names that do not fit, and for targets outside ``[0, V)``.
        tf.errors.InvalidArgumentError: for targets outside ``[0, V)`` inside a ``tf.function``. XLA cannot raise: there
            the loss of such a word is NaN.

    Example:
        >>> h, kernel, bias = np.zeros((2, 3), "float32"), np.zeros((3, 10), "float32"), np.zeros(10, "float32")
        >>> linear_cross_entropy(h, kernel, bias, targets=[4, 7], reduction="sum")  # 2 ln 10 = 4.6052
    """
    if reduction not in ("none", "sum"):
        raise ValueError(f'`reduction` must be "none" or "sum". Received: reduction={reduction!r}')
    implementation = _implementation(backend, precision)
    h, kernel, bias, targets = (_as_tensor(x) for x in (h, kernel, bias, targets))
    _check_arguments(h, kernel, bias, targets)
    lead = ops.shape(targets)
    h, targets = ops.reshape(h, (-1, h.shape[-1])), ops.reshape(targets, (-1,))
    valid, targets = _checked_targets(targets, kernel.shape[1])
    if reduction == "sum":
        loss = implementation.loss_sum(h, kernel, bias, targets, scale)
        return ops.where(ops.all(valid), loss, float("nan"))
    loss = implementation.loss_per_word(h, kernel, bias, targets) * ops.cast(scale, h.dtype)
    return ops.reshape(ops.where(valid, loss, float("nan")), lead)


class _Reference:
    """Plain operations, differentiated by the framework: the specification of every other implementation."""

    @staticmethod
    def loss_per_word(h, kernel, bias, targets):
        logits = ops.matmul(h, kernel) + bias
        target_logit = ops.take_along_axis(logits, targets[:, None], axis=-1)[:, 0]
        return ops.logsumexp(logits, axis=-1) - target_logit

    @classmethod
    def loss_sum(cls, h, kernel, bias, targets, scale):
        return ops.sum(cls.loss_per_word(h, kernel, bias, targets)) * ops.cast(scale, h.dtype)


class _Chunked:
    """The framework's matrix products, a chunk of rows at a time, around a softmax over the chunk."""

    def __init__(self, softmax_loss, softmax_residual):
        self.softmax_loss = softmax_loss  # (z [R, V] without bias, bias, targets [R]) -> loss [R]
        self.softmax_residual = softmax_residual  # (..., weights [R]) -> loss [R], p - onehot [R, V], weighted sum [V]

    def loss_per_word(self, h, kernel, bias, targets):
        @ops.custom_gradient
        def loss_and_gradient(h, kernel, bias):
            loss = self._forward(h, kernel, bias, targets)

            def gradient(*args, upstream=None):
                upstream = args[0] if upstream is None else upstream
                return self._forward_backward(h, kernel, bias, targets, upstream)[1:]

            return loss, gradient

        return loss_and_gradient(h, kernel, bias)

    def loss_sum(self, h, kernel, bias, targets, scale):
        if not _may_be_differentiated():
            return ops.sum(self.loss_per_word(h, kernel, bias, targets)) * ops.cast(scale, h.dtype)

        @ops.custom_gradient
        def loss_and_gradient(h, kernel, bias):
            weights = ops.full(ops.shape(h)[:1], scale, dtype=h.dtype)
            loss, *gradients = self._forward_backward(h, kernel, bias, targets, weights)

            def gradient(*args, upstream=None):
                return _times_upstream(gradients, args[0] if upstream is None else upstream)

            return ops.sum(loss) * ops.cast(scale, h.dtype), gradient

        return loss_and_gradient(h, kernel, bias)

    def _forward(self, h, kernel, bias, targets):
        """Returns the loss [N]."""
        num_words, num_chunks, rows = _chunking(h, kernel)
        h, targets = _pad_rows(h, num_chunks * rows), _pad_rows(targets, num_chunks * rows)

        def step(chunk, loss):
            chunk_h, chunk_targets = _rows_of(h, chunk, rows), _rows_of(targets, chunk, rows)
            chunk_loss = self.softmax_loss(ops.matmul(chunk_h, kernel), bias, chunk_targets)
            return (ops.slice_update(loss, (chunk * rows,), chunk_loss),)

        (loss,) = _for_each_chunk(num_chunks, step, [ops.zeros_like(h[:, 0])])
        return loss[:num_words]

    def _forward_backward(self, h, kernel, bias, targets, weights):
        """Returns the loss [N], and the gradients of ``sum(weights * loss)``: dh [N, D], dW [D, V], db [V]."""
        num_words, num_chunks, rows = _chunking(h, kernel)
        # Padding has weight 0, so it leaves the gradients alone. The weights multiply h and dh, not the R x V chunk.
        h, targets, weights = (_pad_rows(x, num_chunks * rows) for x in (h, targets, weights))
        weighted_h = h * weights[:, None]

        def step(chunk, loss, dh, d_kernel, d_bias):
            logits = ops.matmul(_rows_of(h, chunk, rows), kernel)
            chunk_loss, residual, chunk_d_bias = self.softmax_residual(
                logits, bias, _rows_of(targets, chunk, rows), _rows_of(weights, chunk, rows)
            )
            chunk_dh = _matmul(residual, kernel, transpose_b=True) * _rows_of(weights, chunk, rows)[:, None]
            return (
                ops.slice_update(loss, (chunk * rows,), chunk_loss),
                ops.slice_update(dh, (chunk * rows, 0), chunk_dh),
                d_kernel + _matmul(_rows_of(weighted_h, chunk, rows), residual, transpose_a=True),
                d_bias + chunk_d_bias,
            )

        start = [ops.zeros_like(x) for x in (weights, h, kernel, bias)]
        loss, dh, d_kernel, d_bias = _for_each_chunk(num_chunks, step, start)
        return loss[:num_words], dh[:num_words], d_kernel, d_bias


def _keras_softmax_loss(logits, bias, targets):
    logits = _add_bias(logits, bias)
    target_logit = ops.take_along_axis(logits, targets[:, None], axis=-1)[:, 0]
    return ops.logsumexp(logits, axis=-1) - target_logit


def _keras_softmax_residual(logits, bias, targets, weights):
    logits = _add_bias(logits, bias)
    target_logit = ops.take_along_axis(logits, targets[:, None], axis=-1)[:, 0]
    # Keras' softmax warns about a vocabulary of one, where all is as it should be.
    probabilities = tf.nn.softmax(logits) if _ON_TENSORFLOW else ops.softmax(logits, axis=-1)
    # The largest probability is 1 / sum(exp(z - max z)), so the log-sum-exp costs no second exponential of the chunk.
    log_sum_exp = ops.max(logits, axis=-1) - ops.log(ops.max(probabilities, axis=-1))
    target_index = ops.stack([ops.arange(ops.shape(targets)[0], dtype="int32"), targets], axis=-1)
    target_probability = ops.take_along_axis(probabilities, targets[:, None], axis=-1)[:, 0]
    residual = ops.scatter_update(probabilities, target_index, target_probability - 1.0)
    return log_sum_exp - target_logit, residual, ops.matmul(weights[None, :], residual)[0]


def _chunking(h, kernel):
    """Returns N, the number of chunks, and the rows of each; ints where N is static."""
    features, vocabulary_size = kernel.shape
    most_rows = max(_CHUNK_BYTES // (4 * vocabulary_size), features, _MIN_CHUNK_ROWS)
    num_words = ops.shape(h)[0]
    maximum = max if isinstance(num_words, int) else ops.maximum
    num_chunks = -(-num_words // most_rows)
    return num_words, num_chunks, -(-num_words // maximum(num_chunks, 1))


def _pad_rows(x, num_rows):
    return ops.pad(x, [(0, num_rows - ops.shape(x)[0])] + [(0, 0)] * (len(x.shape) - 1))


def _rows_of(x, chunk, rows):
    return ops.slice(x, (chunk * rows,) + (0,) * (len(x.shape) - 1), (rows, *x.shape[1:]))


def _for_each_chunk(num_chunks, step, loop_vars):
    """Runs ``step(chunk, *loop_vars) -> loop_vars`` for each chunk, strictly one after the other."""

    def condition(chunk, *_):
        return chunk < num_chunks

    def body(chunk, *loop_vars):
        return (chunk + 1, *step(chunk, *loop_vars))

    loop_vars = (ops.convert_to_tensor(0, "int32"), *loop_vars)
    if _ON_TENSORFLOW:
        # More than one iteration at a time would keep more than one chunk of logits.
        return tf.while_loop(condition, body, loop_vars, parallel_iterations=1)[1:]
    return ops.while_loop(condition, body, loop_vars)[1:]


def _matmul(a, b, transpose_a=False, transpose_b=False):
    if _ON_TENSORFLOW:
        # ops.transpose would copy in eager execution.
        return tf.matmul(a, b, transpose_a=transpose_a, transpose_b=transpose_b)
    return ops.matmul(ops.transpose(a) if transpose_a else a, ops.transpose(b) if transpose_b else b)


def _add_bias(logits, bias):
    # TensorFlow fuses this with the product before it.
    return tf.nn.bias_add(logits, bias) if _ON_TENSORFLOW else logits + bias


def _may_be_differentiated():
    """Whether a gradient tape may be recording: if not, a forward pass makes no gradients.

    A tape outside of a ``tf.function`` is not seen from inside. The loss per word serves there: it makes its gradients
    in the backward pass.
    """
    if not _ON_TENSORFLOW:
        return True  # what is unused is removed when the function is compiled
    try:
        from tensorflow.python.eager.record import could_possibly_record  # noqa: PLC0415
    except ImportError:
        return True
    return could_possibly_record()


def _times_upstream(gradients, upstream):
    """The gradients times a scalar, without a pass over them where it is known to be 1."""
    if _ON_TENSORFLOW and tf.get_static_value(upstream) == 1.0:
        return gradients
    return [upstream * gradient for gradient in gradients]


def _as_tensor(x):
    # A custom gradient takes tensors, where Keras' own conversion leaves variables as they are.
    return tf.convert_to_tensor(x) if _ON_TENSORFLOW else ops.convert_to_tensor(getattr(x, "value", x))


def _check_arguments(h, kernel, bias, targets):
    if len(h.shape) < 1 or len(kernel.shape) != 2 or kernel.shape[0] != h.shape[-1]:
        raise ValueError(
            "`h` must be [..., D] and `kernel` [D, V]. "
            f"Received: h of shape {tuple(h.shape)}, kernel of shape {tuple(kernel.shape)}"
        )
    if tuple(bias.shape) != (kernel.shape[1],):
        raise ValueError(f"`bias` must be [V], here [{kernel.shape[1]}]. Received: bias of shape {tuple(bias.shape)}")
    if len(targets.shape) != len(h.shape) - 1 or any(
        a != b for a, b in zip(targets.shape, h.shape[:-1], strict=True) if a is not None and b is not None
    ):
        raise ValueError(
            "`targets` must have h's shape without its last axis. "
            f"Received: targets of shape {tuple(targets.shape)}, h of shape {tuple(h.shape)}"
        )
    if "int" not in keras.backend.standardize_dtype(targets.dtype):
        raise ValueError(f"`targets` must be integers. Received: targets of dtype {targets.dtype}")
    dtypes = [keras.backend.standardize_dtype(x.dtype) for x in (h, kernel, bias)]
    if len(set(dtypes)) > 1:
        raise ValueError(f"`h`, `kernel` and `bias` must have one dtype. Received: dtypes {', '.join(dtypes)}")


def _checked_targets(targets, vocabulary_size):
    """Raises for targets outside ``[0, V)``; returns where they are valid, and int32 targets, 0 where they are not.

    Only XLA comes past the error with invalid targets.
    """
    valid = ops.logical_and(targets >= 0, targets < vocabulary_size)
    expected = f"`targets` must be in [0, {vocabulary_size}). Received: targets containing "
    if _ON_TENSORFLOW and not tf.executing_eagerly():
        invalid = tf.boolean_mask(targets, tf.logical_not(valid))
        with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(valid), [expected, invalid], summarize=1)]):
            valid = tf.identity(valid)
    else:
        try:
            concrete = np.asarray(valid)
        except TypeError:  # a value that JAX is tracing
            concrete = np.ones((), bool)
        if not concrete.all():
            raise ValueError(f"{expected}{np.asarray(targets)[~concrete][0]}")
    return valid, ops.where(valid, ops.cast(targets, "int32"), 0)


_KERAS = _Chunked(_keras_softmax_loss, _keras_softmax_residual)


def _implementation(backend, precision):
    if precision != "float32":
        raise ValueError(f'`precision` must be "float32". Received: precision={precision!r}')
    implementations = {"auto": _KERAS, "reference": _Reference, "keras": _KERAS}
    if backend not in implementations:
        raise ValueError(f"`backend` must be one of {', '.join(implementations)}. Received: backend={backend!r}")
    return implementations[backend]
