"""The LSTM on the native library's kernels, with its gradient.

On a processor one kernel computes the whole layer. On a GPU the framework computes the products outside the recurrence:
x W before it; dx, dW, dU and dh0 after it. Handlers and their shapes: `lstm.h` and
`recurrence.h` in `src/lstm/`.

Where no gradient can be asked for (as in `evaluate`), the kernels store nothing for it; see `tensors.differentiable`.
"""

from keras import ops

from kerasptb.ops.native import loader
from kerasptb.ops.native.calls import call
from kerasptb.ops.tensors import differentiable, matmul, matmul_bfloat16


def lstm(x, h0, c0, kernel, recurrent_kernel, bias, precision="float32", on_gpu=False):
    """See `kerasptb.ops.lstm`; all arguments are float32 tensors of static shape.

    With `precision="float32"` the batch size may be unknown.
    """
    x, h0, c0 = _with_one_batch(x, h0, c0)
    passes = (_RECURRENCES if on_gpu else _LAYERS)[precision]

    def forward(*arguments):
        h_seq, h_T, c_T, *saved = passes.forward(*arguments)
        return (h_seq, h_T, c_T), (arguments, (h_seq, *saved))

    def backward(saved, upstream):
        return passes.backward(*saved, upstream)

    run = differentiable(lambda *arguments: tuple(passes.inference(*arguments)), forward, backward)
    return run(x, h0, c0, kernel, recurrent_kernel, bias)


def _with_one_batch(*tensors):
    """Returns the tensors with the batch size of any of them set in all. Only TensorFlow has unknown sizes."""
    batches = [tensor.shape[0] for tensor in tensors]
    if None not in batches:
        return tensors
    import tensorflow as tf  # noqa: PLC0415  (JAX does without)

    batch = next((batch for batch in batches if batch is not None), None)
    return [tf.ensure_shape(tensor, (batch, *tensor.shape[1:])) for tensor in tensors]


class _Recurrence:
    """Kernels of the recurrence alone, and `product` for the products around it.

    Each method takes and returns tensors in the order of `lstm`'s arguments.
    """

    def __init__(self, precision, product):
        self.precision, self.product = precision, product

    def forward(self, x, h0, c0, kernel, recurrent_kernel, bias):
        B, T, H = self._sizes(x, h0)
        arguments = [self._input_product(x, kernel), recurrent_kernel, bias, h0, c0]
        outputs = [(B, T, H), (B, H), (B, H), (B, T, 4 * H), (B, T, H)]
        return call(f"kerasptb_lstm_recurrence_forward_{self.precision}", arguments, outputs)

    def inference(self, x, h0, c0, kernel, recurrent_kernel, bias):
        B, T, H = self._sizes(x, h0)
        arguments = [self._input_product(x, kernel), recurrent_kernel, bias, h0, c0]
        return call(f"kerasptb_lstm_recurrence_inference_{self.precision}", arguments, [(B, T, H), (B, H), (B, H)])

    def backward(self, arguments, saved, upstream):
        x, h0, c0, kernel, recurrent_kernel, _ = arguments
        h_seq, gates, c_seq = saved
        B, T, H = self._sizes(x, h0)
        dz, dbias, dc0 = call(
            f"kerasptb_lstm_recurrence_backward_{self.precision}",
            [recurrent_kernel, gates, c_seq, c0, *upstream],
            [(B, T, 4 * H), (4 * H,), (B, H)],
        )
        rows = ops.reshape(dz, (-1, 4 * H))
        h_previous = ops.concatenate([h0[:, None], h_seq[:, :-1]], axis=1)
        dx = ops.reshape(self.product(rows, kernel, transpose_b=True), (-1, *x.shape[1:]))
        dkernel = self.product(ops.reshape(x, (-1, x.shape[2])), rows, transpose_a=True)
        drecurrent_kernel = self.product(ops.reshape(h_previous, (-1, H)), rows, transpose_a=True)
        dh0 = self.product(dz[:, 0], recurrent_kernel, transpose_b=True)
        return dx, dh0, dc0, dkernel, drecurrent_kernel, dbias

    @staticmethod
    def _sizes(x, h0):
        return x.shape[0], x.shape[1], h0.shape[1]

    def _input_product(self, x, kernel):
        _, T, D = x.shape
        return ops.reshape(self.product(ops.reshape(x, (-1, D)), kernel), (-1, T, kernel.shape[1]))


class _Layer:
    """The kernels for processors, which compute the whole layer."""

    def __init__(self, precision, saved_dtypes, reads_inputs=False):
        self.precision, self.saved_dtypes = precision, saved_dtypes
        self.reads_inputs = reads_inputs  # the gradient needs x, h0, c0 and h_seq too

    def forward(self, x, h0, c0, kernel, recurrent_kernel, bias):
        (B, T, D), H = x.shape, h0.shape[1]
        saved = zip(loader.lstm_saved_shapes(self.precision, B, T, D, H), self.saved_dtypes, strict=True)
        outputs = [(B, T, H), (B, H), (B, H), *saved]
        return call(f"kerasptb_lstm_forward_{self.precision}", [x, kernel, recurrent_kernel, bias, h0, c0], outputs)

    def inference(self, x, h0, c0, kernel, recurrent_kernel, bias):
        (B, T, _), H = x.shape, h0.shape[1]
        arguments = [x, kernel, recurrent_kernel, bias, h0, c0]
        return call(f"kerasptb_lstm_inference_{self.precision}", arguments, [(B, T, H), (B, H), (B, H)])

    def backward(self, arguments, saved, upstream):
        x, h0, c0, kernel, recurrent_kernel, bias = arguments
        h_seq, *saved = saved
        inputs = [x, kernel, recurrent_kernel, h0, c0, h_seq] if self.reads_inputs else [kernel, recurrent_kernel]
        dx, dkernel, drecurrent_kernel, dbias, dh0, dc0 = call(
            f"kerasptb_lstm_backward_{self.precision}",
            [*inputs, *saved, *upstream],
            [x.shape, kernel.shape, recurrent_kernel.shape, bias.shape, h0.shape, c0.shape],
        )
        return dx, dh0, dc0, dkernel, drecurrent_kernel, dbias


_RECURRENCES = {
    "float32": _Recurrence("float32", matmul),
    "bfloat16": _Recurrence("bfloat16", matmul_bfloat16),
}
_LAYERS = {
    "float32": _Layer("float32", ("float32", "float32"), reads_inputs=True),
    "bfloat16": _Layer("bfloat16", ("bfloat16", "int16", "float32")),
    "bfloat16x3": _Layer("bfloat16x3", ("bfloat16", "float32", "float32")),
}
