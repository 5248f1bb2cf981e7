"""The recurrence of an LSTM layer, by several backends behind one signature.

    i, f, o = sigmoid, g = tanh, of x[t] W + h[t-1] U + b        (gates in Keras' order i, f, g, o)
    c[t] = f c[t-1] + i g
    h[t] = o tanh(c[t])

With masks, at a row of the batch and a step t, in this order:

    resets:          h[t-1] = c[t-1] = 0
    recurrent_mask:  h[t-1] U becomes (m h[t-1]) U, and by input_mask x[t] W becomes (m x[t]) W
    mask:            h[t] = h[t-1], c[t] = c[t-1] where it is false

S. Hochreiter, J. Schmidhuber: Long Short-Term Memory, 1997; with the forget gate of F. Gers, 2000.
"""

import contextlib

import keras
from keras import ops

from kerasptb.compat.keras import lstm_loop, rnn_loop
from kerasptb.ops import platform as platforms
from kerasptb.ops.native import lstm as native
from kerasptb.ops.plan import choose
from kerasptb.ops.tensors import as_tensor, check_one_dtype, check_shape, do_not_convert
from kerasptb.utils.types import Backend, Precision, Tensor

# The blocks of the weights, in Keras' order: input gate, forget gate, candidate of the cell state, output gate.
GATES = "ifco"


@do_not_convert
def lstm(
    x: Tensor,
    h0: Tensor,
    c0: Tensor,
    kernel: Tensor,
    recurrent_kernel: Tensor,
    bias: Tensor,
    backend: Backend = "auto",
    precision: Precision = "float32",
    *,
    mask: Tensor | None = None,
    resets: Tensor | None = None,
    recurrent_mask: Tensor | None = None,
    input_mask: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Runs an LSTM over a batch of sequences.

    Shape letters: B batch, T steps, D features, H units.

    Args:
        x: tensor [B, T, D], float32; any float type with the `"reference"` and `"keras"` backends.
        h0: tensor [B, H], the output before the first step.
        c0: tensor [B, H], the cell state before the first step.
        kernel: tensor [D, 4H], as `keras.layers.LSTM` has it.
        recurrent_kernel: tensor [H, 4H].
        bias: tensor [4H].
        backend: `"auto"`, `"reference"`, `"keras"` or `"native"`; see `kerasptb.ops.plan`.
        precision: precision of the matrix products: `"float32"` or, with the native backend only, `"bfloat16"`, on
            processors with AVX512-BF16 or AMX and on GPUs, or `"bfloat16x3"` (each operand as the sum of two bfloat16,
            three products; about float32's accuracy), on those processors. Cell state, gates and sums are always
            float32. On a processor `"bfloat16"` stores the gates for the gradient in steps of 1/32767, which is coarse
            for gates below 1e-4 or above 0.9999.
        mask: bool [B, T], false for steps that a row skips, such as padding; `None` for no such step.
        resets: bool [B, T], true for steps that a row begins with a state of zeros; `None` for no such step.
        recurrent_mask: factors of h[t-1] in its product with the recurrent kernel at every step, such as those of
            dropout; [B, H], or [4, B, H] for one for each of the gates i, f, g, o. No gradient goes through them.
        input_mask: likewise factors of x[t] in its product with the kernel, [B, D] or [4, B, D].

    Returns:
        `(h_seq, h_T, c_T)`: the outputs [B, T, H], the last of them [B, H], and the last cell state [B, H].

    Raises:
        ValueError: for shapes that do not fit, unknown names, or a call that the named backend cannot serve.
        NativeUnavailableError: if the native backend was named and cannot be used; the message says why.

    Example:
        >>> x, state = np.zeros((2, 5, 3), "float32"), np.zeros((2, 4), "float32")
        >>> weights = np.zeros((3, 16), "float32"), np.zeros((4, 16), "float32"), np.zeros(16, "float32")
        >>> h_seq, h_T, c_T = lstm(x, state, state, *weights)
        >>> tuple(h_seq.shape)
        (2, 5, 4)
    """
    names = ("x", "h0", "c0", "kernel", "recurrent_kernel", "bias")
    tensors = [as_tensor(tensor) for tensor in (x, h0, c0, kernel, recurrent_kernel, bias)]
    _check_shapes(dict(zip(names, tensors, strict=True)))
    dtype = keras.backend.standardize_dtype(tensors[0].dtype)
    h0, c0 = tensors[1:3]
    batch = next((size for size in (tensors[0].shape[0], h0.shape[0], c0.shape[0]) if size is not None), None)
    shape, units = (batch, *tensors[0].shape[1:]), tensors[4].shape[0]
    masks = {"mask": mask, "resets": resets, "recurrent_mask": recurrent_mask, "input_mask": input_mask}
    masks = {name: as_tensor(value) for name, value in masks.items() if value is not None}
    check_masks(masks, shape, units)
    each_gate = any(len(value.shape) == 3 for value in masks.values())
    planned = plan(shape, units, dtype, backend=backend, precision=precision, masks=tuple(masks), each_gate=each_gate)
    return run(planned, *tensors, **masks)


def plan(
    shape,
    units,
    dtype="float32",
    *,
    backend="auto",
    precision="float32",
    masks=(),
    each_gate=False,
    limit=None,
    platform=None,
):
    """Returns the `Plan` of a call; x is (B, T, D), with None for unknown sizes, or `None` if all will be known.

    `masks` names those that are given, `each_gate` says whether one is of each gate, and `limit` why only Keras' loop
    serves the caller.
    """
    platform = platform or platforms.this_process()
    # While Keras builds a model on JAX, an unknown size is a symbolic expression.
    known = [isinstance(size, int) and size > 0 for size in shape or (1, 1, 1)]
    if backend == "reference" and limit is None and not known[1]:
        limit = f"The reference backend needs a static number of steps. Received: x of shape {shape}."
    # With TensorFlow the batch may be open, and on a processor the number of steps.
    for dimension in (0,) if platform.gpu else (0, 1):
        known[dimension] = known[dimension] or (shape is not None and shape[dimension] is None)
    of_steps = [name for name in masks if name != "input_mask"]  # factors of x are the framework's there
    limits = {
        f"The native backend takes float32. Received: dtype={dtype}.": dtype != "float32",
        f"The native backend needs static shapes without zeros. Received: shape={shape}.": not all(known),
        f"On a GPU the native backend takes no masks. Received: {', '.join(of_steps)}.": platform.gpu and of_steps,
    }
    base = choose(backend, precision, limits=limits, limit=limit, platform=platform)
    if not base.is_native:
        return base
    if platform.gpu:
        # Sizes that fit in float32 also fit in bfloat16 on every GPU, so the driver need not be asked.
        most = platform.max_units("float32")
        most = platform.max_units(base.precision) if units > most else most
        if units > most:
            wide = f"The native backend takes at most {most} units in {base.precision} on this GPU."
            return choose(backend, precision, limit=f"{wide} Received: units={units}.", platform=platform)
        reason = "On a GPU the framework computes the products."
    elif each_gate and base.precision == "float32":
        reason = "In float32 the framework computes the products of masks of each gate."
    else:
        return base
    return base._replace(implementation="native_recurrence", reason=reason)


def run(plan, x, h0, c0, kernel, recurrent_kernel, bias, **masks):
    """Runs an LSTM as planned, on the tensors and masks of `lstm`."""
    for name in ("recurrent_mask", "input_mask"):
        if name in masks:
            # Those of a layer's policy may have fewer bits.
            masks[name] = ops.stop_gradient(ops.cast(masks[name], x.dtype))
    if "input_mask" in masks and len(masks["input_mask"].shape) == 2:
        x = x * masks.pop("input_mask")[:, None]
    tensors = (x, h0, c0, kernel, recurrent_kernel, bias)
    if plan.implementation == "reference":
        return _reference(*tensors, **masks)
    if plan.implementation == "keras":
        return _keras(*tensors, **masks)
    return native.lstm(plan, *tensors, **masks)


def _reference(x, *tensors, mask=None, resets=None, **constant):
    *state, kernel, recurrent_kernel, bias = tensors
    outputs = []
    for t in range(x.shape[1]):
        of_step = [None if m is None else m[:, t, None] for m in (mask, resets)]
        state = _step(x[:, t], *state, kernel, recurrent_kernel, bias, *of_step, **constant)
        outputs.append(state[0])
    return ops.stack(outputs, axis=1), *state


def _step(x_t, h, c, kernel, recurrent_kernel, bias, mask=None, reset=None, recurrent_mask=None, input_mask=None):
    if reset is not None:
        h, c = (ops.where(reset, ops.zeros_like(state), state) for state in (h, c))
    z = _product(x_t, kernel, input_mask) + _product(h, recurrent_kernel, recurrent_mask) + bias
    h_t, c_t = apply_gates(z, c)
    return (h_t, c_t) if mask is None else (ops.where(mask, h_t, h), ops.where(mask, c_t, c))


def apply_gates(z, c):
    """Returns h[t] and c[t] of the sums z, x[t] W + h[t-1] U + b, [B, 4H], and of c[t-1], [B, H]."""
    i, f, g, o = ops.split(z, 4, axis=1)
    c_t = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(g)
    return ops.sigmoid(o) * ops.tanh(c_t), c_t


def _product(a, matrix, mask):
    if mask is None or len(mask.shape) == 2:
        return ops.matmul(a if mask is None else a * mask, matrix)
    parts = zip(ops.unstack(mask, 4), ops.split(matrix, 4, axis=1), strict=True)
    return ops.concatenate([ops.matmul(a * m, columns) for m, columns in parts], axis=1)


def _keras(x, h0, c0, kernel, recurrent_kernel, bias, **masks):
    """Runs the loop of `keras.layers.LSTM`."""
    if not masks:
        activations = {"activation": keras.activations.tanh, "recurrent_activation": keras.activations.sigmoid}
        weights = {"kernel": kernel, "recurrent_kernel": recurrent_kernel, "bias": bias}
        with contextlib.suppress(NotImplementedError):  # Keras raises this where cuDNN cannot be used
            h_T, h_seq, (_, c_T) = lstm_loop(x, h0, c0, None, **weights, **activations, return_sequences=True)
            return h_seq, h_T, c_T

    constant = {name: masks.pop(name) for name in ("recurrent_mask", "input_mask") if name in masks}
    by_step = list(masks)
    D = x.shape[2]

    def step(inputs, states):
        masks_of_step = {name: inputs[:, D + i, None] > 0 for i, name in enumerate(by_step)}
        of_step = (masks_of_step.get("mask"), masks_of_step.get("resets"))
        h, c = _step(inputs[:, :D], *states, kernel, recurrent_kernel, bias, *of_step, **constant)
        return h, [h, c]

    # Keras' loop takes one tensor if its number of steps is open.
    inputs = ops.concatenate([x, *(ops.cast(masks[name], x.dtype)[:, :, None] for name in by_step)], axis=2)
    h_T, h_seq, (_, c_T) = rnn_loop(step, inputs, [h0, c0], input_length=x.shape[1], return_all_outputs=True)
    return h_seq, h_T, c_T


def check_masks(masks, shape, units, resets_of_rows=False):
    """Raises a ValueError for masks, by names, that do not fit x, (B, T, D). With `resets_of_rows` they may be [B]."""
    B, T, D = shape
    expected = {
        "mask": {"[B, T]": (B, T)},
        "resets": {"[B, T]": (B, T), **({"[B]": (B,)} if resets_of_rows else {})},
        "recurrent_mask": {"[B, H]": (B, units), "[4, B, H]": (4, B, units)},
        "input_mask": {"[B, D]": (B, D), "[4, B, D]": (4, B, D)},
    }
    for name, value in masks.items():
        check_shape(name, value, expected[name])


def _check_shapes(tensors):
    x, recurrent_kernel = tensors["x"], tensors["recurrent_kernel"]
    if len(x.shape) != 3:
        raise ValueError(f"`x` must be [B, T, D]. Received: x of shape {tuple(x.shape)}")
    if x.shape[1] == 0:
        raise ValueError(f"`x` must have at least one step. Received: x of shape {tuple(x.shape)}")
    if len(recurrent_kernel.shape) != 2 or recurrent_kernel.shape[1] != 4 * recurrent_kernel.shape[0]:
        raise ValueError(
            f"`recurrent_kernel` must be [H, 4H]. Received: recurrent_kernel of shape {tuple(recurrent_kernel.shape)}"
        )
    B, _, D = x.shape
    H = recurrent_kernel.shape[0]
    state = {"[B, H]": (B, H)}
    expected = {"h0": state, "c0": state, "kernel": {"[D, 4H]": (D, 4 * H)}, "bias": {"[4H]": (4 * H,)}}
    for name, shapes in expected.items():
        check_shape(name, tensors[name], shapes)
    check_one_dtype(tensors)
