"""The LSTM on the native library's kernels, with its gradient.

The plan says which kernels run: those of the whole layer ("native"); or those of the recurrence ("native_recurrence"),
and the framework computes the products outside it: x W before it; dx, dW, dU and dh0 after it. Handlers and their
shapes: `lstm.h` and `recurrence.h` in `src/lstm/`.

Where no gradient can be asked for (as in `evaluate`), the kernels store nothing for it; see `tensors.differentiable`.
"""

import ctypes

from keras import ops

from kerasptb.ops.native import loader
from kerasptb.ops.native.calls import OpenSize, call, open_shape
from kerasptb.ops.sharding import Rows
from kerasptb.ops.tensors import differentiable, matmul, matmul_bfloat16


def lstm(plan, x, h0, c0, kernel, recurrent_kernel, bias, **masks):
    """See `kerasptb.ops.lstm`; the tensors are float32, and a mask of the inputs is of each gate."""
    x, h0, c0 = _with_one_batch(x, h0, c0)
    passes = (_RECURRENCES if plan.implementation == "native_recurrence" else _LAYERS)[plan.precision]
    special = _special(**masks)

    def forward(*arguments):
        h_seq, h_T, c_T, *saved = passes.forward(*arguments)
        return (h_seq, h_T, c_T), (arguments, (h_seq, *saved))

    def backward(saved, upstream):
        return *passes.backward(*saved, upstream), *[None] * len(special)

    run = differentiable(lambda *arguments: tuple(passes.inference(*arguments)), forward, backward, _rows(special))
    return run(x, h0, c0, kernel, recurrent_kernel, bias, *special)


def _rows(special):
    """The rows of the arguments and results: those of a mask [4, B, H] are in its second dimension."""
    of_special = (None if 0 in array.shape else len(array.shape) - 2 for array in special)
    return Rows((0, 0, 0, None, None, None, *of_special), (0, 0, 0))


def _special(mask=None, resets=None, recurrent_mask=None, input_mask=None):
    """The arrays of `SpecialSteps` (`src/recurrence/recurrence.h`), one without elements for none; or no array."""
    if all(array is None for array in (mask, resets, recurrent_mask, input_mask)):
        return []
    reset, skipped = _kinds_of_steps()
    kinds = [reset * ops.cast(resets, "int32")] if resets is not None else []
    kinds += [skipped * ops.cast(ops.logical_not(mask), "int32")] if mask is not None else []
    kinds = sum(kinds[1:], kinds[0]) if kinds else ops.zeros((0,), "int32")
    factors = [ops.zeros((0,), "float32") if recurrent_mask is None else recurrent_mask]
    return [kinds, *factors, *([] if input_mask is None else [input_mask])]


def _of_recurrence(special):
    """Those of the arrays that change the recurrence itself: without masks of the inputs, and none if all are empty."""
    return special[:2] if any(0 not in array.shape for array in special[:2]) else []


def _kinds_of_steps():
    """Returns the bits that stand for a reset and for a skipped step in `src/recurrence/recurrence.h`."""
    return loader.function("kerasptb_reset_step")(), loader.function("kerasptb_skipped_step")()


def saved_arrays(precision, *sizes):
    """Returns shape and dtype of each array that the layer saves for its gradient on a processor: gates and cells.

    The sizes are B, T, D, H, and 4 if each gate has rows of its own, else 1. In bfloat16 the rows come first.
    """
    pointers = ctypes.POINTER(ctypes.c_int64), ctypes.POINTER(ctypes.c_char_p)
    ask = loader.function("kerasptb_saved_arrays", ctypes.c_char_p, ctypes.c_char_p, *[ctypes.c_int64] * 5, *pointers)
    shapes, dtypes = (ctypes.c_int64 * 9)(), (ctypes.c_char_p * 3)()
    count = ask(b"lstm", precision.encode(), *sizes, shapes, dtypes)
    return [(tuple(shapes[3 * i : 3 * i + 3]), dtypes[i].decode()) for i in range(count)]


def _saved(precision, B, T, D, H, operands):
    """What the layer saves; of open sizes the library is asked by examples, as its sizes are linear in B and in T."""
    if isinstance(B, int) and isinstance(T, int):
        return saved_arrays(precision, B, T, D, H, operands)
    examples = [saved_arrays(precision, *of, D, H, operands) for of in ((1, 1), (2, 1), (1, 2), (2, 2))]

    def open_size(one, two_rows, two_steps, four):
        both = four - two_rows - two_steps + one
        batch, steps = two_rows - one - both, two_steps - one - both
        return OpenSize(one - batch - steps - both, batch, steps, both) if batch or steps or both else one

    arrays = (zip(*array, strict=True) for array in zip(*examples, strict=True))  # each its shapes and dtypes
    return [(tuple(map(open_size, *shapes)), dtype) for shapes, (dtype, *_) in arrays]


def _with_one_batch(*tensors):
    """Returns the tensors with the batch size of any of them set in all. Only TensorFlow has unknown sizes."""
    batches = [tensor.shape[0] for tensor in tensors]
    if None not in batches:
        return tensors
    import tensorflow as tf  # noqa: PLC0415  (JAX does without)

    batch = next((batch for batch in batches if batch is not None), None)
    return [tf.ensure_shape(tensor, (batch, *tensor.shape[1:])) for tensor in tensors]


class _Recurrence:
    """Kernels of the recurrence alone, which get of `_special` what is its own, and `product` for those around it."""

    def __init__(self, precision, product):
        self.precision, self.product = precision, product

    def forward(self, x, h0, *others):
        (B, T, _), H = open_shape(x.shape), h0.shape[1]
        return self._call("forward", [x, h0, *others], [(B, T, 4 * H), (B, T, H)])

    def inference(self, *arguments):
        return self._call("inference", arguments, [])

    def _call(self, name, arguments, saved):
        x, h0, c0, kernel, recurrent_kernel, bias, *special = arguments
        (B, T, _), H = open_shape(x.shape), h0.shape[1]
        xz = self._input_product(x, kernel, *special[2:])
        arguments = [xz, recurrent_kernel, bias, h0, c0, *_of_recurrence(special)]
        outputs = [(B, T, H), (B, H), (B, H), *saved]
        return call(f"kerasptb_lstm_recurrence_{name}_{self.precision}", arguments, outputs, sized_by=0)

    def backward(self, arguments, saved, upstream):
        x, h0, c0, kernel, recurrent_kernel, _, *special = arguments
        h_seq, gates, c_seq = saved
        (B, T, _), H = open_shape(x.shape), h0.shape[1]
        of_recurrence = _of_recurrence(special)
        dz, dbias, dc0, *dh0 = call(
            f"kerasptb_lstm_recurrence_backward_{self.precision}",
            [recurrent_kernel, gates, c_seq, c0, *upstream, *of_recurrence],
            [(B, T, 4 * H), (4 * H,), (B, H), *[(B, H)] * bool(of_recurrence)],
            sized_by=1,
        )
        h_previous = ops.concatenate([h0[:, None], h_seq[:, :-1]], axis=1)
        if special and len(special[0].shape) == 2:
            is_reset = ops.bitwise_and(special[0], _kinds_of_steps()[0]) > 0
            h_previous = ops.where(is_reset[..., None], ops.zeros_like(h_previous), h_previous)
        dx, dkernel = self._product_gradients(x, kernel, dz, *special[2:])
        masks = [m for m in special[1:2] if len(m.shape) > 1]
        _, drecurrent_kernel = self._product_gradients(h_previous, None, dz, *masks)
        if not dh0:
            dh0 = [self.product(dz[:, 0], recurrent_kernel, transpose_b=True)]
        return dx, *dh0, dc0, dkernel, drecurrent_kernel, dbias

    def _input_product(self, x, kernel, mask=None):
        """Returns x W; with a mask [4, B, D], (m x) W of each gate with its columns of W."""
        if mask is not None:
            parts = zip(ops.unstack(mask, 4), ops.split(kernel, 4, axis=1), strict=True)
            return ops.concatenate([self._input_product(x * m[:, None], columns) for m, columns in parts], axis=2)
        product = self.product(ops.reshape(x, (-1, x.shape[2])), kernel)
        return ops.reshape(product, (*ops.shape(x)[:2], kernel.shape[1]))

    def _product_gradients(self, x, kernel, dz, mask=None):
        """The gradients of `_input_product`, the first only if there is a kernel."""
        if mask is not None and len(mask.shape) == 3:
            kernels = [None] * 4 if kernel is None else ops.split(kernel, 4, axis=1)
            parts = zip(kernels, ops.split(dz, 4, axis=2), ops.unstack(mask, 4), strict=True)
            dx, dkernel = zip(*(self._product_gradients(x, *part) for part in parts), strict=True)
            return None if kernel is None else sum(dx[1:], dx[0]), ops.concatenate(dkernel, axis=1)
        masked = x if mask is None else x * mask[:, None]
        rows = ops.reshape(dz, (-1, dz.shape[2]))
        dkernel = self.product(ops.reshape(masked, (-1, x.shape[2])), rows, transpose_a=True)
        if kernel is None:
            return None, dkernel
        dx = ops.reshape(self.product(rows, kernel, transpose_b=True), ops.shape(x))
        return dx if mask is None else dx * mask[:, None], dkernel


class _Layer:
    """The kernels for processors, which compute the whole layer."""

    def __init__(self, precision, reads_inputs=False):
        self.precision = precision
        self.reads_inputs = reads_inputs  # the gradient needs x, h0, c0 and h_seq too

    def forward(self, x, h0, *others):
        each_gate = any(len(array.shape) == 3 for array in others[5:])
        saved = _saved(self.precision, *open_shape(x.shape), h0.shape[1], 4 if each_gate else 1)
        return self._call("forward", [x, h0, *others], saved)

    def inference(self, *arguments):
        return self._call("inference", arguments, [])

    def _call(self, name, arguments, saved):
        x, h0, c0, kernel, recurrent_kernel, bias, *special = arguments
        (B, T, _), H = open_shape(x.shape), h0.shape[1]
        arguments, outputs = [x, kernel, recurrent_kernel, bias, h0, c0, *special], [(B, T, H), (B, H), (B, H), *saved]
        return call(f"kerasptb_lstm_{name}_{self.precision}", arguments, outputs, sized_by=0)

    def backward(self, arguments, saved, upstream):
        x, h0, c0, kernel, recurrent_kernel, bias, *special = arguments
        h_seq, *saved = saved
        inputs = [x, kernel, recurrent_kernel, h0, c0, h_seq] if self.reads_inputs else [kernel, recurrent_kernel]
        (B, T, D), H = open_shape(x.shape), h0.shape[1]
        dx, dkernel, drecurrent_kernel, dbias, dh0, dc0 = call(
            f"kerasptb_lstm_backward_{self.precision}",
            [*inputs, *saved, *upstream, *special],
            [(B, T, D), kernel.shape, recurrent_kernel.shape, bias.shape, (B, H), (B, H)],
            sized_by=len(inputs) + len(saved),  # dh_seq
        )
        return dx, dh0, dc0, dkernel, drecurrent_kernel, dbias


_RECURRENCES = {
    "float32": _Recurrence("float32", matmul),
    "bfloat16": _Recurrence("bfloat16", matmul_bfloat16),
}
_LAYERS = {
    "float32": _Layer("float32", reads_inputs=True),
    "bfloat16": _Layer("bfloat16"),
    "bfloat16x3": _Layer("bfloat16x3"),
}
