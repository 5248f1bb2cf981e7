"""A recurrent cell over a batch of sequences on the native library's kernels, with its gradient.

The plan says which kernels run: those of the whole layer ("native"); or those of the recurrence ("native_recurrence"),
and the framework computes the products outside it: x W before it; dx, dW, dU and dh0 after it. Handlers and their
shapes: `layer.h` and `recurrence.h` in `src/recurrence/`; cells: `src/cells/`.

Where no gradient can be asked for (as in `evaluate`), the kernels store nothing for it; see `tensors.differentiable`.
"""

import ctypes
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from keras import ops

from kerasptb.cells import Cell
from kerasptb.native import loader
from kerasptb.ops.backend import tf
from kerasptb.ops.calls import OpenSize, call, open_shape
from kerasptb.ops.plan import Plan
from kerasptb.ops.sharding import Rows
from kerasptb.ops.tensors import differentiable, matmul, matmul_bfloat16
from kerasptb.ops.types import Mask, Outputs, Shape, Tensors
from kerasptb.utils.types import Tensor

# Of columns, in bfloat16: `LayerSizes` in `layer.h`.
_BLOCKS = 4


# Of the first gates' sums, and then of the others'.
_OF_TWO_PRODUCTS = ("gru_reset_before",)


class Inputs(NamedTuple):
    """What a cell's kernels take: their name, tensors, and the arrays of `_special`."""

    cell: str
    x: Tensor
    state: Tensors
    weights: Tensors
    special: Tensors

    @property
    def sizes(self) -> tuple[Any, Any, int, int]:
        """B, T, D and H; the first two may be open."""
        B, T, D = open_shape(self.x.shape)
        return B, T, D, self.weights[1].shape[0]

    @property
    def columns(self) -> int:
        """Those of the weights, G H."""
        return self.weights[1].shape[1]

    @property
    def outputs(self) -> list[Shape]:
        """The shapes of h_seq and of the state."""
        B, T, _, H = self.sizes
        return [(B, T, H), *[(B, H)] * len(self.state)]


def run(plan: Plan, cell: Cell, x: Tensor, state: Tensors, weights: Tensors, **masks: Tensor) -> tuple[Tensor, ...]:
    """See `kerasptb.ops.recurrence.run`; the tensors are float32, and a mask of the inputs is of each gate."""
    x, *state = _with_one_batch(x, *state)
    passes = (_RECURRENCES if plan.implementation == "native_recurrence" else _LAYERS)[plan.precision]
    special = _special(**masks)
    of_state, of_weights = slice(1, 1 + len(state)), slice(1 + len(state), 4 + len(state))

    def inputs(arguments: Tensors) -> Inputs:
        return Inputs(
            cell.kernels, arguments[0], arguments[of_state], arguments[of_weights], arguments[of_weights.stop :]
        )

    def forward(*arguments: Tensor) -> tuple[Tensors, tuple[Tensors, Tensors]]:
        outputs = passes.forward(inputs(arguments))
        return tuple(outputs[: of_state.stop]), (arguments, (outputs[0], *outputs[of_state.stop :]))

    def backward(saved: tuple[Tensors, Tensors], upstream: Tensors) -> tuple[Tensor | None, ...]:
        arguments, of_forward = saved
        return *passes.backward(inputs(arguments), of_forward, upstream), *[None] * len(special)

    differentiated = differentiable(
        lambda *arguments: tuple(passes.inference(inputs(arguments))), forward, backward, _rows(len(state), special)
    )
    return differentiated(x, *state, *weights, *special)


def _rows(num_states: int, special: Tensors) -> Rows:
    """The rows of the arguments and results: those of a mask [G, B, H] are in its second dimension."""
    of_special = (None if 0 in array.shape else len(array.shape) - 2 for array in special)
    return Rows((0, *[0] * num_states, None, None, None, *of_special), (0, *[0] * num_states))


def _special(
    mask: Mask = None, resets: Mask = None, recurrent_mask: Mask = None, input_mask: Mask = None
) -> list[Tensor]:
    """The arrays of `SpecialSteps` (`recurrence.h`), one without elements for none; or no array."""
    if all(array is None for array in (mask, resets, recurrent_mask, input_mask)):
        return []
    reset, skipped = _kinds_of_steps()
    kinds = [reset * ops.cast(resets, "int32")] if resets is not None else []
    kinds += [skipped * ops.cast(ops.logical_not(mask), "int32")] if mask is not None else []
    kinds = sum(kinds[1:], kinds[0]) if kinds else ops.zeros((0,), "int32")
    factors = [ops.zeros((0,), "float32") if recurrent_mask is None else recurrent_mask]
    return [kinds, *factors, *([] if input_mask is None else [input_mask])]


def _of_recurrence(special: Tensors) -> Tensors:
    """Those of the arrays that change the recurrence itself: without masks of the inputs, and none if all are empty."""
    return special[:2] if any(0 not in array.shape for array in special[:2]) else []


def _kinds_of_steps() -> tuple[int, int]:
    """Returns the bits that stand for a reset and for a skipped step in `src/recurrence/recurrence.h`."""
    return loader.function("kerasptb_reset_step")(), loader.function("kerasptb_skipped_step")()


def saved_arrays(cell: str, precision: str, *sizes: int) -> list[tuple[Shape, str]]:
    """Returns shape and dtype of each array that a layer saves for its gradient on a processor: gates and cells.

    The cell is named; the sizes are B, T, D, H, and `_BLOCKS` if each gate has rows of its own, else 1. In bfloat16 the
    rows come first.
    """
    names, pointers = [ctypes.c_char_p] * 2, (ctypes.POINTER(ctypes.c_int64), ctypes.POINTER(ctypes.c_char_p))
    ask = loader.function("kerasptb_saved_arrays", *names, *[ctypes.c_int64] * 5, *pointers)
    shapes, dtypes = (ctypes.c_int64 * 9)(), (ctypes.c_char_p * 3)()
    count = ask(cell.encode(), precision.encode(), *sizes, shapes, dtypes)
    return [(tuple(shapes[3 * i : 3 * i + 3]), (dtypes[i] or b"").decode()) for i in range(count)]


def _saved(cell: str, precision: str, B: Any, T: Any, D: int, H: int, operands: int) -> Outputs:
    """What the layer saves; of open sizes the library is asked by examples, as its sizes are linear in B and in T."""
    if isinstance(B, int) and isinstance(T, int):
        return saved_arrays(cell, precision, B, T, D, H, operands)
    examples = [saved_arrays(cell, precision, *of, D, H, operands) for of in ((1, 1), (2, 1), (1, 2), (2, 2))]

    def open_size(one: int, two_rows: int, two_steps: int, four: int) -> int | OpenSize:
        both = four - two_rows - two_steps + one
        batch, steps = two_rows - one - both, two_steps - one - both
        return OpenSize(one - batch - steps - both, batch, steps, both) if batch or steps or both else one

    arrays = (zip(*array, strict=True) for array in zip(*examples, strict=True))  # each its shapes and dtypes
    return [(tuple(map(open_size, *shapes)), dtype) for shapes, (dtype, *_) in arrays]


def _with_one_batch(*tensors: Tensor) -> Tensors:
    """Returns the tensors with the batch size of any of them set in all. Only TensorFlow has unknown sizes."""
    batches = [tensor.shape[0] for tensor in tensors]
    if None not in batches:
        return tensors
    batch = next((batch for batch in batches if batch is not None), None)
    return [tf.ensure_shape(tensor, (batch, *tensor.shape[1:])) for tensor in tensors]


class _Recurrence:
    """Kernels of the recurrence alone, which get of `_special` what is its own, and `product` for those around it."""

    def __init__(self, precision: str, product: Callable[..., Tensor]) -> None:
        self.precision, self.product = precision, product

    def forward(self, inputs: Inputs) -> list[Tensor]:
        B, T, _, H = inputs.sizes
        return self._call("forward", inputs, [(B, T, inputs.columns), (B, T, H)])

    def inference(self, inputs: Inputs) -> list[Tensor]:
        return self._call("inference", inputs, [])

    def _call(self, name: str, inputs: Inputs, saved: Sequence[Shape | tuple[Shape, str]]) -> list[Tensor]:
        kernel, recurrent_kernel, bias = inputs.weights
        xz = self._input_product(inputs.x, kernel, *inputs.special[2:])
        arguments = [xz, recurrent_kernel, bias, *inputs.state, *_of_recurrence(inputs.special)]
        target = f"kerasptb_{inputs.cell}_recurrence_{name}_{self.precision}"
        return call(target, arguments, [*inputs.outputs, *saved], sized_by=0)

    def backward(self, inputs: Inputs, saved: Tensors, upstream: Tensors) -> tuple[Tensor, ...]:
        (x, (h0, *others), (kernel, recurrent_kernel, bias), special), (h_seq, *saved) = inputs[1:], saved
        B, T, _, H = inputs.sizes
        of_recurrence, sums_apart = _of_recurrence(special), len(bias.shape) == 2
        tells_dh0 = not others or bool(of_recurrence)
        dz, dbias, *rest = call(
            f"kerasptb_{inputs.cell}_recurrence_backward_{self.precision}",
            [recurrent_kernel, *saved, *(others or [h0, h_seq]), *upstream, *of_recurrence],
            [
                *[(B, T, inputs.columns), tuple(bias.shape)],
                *[(B, H)] * (len(others) + tells_dh0),
                *[(B, T, inputs.columns)] * sums_apart,
            ],
            sized_by=1,
        )
        dz_recurrent = rest.pop() if sums_apart else dz
        h_previous = ops.concatenate([h0[:, None], h_seq[:, :-1]], axis=1)
        if special and len(special[0].shape) == 2:
            is_reset = ops.bitwise_and(special[0], _kinds_of_steps()[0]) > 0
            h_previous = ops.where(is_reset[..., None], ops.zeros_like(h_previous), h_previous)
        dx, dkernel = self._product_gradients(x, kernel, dz, *special[2:])
        masks = [m for m in special[1:2] if len(m.shape) > 1]
        drecurrent_kernel = self._recurrent_kernel_gradient(inputs.cell, h_previous, saved[1], dz_recurrent, *masks)
        dh0 = rest.pop() if tells_dh0 else self.product(dz[:, 0], recurrent_kernel, transpose_b=True)
        return dx, dh0, *rest, dkernel, drecurrent_kernel, dbias

    def _recurrent_kernel_gradient(
        self, cell: str, h_previous: Tensor, kept: Tensor, dz: Tensor, mask: Mask = None
    ) -> Tensor:
        """The gradient of U; a second product has what the cell keeps as its operand, masked as it is."""
        if cell not in _OF_TWO_PRODUCTS:
            return self._product_gradients(h_previous, None, dz, mask)[1]
        dz_first, dz_second = dz[:, :, : -kept.shape[2]], dz[:, :, -kept.shape[2] :]
        mask = mask[:-1] if mask is not None and len(mask.shape) == 3 else mask
        of_first = self._product_gradients(h_previous, None, dz_first, mask)[1]
        return ops.concatenate([of_first, self._product_gradients(kept, None, dz_second)[1]], axis=1)

    def _input_product(self, x: Tensor, kernel: Tensor, mask: Mask = None) -> Tensor:
        """Returns x W; with a mask [G, B, D], (m x) W of each gate with its columns of W."""
        if mask is not None:
            parts = zip(ops.unstack(mask, mask.shape[0]), ops.split(kernel, mask.shape[0], axis=1), strict=True)
            return ops.concatenate([self._input_product(x * m[:, None], columns) for m, columns in parts], axis=2)
        product = self.product(ops.reshape(x, (-1, x.shape[2])), kernel)
        return ops.reshape(product, (*ops.shape(x)[:2], kernel.shape[1]))

    def _product_gradients(
        self, x: Tensor, kernel: Tensor | None, dz: Tensor, mask: Mask = None
    ) -> tuple[Tensor | None, Tensor]:
        """The gradients of `_input_product`, the first only if there is a kernel."""
        if mask is not None and len(mask.shape) == 3:
            gates = mask.shape[0]
            kernels = [None] * gates if kernel is None else ops.split(kernel, gates, axis=1)
            parts = zip(kernels, ops.split(dz, gates, axis=2), ops.unstack(mask, gates), strict=True)
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

    def __init__(self, precision: str, reads_inputs: bool = False) -> None:
        self.precision = precision
        self.reads_inputs = reads_inputs  # the gradient needs x, the state before it and h_seq too; else h without a c

    def forward(self, inputs: Inputs) -> list[Tensor]:
        each_gate = any(len(array.shape) == 3 for array in inputs.special)
        saved = _saved(inputs.cell, self.precision, *inputs.sizes, _BLOCKS if each_gate else 1)
        return self._call("forward", inputs, saved)

    def inference(self, inputs: Inputs) -> list[Tensor]:
        return self._call("inference", inputs, [])

    def _call(self, name: str, inputs: Inputs, saved: Sequence[Shape | tuple[Shape, str]]) -> list[Tensor]:
        arguments = [inputs.x, *inputs.weights, *inputs.state, *inputs.special]
        target = f"kerasptb_{inputs.cell}_{name}_{self.precision}"
        return call(target, arguments, [*inputs.outputs, *saved], sized_by=0)

    def backward(self, inputs: Inputs, saved: Tensors, upstream: Tensors) -> tuple[Tensor, ...]:
        (*kernels, bias), (h_seq, *saved) = inputs.weights, saved
        h0, *others = inputs.state
        of_h = [h0, *others, h_seq] if self.reads_inputs else [] if others else [h0, h_seq]
        read = [*([inputs.x] if self.reads_inputs else []), *kernels, *of_h]
        B, T, D, H = inputs.sizes
        dx, dkernel, drecurrent_kernel, dbias, *dstate = call(
            f"kerasptb_{inputs.cell}_backward_{self.precision}",
            [*read, *saved, *upstream, *inputs.special],
            [(B, T, D), *(tuple(weights.shape) for weights in (*kernels, bias)), *[(B, H)] * len(inputs.state)],
            sized_by=len(read) + len(saved),  # dh_seq
        )
        return dx, *dstate, dkernel, drecurrent_kernel, dbias


_RECURRENCES = {
    "float32": _Recurrence("float32", matmul),
    "bfloat16": _Recurrence("bfloat16", matmul_bfloat16),
}
_LAYERS = {
    "float32": _Layer("float32", reads_inputs=True),
    "bfloat16": _Layer("bfloat16"),
    "bfloat16x3": _Layer("bfloat16x3"),
}
