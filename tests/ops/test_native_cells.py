"""The native kernels of cells besides the LSTM against float64: values and every gradient, odd shapes, masks."""

import numpy as np
import pytest
import tensorflow as tf

from kerasptb.cells import CELLS
from kerasptb.cells.gru import GRU
from kerasptb.ops.recurrence import recur

# (batch, steps, features, units), beside the widths of vectors and tiles: an odd number of vectors, so that with three
# gates the last panel is half full; more units than have their gates together; few uses of U, which is then read in
# place; and rows of x that repeat.
SHAPES = [
    (5, 4, 17, 17),
    (7, 6, 31, 33),
    (4, 2, 3, 520),
    (1, 1, 1, 1),
    (1, 7, 3, 5),
    (2, 1, 5, 16),
    (3, 5, 4, 15),
    (16, 9, 10, 48),
    (61, 4, 20, 100),
    (1, 3, 6, 300),
    (20, 17, 270, 520),
]
REPEATED = (31, 9, 130, 20)
CELLS_OF = {
    "gru": CELLS["gru"],
    "gru_reset_before": GRU(reset_after=False),
    "cifg": CELLS["cifg"],
    "capped_lstm": CELLS["capped_lstm"],
}
NAMES = tuple(CELLS_OF)
COMPUTED = [(name, precision) for name, cell in CELLS_OF.items() for precision in cell.precisions]
IN_BFLOAT16 = [name for name, cell in CELLS_OF.items() if "bfloat16" in cell.precisions]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gru_step(x, h, kernel, recurrent_kernel, bias, of_x, of_h):
    H = h.shape[1]
    W, U, b = ([array[..., g * H : (g + 1) * H] for g in range(3)] for array in (kernel, recurrent_kernel, bias))
    by_x = [(x * of_x[g]) @ W[g] + b[g][0] for g in range(3)]
    by_h = [(h * of_h[g]) @ U[g] + b[g][1] for g in range(3)]
    z, r = sigmoid(by_x[0] + by_h[0]), sigmoid(by_x[1] + by_h[1])
    return [z * h + (1 - z) * np.tanh(by_x[2] + r * by_h[2])]


def cifg_step(x, h, c, kernel, recurrent_kernel, bias, of_x, of_h):
    H = h.shape[1]
    W, U, b = ([array[..., g * H : (g + 1) * H] for g in range(3)] for array in (kernel, recurrent_kernel, bias))
    f, g, o = ((x * of_x[g]) @ W[g] + (h * of_h[g]) @ U[g] + b[g] for g in range(3))
    c = sigmoid(f) * c + (1 - sigmoid(f)) * np.tanh(g)
    return [sigmoid(o) * np.tanh(c), c]


def capped_lstm_step(x, h, c, kernel, recurrent_kernel, bias, of_x, of_h):
    H = h.shape[1]
    W, U, b = ([array[..., g * H : (g + 1) * H] for g in range(4)] for array in (kernel, recurrent_kernel, bias))
    i, f, g, o = ((x * of_x[g]) @ W[g] + (h * of_h[g]) @ U[g] + b[g] for g in range(4))
    i, f = sigmoid(i), sigmoid(f)
    c = f * c + np.where((1 - f).real < i.real, 1 - f, i) * np.tanh(g)
    return [sigmoid(o) * np.tanh(c), c]


def gru_reset_before_step(x, h, kernel, recurrent_kernel, bias, of_x, of_h):
    H = h.shape[1]
    W, U, b = ([array[..., g * H : (g + 1) * H] for g in range(3)] for array in (kernel, recurrent_kernel, bias))
    by_x = [(x * of_x[g]) @ W[g] + b[g] for g in range(3)]
    z, r = (sigmoid(by_x[g] + (h * of_h[g]) @ U[g]) for g in range(2))
    return [z * h + (1 - z) * np.tanh(by_x[2] + (r * h * of_h[2]) @ U[2])]


STEPS = {
    "gru": gru_step,
    "gru_reset_before": gru_reset_before_step,
    "cifg": cifg_step,
    "capped_lstm": capped_lstm_step,
}


def example(name, shape, seed=0):
    """x, the state's tensors and the weights, and the upstream gradients of the outputs: float32's, as float64."""
    B, T, D, H = shape
    cell, generator = CELLS_OF[name], np.random.default_rng([seed, *shape])

    def normal(*size, stddev=1.0):
        return (generator.standard_normal(size) * stddev).astype(np.float32).astype(np.float64)

    x = normal(B, T, D)
    if shape == REPEATED:
        x = x.reshape(-1, D)[generator.integers(3, size=(B, T))]
    state = [normal(B, H, stddev=0.5) for _ in cell.states]
    kernel, recurrent_kernel, bias = (size for _, size in cell.weight_shapes(D, H).values())
    weights = [normal(*kernel, stddev=D**-0.5), normal(*recurrent_kernel, stddev=H**-0.5), normal(*bias, stddev=0.3)]
    return [x, *state, *weights], [normal(B, T, H), *(normal(B, H) for _ in state)]


def masks_for(name, shape, names):
    """Masks by their names, one for each gate where a name ends in G."""
    (B, T, D, H), G = shape, len(CELLS_OF[name].gates)
    generator = np.random.default_rng([len(names), *shape])
    masks = {
        "mask": generator.random((B, T)) < 0.7,
        "resets": generator.random((B, T)) < 0.3,
        "recurrent_mask": 2.0 * (generator.random((B, H)) < 0.5),
        "input_mask": np.where(generator.random((B, D)) < 0.5, 0.5, 2.0),
        "recurrent_maskG": 2.0 * (generator.random((G, B, H)) < 0.5),
        "input_maskG": np.where(generator.random((G, B, D)) < 0.5, 0.5, 2.0),
    }
    return {key.rstrip("G"): masks[key] for key in names}


MASKS = [
    ("mask",),
    ("resets",),
    ("recurrent_mask",),
    ("mask", "resets", "recurrent_mask", "input_mask"),
    ("recurrent_maskG",),
    ("input_maskG",),
    ("mask", "resets", "recurrent_maskG", "input_maskG"),
    ("resets", "recurrent_mask", "input_maskG"),
]


def by_numpy(name, inputs, mask=None, resets=None, recurrent_mask=None, input_mask=None):
    """h_seq and the state after, of real or complex numbers."""
    cell, G = CELLS_OF[name], len(CELLS_OF[name].gates)
    x, *rest = inputs
    state, weights = rest[: len(cell.states)], rest[len(cell.states) :]
    of_x, of_h = ([1] * G if m is None else m if m.ndim == 3 else [m] * G for m in (input_mask, recurrent_mask))
    h_seq = []
    for t in range(x.shape[1]):
        if resets is not None:
            state = [np.where(resets[:, t, None], 0, tensor) for tensor in state]
        after = STEPS[name](x[:, t], *state, *weights, of_x, of_h)
        state = (
            after if mask is None else [np.where(mask[:, t, None], *pair) for pair in zip(after, state, strict=True)]
        )
        h_seq.append(state[0])
    return [np.stack(h_seq, axis=1), *state]


def values_and_gradients(
    name, shape, dtype="float32", backend="native", masks=None, wrap=lambda function: function, precision="float32"
):
    """The outputs, and the gradients of sum(outputs * upstream): lists of arrays in the order of results and inputs."""
    inputs, upstream = ([tf.constant(a, dtype) for a in arrays] for arrays in example(name, shape))
    masks = {key: tf.constant(m, tf.bool if m.dtype == bool else dtype) for key, m in (masks or {}).items()}
    cell = CELLS_OF[name]

    @wrap
    def run(*inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            x, *rest = inputs
            state, weights = rest[: len(cell.states)], rest[len(cell.states) :]
            outputs = recur(cell, x, state, weights, backend, precision, **masks)
            total = tf.add_n([tf.reduce_sum(a * b) for a, b in zip(outputs, upstream, strict=True)])
        return list(outputs), tape.gradient(total, inputs)

    return [[tensor.numpy().astype(np.float64) for tensor in tensors] for tensors in run(*inputs)]


def largest_error(found, exact):
    return np.max(np.abs(found - exact)) / (np.max(np.abs(exact)) or 1.0)


def assert_exact(name, shape, found, masks=None):
    """Values are those of NumPy in float64; gradients are no worse than twice those of plain operations in float32."""
    inputs, _ = example(name, shape)
    for value, exact in zip(found[0], by_numpy(name, inputs, **(masks or {})), strict=True):
        assert largest_error(value, exact) <= 2e-6
    exact, plain = (values_and_gradients(name, shape, dtype, "reference", masks)[1] for dtype in ("float64", "float32"))
    for i, (gradient, *others) in enumerate(zip(found[1], exact, plain, strict=True)):
        assert gradient.shape == others[0].shape
        assert largest_error(gradient, others[0]) <= max(2 * largest_error(others[1], others[0]), 32 * 2.0**-24), i


@pytest.mark.parametrize("name", NAMES)  # of the first shapes all names: the first cases
@pytest.mark.parametrize("shape", [REPEATED, *SHAPES], ids=str)
@pytest.mark.fast_cases(12)
def test_values_and_gradients(native_library, name, shape):
    assert_exact(name, shape, values_and_gradients(name, shape))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(5, 4, 17, 17), (1, 3, 2, 15), (20, 8, 6, 33), (3, 2, 4, 520)], ids=str)
@pytest.mark.fast_cases(3)
def test_masks(native_library, name, shape):
    for names in MASKS:
        masks = masks_for(name, shape, names)
        assert_exact(name, shape, values_and_gradients(name, shape, masks=masks), masks)


# As in test_bfloat16.py, of larger weights.
BOUNDS = {"bfloat16": 2e-2, "bfloat16x3": 4e-5}


def assert_close_in_norm(name, shape, precision, masks=None):
    found = values_and_gradients(name, shape, masks=masks, precision=precision)
    exact = values_and_gradients(name, shape, "float64", "reference", masks)
    for arrays in zip(found, exact, strict=True):
        for i, (array, wanted) in enumerate(zip(*arrays, strict=True)):
            assert array.shape == wanted.shape
            # Rounded, a gate may come to the other side of its cap, where its gradient jumps.
            bound = BOUNDS[precision] * (3 if wanted.size < 8 or name == "capped_lstm" else 1)
            assert np.linalg.norm(array - wanted) <= bound * np.linalg.norm(wanted), i


@pytest.fixture
def processor_with_bfloat16(skip_without):
    skip_without("bfloat16")


# Below, at and past multiples of 16 and 32; more rows than are summed at once; x W ahead of the recurrence, with AMX.
BFLOAT16_SHAPES = [
    (17, 5, 40, 96),
    (2, 3, 5, 7),
    (40, 60, 20, 16),
    (1, 1, 1, 1),
    (16, 4, 40, 32),
    (33, 3, 31, 33),
    (20, 3, 256, 256),
    (3, 4, 32, 650),
]


@pytest.mark.parametrize("precision", BOUNDS)
@pytest.mark.parametrize("name", IN_BFLOAT16)
@pytest.mark.parametrize("shape", BFLOAT16_SHAPES, ids=str)
@pytest.mark.fast_cases(12)
def test_bfloat16(processor_with_bfloat16, name, shape, precision):
    assert_close_in_norm(name, shape, precision)


@pytest.mark.parametrize("precision", BOUNDS)
@pytest.mark.parametrize("name", IN_BFLOAT16)
@pytest.mark.parametrize("shape", [(17, 5, 40, 96), (2, 3, 5, 7), (33, 3, 31, 33)], ids=str)
@pytest.mark.fast_cases(4)
def test_bfloat16_masks(processor_with_bfloat16, name, shape, precision):
    for names in MASKS:
        assert_close_in_norm(name, shape, precision, masks_for(name, shape, names))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("names", [MASKS[-2], (), *MASKS[:-2], MASKS[-1]], ids=" ".join)
@pytest.mark.fast_cases(6)
def test_gradients_are_those_of_numpy(native_library, name, names):
    """Of complex steps: f(x + i e v) has the derivative along v in its imaginary part, without any difference."""
    shape, generator = (5, 6, 7, 19), np.random.default_rng(0)
    masks = masks_for(name, shape, names)
    inputs, upstream = example(name, shape)
    _, gradients = values_and_gradients(name, shape, masks=masks)
    for i, gradient in enumerate(gradients):
        for _ in range(3):
            direction = generator.standard_normal(gradient.shape)
            moved = [a + 1e-30j * direction if j == i else a for j, a in enumerate(inputs)]
            outputs = by_numpy(name, moved, **masks)
            exact = sum(np.sum(a.imag * b) for a, b in zip(outputs, upstream, strict=True)) / 1e-30
            assert np.sum(gradient * direction) == pytest.approx(exact, rel=1e-5, abs=1e-4)


@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "jit"])
@pytest.mark.parametrize("name", NAMES)
def test_compiled_functions_give_the_same_bits(native_library, name, jit_compile):
    shape = (5, 4, 17, 17)
    found = values_and_gradients(name, shape, wrap=lambda function: tf.function(function, jit_compile=jit_compile))
    for arrays in zip(found, values_and_gradients(name, shape), strict=True):
        for array, expected in zip(*arrays, strict=True):
            np.testing.assert_allclose(array, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("shape", [(7, 6, 31, 33), (3, 2, 4, 15), REPEATED], ids=str)
@pytest.mark.parametrize(("name", "precision"), COMPUTED)
def test_without_a_tape_the_bits_are_the_same(skip_without, name, shape, precision):
    skip_without(precision)
    inputs = [tf.constant(a, "float32") for a in example(name, shape)[0]]
    states = len(CELLS_OF[name].states)
    values = recur(CELLS_OF[name], inputs[0], inputs[1 : 1 + states], inputs[1 + states :], "native", precision)
    for value, kept in zip(values, values_and_gradients(name, shape, precision=precision)[0], strict=True):
        np.testing.assert_array_equal(value, kept)


@pytest.mark.parametrize(("name", "precision"), COMPUTED)
@pytest.mark.parametrize("masked", [True, False], ids=["masked", "whole"])
@pytest.mark.fast_cases(9)
def test_batch_and_steps_unknown_until_run(skip_without, name, masked, precision):
    skip_without(precision)
    inputs = [tf.constant(a, "float32") for a in example(name, (5, 3, 4, 6))[0]]
    states = len(CELLS_OF[name].states)

    def gradients(*inputs):
        masks = {"mask": inputs[0][:, :, 0] > -0.5, "resets": inputs[0][:, :, 1] > 0.5} if masked else {}
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            state, weights = inputs[1 : 1 + states], inputs[1 + states :]
            outputs = recur(CELLS_OF[name], inputs[0], state, weights, "native", precision, **masks)
            total = tf.add_n([tf.reduce_sum(a**2) for a in outputs])
        return tape.gradient(total, inputs)

    signature = [tf.TensorSpec((None, *a.shape[1:]) if i <= states else a.shape) for i, a in enumerate(inputs)]
    signature[0] = tf.TensorSpec((None, None, 4))
    function = tf.function(gradients, input_signature=signature)
    for batch, steps in ((5, 3), (2, 3), (5, 1), (0, 2)):
        some = [inputs[0][:batch, :steps], *(a[:batch] if i < states else a for i, a in enumerate(inputs[1:]))]
        found = function(*some)
        if batch == 0:
            assert not any(np.any(gradient) for gradient in found)
            continue
        for gradient, expected in zip(found, gradients(*some), strict=True):
            np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_nan_stays_in_its_row_and_before_its_reset(native_library, name):
    inputs = [a.astype("float32") for a in example(name, (2, 4, 3, 5))[0]]
    inputs[0][0, 1, 0] = np.nan
    states = len(CELLS_OF[name].states)
    resets = np.arange(4) == np.full((2, 1), 3)
    h_seq = recur(CELLS_OF[name], inputs[0], inputs[1 : 1 + states], inputs[1 + states :], "native", resets=resets)[0]
    assert np.isnan(h_seq[0, 1:3]).all()
    assert np.isfinite(h_seq[0, 0]).all()
    assert np.isfinite(h_seq[0, 3]).all()
    assert np.isfinite(h_seq[1]).all()


def test_keras_gru_computes_the_same(native_library):
    import keras

    x, h0, *weights = (a.astype("float32") for a in example("gru", (6, 9, 4, 20))[0])
    layer = keras.layers.GRU(20, return_sequences=True)
    layer.build(x.shape)
    layer.set_weights(weights)
    expected = layer(x, initial_state=tf.constant(h0))
    h_seq, h_T = recur(CELLS["gru"], x, [h0], weights, "native")
    np.testing.assert_allclose(h_seq, expected, atol=1e-6)
    np.testing.assert_array_equal(h_T, h_seq[:, -1])
