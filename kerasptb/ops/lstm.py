"""The recurrence of an LSTM layer, by several backends behind one signature.

    i, f, o = sigmoid, g = tanh, of x[t] W + h[t-1] U + b        (gates in Keras' order i, f, g, o)
    c[t] = f c[t-1] + i g
    h[t] = o tanh(c[t])

S. Hochreiter, J. Schmidhuber: Long Short-Term Memory, 1997; with the forget gate of F. Gers, 2000.
"""

import keras
from keras import ops

from kerasptb.compat.keras import lstm_loop, rnn_loop
from kerasptb.ops import platform as platforms
from kerasptb.ops.plan import choose
from kerasptb.ops.tensors import as_tensor, do_not_convert


@do_not_convert
def lstm(x, h0, c0, kernel, recurrent_kernel, bias, backend="auto", precision="float32"):
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
    shape = (batch, *tensors[0].shape[1:])
    return run(plan(shape, tensors[4].shape[0], dtype, backend=backend, precision=precision), *tensors)


def plan(shape, units, dtype="float32", *, backend="auto", precision="float32", platform=None):
    """Returns the `Plan` of a call of `lstm`; raises as `lstm` does if a named backend cannot serve it.

    Args:
        shape: (B, T, D) of x, with None for sizes that are not known; `None` if all of them will be.
        units: number of units H.
        dtype: name of the tensors' dtype.
        backend: as in `lstm`, like `precision`.
        precision: of the products.
        platform: a `Platform`; `None` for this process's.
    """
    platform = platform or platforms.this_process()
    return choose(backend, precision, keras_only(shape, units, backend, precision, platform, dtype), platform)


def keras_only(shape, units, backend="auto", precision="float32", platform=None, dtype="float32"):
    """Returns one line on why only Keras' loop can serve a call, or None; arguments as in `plan`."""
    if backend == "keras":
        return None
    platform = platform or platforms.this_process()
    # While Keras builds a model on JAX, an unknown size is a symbolic expression.
    known = [isinstance(size, int) and size > 0 for size in shape or (1, 1, 1)]
    if backend == "reference":
        steps = f"The reference backend needs a static number of steps. Received: x of shape {shape}."
        return None if known[1] else steps
    if dtype != "float32":
        return f"The native backend takes float32. Received: dtype={dtype}."
    if precision == "float32" or platform.gpu:
        known[0] = known[0] or shape[0] is None
    if not all(known):
        return f"The native backend needs static shapes without zeros. Received: shape={shape}."
    # Sizes that fit in float32 also fit in bfloat16 on every GPU, so the driver need not be asked.
    if platform.gpu and platform.why_not_native(precision) is None and units > platform.max_units("float32"):
        most = platform.max_units(precision)
        wide = f"The native backend takes at most {most} units in {precision} on this GPU. Received: units={units}."
        return wide if units > most else None
    return None


def run(plan, *tensors):
    """Runs an LSTM as planned, on the tensors of `lstm`."""
    if plan.implementation == "reference":
        return _reference(*tensors)
    if plan.implementation == "keras":
        return _keras(*tensors)
    from kerasptb.ops.native import lstm as native  # noqa: PLC0415  (needs TensorFlow or JAX)

    return native.lstm(*tensors, precision=plan.precision, on_gpu=bool(platforms.visible_gpus()))


def _reference(x, h, c, kernel, recurrent_kernel, bias):
    outputs = []
    for t in range(x.shape[1]):
        h, c = _step(x[:, t], h, c, kernel, recurrent_kernel, bias)
        outputs.append(h)
    return ops.stack(outputs, axis=1), h, c


def _step(x_t, h, c, kernel, recurrent_kernel, bias):
    z = ops.matmul(x_t, kernel) + ops.matmul(h, recurrent_kernel) + bias
    i, f, g, o = ops.split(z, 4, axis=1)
    c = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(g)
    return ops.sigmoid(o) * ops.tanh(c), c


def _keras(x, h0, c0, kernel, recurrent_kernel, bias):
    """Runs the loop of `keras.layers.LSTM`."""
    try:
        h_T, h_seq, (_, c_T) = lstm_loop(
            x,
            h0,
            c0,
            None,
            kernel=kernel,
            recurrent_kernel=recurrent_kernel,
            bias=bias,
            activation=keras.activations.tanh,
            recurrent_activation=keras.activations.sigmoid,
            return_sequences=True,
        )
        return h_seq, h_T, c_T
    except NotImplementedError:  # Keras raises this where cuDNN cannot be used
        pass

    def step(x_t, states):
        h, c = _step(x_t, *states, kernel, recurrent_kernel, bias)
        return h, [h, c]

    h_T, h_seq, (_, c_T) = rnn_loop(step, x, [h0, c0], input_length=x.shape[1], return_all_outputs=True)
    return h_seq, h_T, c_T


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
    expected = {
        "h0": ("[B, H]", (B, H)),
        "c0": ("[B, H]", (B, H)),
        "kernel": ("[D, 4H]", (D, 4 * H)),
        "bias": ("[4H]", (4 * H,)),
    }
    for name, (letters, shape) in expected.items():
        found = tuple(tensors[name].shape)
        if len(found) != len(shape) or any(a != b for a, b in zip(found, shape, strict=True) if None not in (a, b)):
            raise ValueError(f"`{name}` must be {letters}, here {shape}. Received: {name} of shape {found}")
    dtypes = {name: keras.backend.standardize_dtype(tensor.dtype) for name, tensor in tensors.items()}
    if len(set(dtypes.values())) > 1:
        raise ValueError(f"All tensors must have one dtype. Received: {dtypes}")
