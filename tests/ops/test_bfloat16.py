"""The operations in bfloat16 and bfloat16x3: every value and gradient against float64, over odd shapes.

Errors are norms: |error| / |exact|. Rounding an operand to bfloat16 errs by 2^-9 at most, 0.1 % in the mean; what two
parts leave over is 2^-17. Both grow over an LSTM's steps, hence the bounds below: 1 % and 2e-5.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from kerasptb.ops import linear_cross_entropy, lstm

BOUNDS = {"bfloat16": 1e-2, "bfloat16x3": 2e-5}
# B, T, D, H: below, at and past multiples of 16 and 32 in each; a row of one; a row size of a multiple of 512 (spread
# out by the kernel); more rows (B T) than are summed at once.
LSTM_SHAPES = [
    (1, 1, 1, 1),
    (2, 3, 5, 7),
    (1, 20, 33, 64),
    (16, 4, 40, 32),
    (17, 5, 40, 96),
    (33, 3, 31, 33),
    (60, 4, 200, 256),
    (20, 3, 256, 256),
    (100, 2, 64, 160),
    (3, 4, 32, 650),
    (40, 60, 20, 16),
]
# N, D, V: likewise; the last two take more than one chunk of rows. The first two, and in bfloat16x3 the next two, have
# so few words that they use float32's products.
LOSS_SHAPES = [
    (1, 1, 2),
    (7, 100, 1000),
    (17, 1, 2),
    (33, 31, 129),
    (40, 3, 2),
    (64, 32, 128),
    (60, 512, 300),
    (2100, 65, 260),
    (3000, 128, 300),
]


@pytest.fixture(autouse=True)
def processor_with_bfloat16(skip_without):
    skip_without("bfloat16")


def error(value, exact):
    value, exact = np.asarray(value, "float64"), np.asarray(exact, "float64")
    assert value.shape == exact.shape
    return np.linalg.norm(value - exact) / max(np.linalg.norm(exact), 1e-12)


def bound(precision, exact):
    """Returns the bound; a tensor of few numbers gets more, as all of them may be differences of larger numbers."""
    return BOUNDS[precision] * (3 if np.size(exact) < 8 else 1)


def lstm_inputs(B, T, D, H, seed=0):
    generator = np.random.default_rng(seed)
    weights = [generator.uniform(-0.1, 0.1, shape) for shape in ((D, 4 * H), (H, 4 * H), (4 * H,))]
    inputs = [generator.normal(size=(B, T, D)), generator.uniform(-1, 1, (B, H)), generator.normal(size=(B, H))]
    upstream = [generator.normal(size=shape) for shape in ((B, T, H), (B, H), (B, H))]
    return [x.astype("float32") for x in inputs + weights], [x.astype("float32") for x in upstream]


def lstm_values_and_gradients(arrays, upstream, dtype="float32", **options):
    """h_seq, h_T, c_T, then the gradients in x, h0, c0, kernel, recurrent_kernel and bias."""
    tensors = [tf.constant(x, dtype) for x in arrays]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        outputs = lstm(*tensors, **options)
    return [*outputs, *tape.gradient(outputs, tensors, output_gradients=[tf.constant(x, dtype) for x in upstream])]


def loss_inputs(N, D, V, seed=0):
    generator = np.random.default_rng(seed)
    arrays = [generator.normal(size=(N, D)), generator.uniform(-0.3, 0.3, (D, V)), generator.uniform(-0.3, 0.3, V)]
    targets, upstream = generator.integers(0, V, N), generator.normal(size=N)
    return [x.astype("float32") for x in arrays], targets.astype("int32"), upstream.astype("float32")


def loss_and_gradients(arrays, targets, upstream, dtype="float32", **options):
    tensors = [tf.constant(x, dtype) for x in arrays]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        loss = linear_cross_entropy(*tensors, targets, **options)
    return [loss, *tape.gradient(loss, tensors, output_gradients=tf.constant(upstream, dtype))]


@pytest.mark.parametrize("precision", BOUNDS)
@pytest.mark.parametrize("shape", LSTM_SHAPES)
def test_lstm_values_and_all_gradients(shape, precision):
    arrays, upstream = lstm_inputs(*shape)
    exact = lstm_values_and_gradients(arrays, upstream, "float64", backend="reference")
    values = lstm_values_and_gradients(arrays, upstream, backend="native", precision=precision)
    names = ("h_seq", "h_T", "c_T", "x", "h0", "c0", "kernel", "recurrent_kernel", "bias")
    for name, value, wanted in zip(names, values, exact, strict=True):
        assert error(value, wanted) < bound(precision, wanted), name


@pytest.mark.parametrize("precision", BOUNDS)
@pytest.mark.parametrize(
    ("shape", "names"),
    [
        ((17, 5, 40, 96), ["mask"]),
        ((17, 5, 40, 96), ["resets"]),
        ((17, 5, 40, 96), ["recurrent_mask"]),
        ((2, 3, 5, 7), ["mask", "resets", "recurrent_mask"]),
        ((33, 3, 31, 33), ["mask", "resets", "recurrent_mask"]),
        ((17, 5, 40, 96), ["recurrent_mask4"]),
        ((33, 3, 31, 40), ["input_mask4"]),
        ((2, 3, 5, 7), ["mask", "resets", "recurrent_mask4", "input_mask4"]),
        ((60, 4, 200, 130), ["mask", "recurrent_mask4", "input_mask4"]),
        ((16, 3, 40, 33), ["resets", "recurrent_mask", "input_mask4"]),
    ],
)
def test_lstm_with_masks(shape, names, precision):
    arrays, upstream = lstm_inputs(*shape)
    (B, T, D, H), generator = shape, np.random.default_rng(0)
    shapes = {
        "recurrent_mask": (B, H),
        "recurrent_mask4": (4, B, H),
        "input_mask4": (4, B, D),
    }
    factors = {name: 2 * (generator.random(shapes[name]) < 0.5) for name in names if name in shapes}
    by_step = {"mask": generator.random((B, T)) < 0.7, "resets": generator.random((B, T)) < 0.3}
    by_step = {name: by_step[name] for name in names if name in by_step}

    def values_and_gradients(dtype, **options):
        constant = {name.rstrip("4"): mask.astype(dtype) for name, mask in factors.items()}
        return lstm_values_and_gradients(arrays, upstream, dtype, **by_step, **constant, **options)

    exact = values_and_gradients("float64", backend="reference")
    values = values_and_gradients("float32", backend="native", precision=precision)
    for value, wanted in zip(values, exact, strict=True):
        assert error(value, wanted) < bound(precision, wanted)


@pytest.mark.parametrize("precision", BOUNDS)
def test_lstm_of_an_open_batch_and_number_of_steps(precision):
    arrays, upstream = lstm_inputs(17, 5, 40, 96)
    weights = [tf.constant(a) for a in arrays[3:]]
    open_sizes = [tf.TensorSpec((None, *[None] * (i == 0), a.shape[-1])) for i, a in enumerate(arrays[:3])]

    @tf.function(input_signature=[*open_sizes, tf.TensorSpec((None, None, 96)), *open_sizes[1:]])
    def run(x, h0, c0, *upstream):
        with tf.GradientTape() as tape:
            tape.watch([x, h0, c0])
            outputs = lstm(x, h0, c0, *weights, backend="native", precision=precision)
        return [*outputs, *tape.gradient(outputs, [x, h0, c0], output_gradients=upstream)]

    for B, T in ((17, 5), (3, 5), (17, 2)):
        inputs = [arrays[0][:B, :T], *(a[:B] for a in arrays[1:3])]
        gradients = [upstream[0][:B, :T], *(a[:B] for a in upstream[1:])]
        options = {"backend": "native", "precision": precision}
        expected = lstm_values_and_gradients([*inputs, *arrays[3:]], gradients, **options)
        for value, wanted in zip(run(*inputs, *gradients), expected[:6], strict=True):
            np.testing.assert_array_equal(value, wanted)
    assert run(*(a[:0] for a in inputs), *(a[:0] for a in gradients))[0].shape == (0, 2, 96)


@pytest.mark.parametrize("precision", BOUNDS)
@pytest.mark.parametrize("shape", LOSS_SHAPES)
def test_loss_per_word_and_gradients_with_any_upstream(shape, precision):
    arrays, targets, upstream = loss_inputs(*shape)
    exact = loss_and_gradients(arrays, targets, upstream, "float64", backend="reference")
    values = loss_and_gradients(arrays, targets, upstream, backend="native", precision=precision)
    for name, value, wanted in zip(("loss", "h", "kernel", "bias"), values, exact, strict=True):
        assert error(value, wanted) < bound(precision, wanted), name


@pytest.mark.parametrize("precision", BOUNDS)
@pytest.mark.parametrize("shape", LOSS_SHAPES)
def test_a_transposed_kernel_gives_the_same(shape, precision):
    (h, kernel, bias), targets, upstream = loss_inputs(*shape)
    options = {"backend": "native", "precision": precision}
    loss, dh, d_kernel, d_bias = loss_and_gradients((h, kernel, bias), targets, upstream, **options)
    found = loss_and_gradients((h, kernel.T, bias), targets, upstream, transpose_kernel=True, **options)
    # Few words use float32's products, whose sums have another order.
    in_float32 = shape[0] <= (16 if precision == "bfloat16" else 39)
    for value, wanted in zip((found[0], found[1], found[3]), (loss, dh, d_bias), strict=True):
        np.testing.assert_allclose(value, wanted, rtol=0, atol=2e-6 * np.abs(wanted).max() if in_float32 else 0)
    # Over several chunks of rows the sums are added in another order.
    np.testing.assert_allclose(found[2], tf.transpose(d_kernel), rtol=0, atol=1e-5 * np.abs(d_kernel).max())


@pytest.mark.parametrize("precision", BOUNDS)
def test_summed_loss_has_the_gradients_of_the_loss_per_word(precision):
    arrays, targets, _ = loss_inputs(50, 40, 300)
    options = {"backend": "native", "precision": precision, "scale": 0.25}
    # Powers of two, so that scaling before or after the products rounds alike.
    loss, *gradients = loss_and_gradients(arrays, targets, 2.0, reduction="sum", **options)
    losses, *wanted = loss_and_gradients(arrays, targets, np.full(50, 2.0), **options)
    np.testing.assert_allclose(loss, np.sum(losses), rtol=1e-6)
    for value, expected in zip(gradients, wanted, strict=True):
        np.testing.assert_array_equal(value, expected)


@pytest.mark.parametrize("precision", BOUNDS)
def test_one_word_of_one_has_no_loss_and_no_gradient(precision):
    arrays, targets, upstream = loss_inputs(1, 1, 1)
    for value in loss_and_gradients(arrays, targets, upstream, backend="native", precision=precision):
        np.testing.assert_allclose(value, np.zeros_like(value), atol=1e-5)


@pytest.mark.parametrize("precision", BOUNDS)
def test_logits_of_ten_thousand_stay_finite_and_right(precision):
    h = np.array([[8192], [-8192], [8192]], "float32")  # a power of two, exact in bfloat16
    kernel, bias = np.array([[1.0, -1.0, 0.5]], "float32"), np.zeros(3, "float32")
    targets, upstream = np.array([0, 0, 1]), np.ones(3, "float32")
    loss, dh, d_kernel, d_bias = loss_and_gradients(
        (h, kernel, bias), targets, upstream, backend="native", precision=precision
    )
    tolerance = 2 * BOUNDS[precision]
    np.testing.assert_allclose(loss, [0.0, 16384, 16384], rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(dh, [[0.0], [-2.0], [2.0]], rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(d_kernel, [[16384, -16384, 0.0]], rtol=tolerance, atol=8192 * tolerance)
    np.testing.assert_allclose(d_bias, [0.0, 0.0, 0.0], atol=tolerance)


@pytest.mark.parametrize("precision", BOUNDS)
def test_gradients_of_words_that_are_all_but_certain(precision):
    """The target's dz, softmax - 1, is a hundredth: rounding the softmax to bfloat16 would leave little of it."""
    generator = np.random.default_rng(3)
    targets = generator.integers(0, 300, 70).astype("int32")
    # Exact in bfloat16: one column of W a word, along which the rows of h with that target point.
    kernel = generator.choice([-0.5, 0.5], (48, 300)).astype("float32")
    arrays, upstream = (kernel.T[targets], kernel, np.zeros(300, "float32")), np.ones(70, "float32")
    exact = loss_and_gradients(arrays, targets, upstream, "float64", backend="reference")
    values = loss_and_gradients(arrays, targets, upstream, backend="native", precision=precision)
    assert 2e-3 < np.mean(exact[0]) < 2e-2
    # float32 itself errs by 1e-4 in softmax - 1. Rounding W times log2(e) to bfloat16 moves the logits, too.
    for name, value, wanted in zip(("h", "kernel", "bias"), values[1:], exact[1:], strict=True):
        assert error(value, wanted) < {"bfloat16": 3e-2, "bfloat16x3": 5e-4}[precision], name


@pytest.mark.parametrize("precision", BOUNDS)
@pytest.mark.parametrize("order", ["rising", "falling", "two peaks"])
def test_the_largest_logit_may_be_anywhere(order, precision):
    """Logits span thousands: terms that were summed before a larger logit came must vanish, also in the gradients."""
    (h, kernel, _), targets, upstream = loss_inputs(70, 16, 1010)
    slope = np.linspace(0, 5000, 1010)
    bias = {"rising": slope, "falling": slope[::-1], "two peaks": np.abs(slope - 2500)}[order].astype("float32")
    exact = loss_and_gradients((h, kernel, bias), targets, upstream, "float64", backend="reference")
    values = loss_and_gradients((h, kernel, bias), targets, upstream, backend="native", precision=precision)
    assert np.max(exact[0]) > 2000
    np.testing.assert_allclose(values[0], exact[0], rtol=1e-6, atol={"bfloat16": 5e-2, "bfloat16x3": 1e-3}[precision])
    # Rounding a logit of hundreds, or of h W, moves the softmax between neighbours in the vocabulary.
    for name, value, wanted in zip(("loss", "h", "kernel", "bias"), values, exact, strict=True):
        assert error(value, wanted) < {"bfloat16": 2e-2, "bfloat16x3": 5e-4}[precision], name


@pytest.mark.parametrize("precision", BOUNDS)
def test_loss_over_a_large_vocabulary_keeps_its_digits(precision):
    (h, kernel, bias), targets, _ = loss_inputs(40, 1, 60000)
    h = np.zeros_like(h)  # no products, so what remains is what exponentials and their sums lose
    exact = linear_cross_entropy(*(tf.constant(x, "float64") for x in (h, kernel, bias)), targets, backend="reference")
    loss = linear_cross_entropy(h, kernel, bias, targets, backend="native", precision=precision)
    np.testing.assert_allclose(loss, exact, rtol=0, atol=1e-5)


@pytest.mark.parametrize("precision", BOUNDS)
def test_minus_infinity_excludes_words(precision):
    (h, kernel, bias), targets, upstream = loss_inputs(40, 5, 300)
    bias[:140] = bias[-1] = -np.inf
    targets = targets % 159 + 140
    exact = loss_and_gradients((h, kernel, bias), targets, upstream, "float64", backend="reference")
    values = loss_and_gradients((h, kernel, bias), targets, upstream, backend="native", precision=precision)
    for name, value, wanted in zip(("loss", "h", "kernel", "bias"), values, exact, strict=True):
        assert error(value, wanted) < BOUNDS[precision], name
    np.testing.assert_array_equal(values[2][:, :140], 0)
    np.testing.assert_array_equal(values[3][:140], 0)


@pytest.mark.parametrize("precision", BOUNDS)
def test_logits_that_are_all_very_low(precision):
    h, kernel, _ = loss_inputs(3, 2, 300)[0]
    bias = np.full(300, -1e30, "float32")  # what a mask adds
    loss = linear_cross_entropy(h, kernel, bias, [0, 7, 299], backend="native", precision=precision)
    np.testing.assert_allclose(loss, np.log(300), rtol=1e-5)


@pytest.mark.parametrize("precision", BOUNDS)
def test_gates_that_are_nearly_open_keep_their_gradient(precision):
    arrays, upstream = lstm_inputs(32, 20, 64, 64)
    arrays[5][64:128] = 7.0  # the forget gate's bias: 1 - f is some 0.001
    exact = lstm_values_and_gradients(arrays, upstream, "float64", backend="reference")
    values = lstm_values_and_gradients(arrays, upstream, backend="native", precision=precision)
    for value, wanted in zip(values[6:], exact[6:], strict=True):
        # Kept in bfloat16, whose steps are 1/256 there, the gates would have no gradient: an error of 1.
        assert error(value[..., 64:128], wanted[..., 64:128]) < {"bfloat16": 2e-2, "bfloat16x3": 2e-4}[precision]


@pytest.mark.parametrize("precision", BOUNDS)
@pytest.mark.parametrize("gate", range(4))
def test_a_gate_that_is_no_number_has_no_gradient_that_is_one(precision, gate):
    arrays, upstream = lstm_inputs(3, 1, 5, 40)
    arrays[5][gate * 40 + 7] = np.nan
    upstream[0][:] = upstream[1][:] = 0  # only c_T counts, which a NaN output gate leaves a number
    found = lstm_values_and_gradients(arrays, upstream, backend="native", precision=precision)
    expected = lstm_values_and_gradients(arrays, upstream, backend="reference")
    assert np.isnan(expected[-1]).any()
    for value, wanted in zip(found, expected, strict=True):
        np.testing.assert_array_equal(np.isnan(value), np.isnan(wanted))


@pytest.mark.parametrize("units", [64, 70])
def test_an_infinite_input_spoils_no_other_gradient(units):
    arrays, upstream = lstm_inputs(3, 4, 5, units)
    arrays[0][1, 2, 0] = np.inf
    found = lstm_values_and_gradients(arrays, upstream, backend="native", precision="bfloat16")
    expected = lstm_values_and_gradients(arrays, upstream, backend="reference")
    spoiled = [np.flatnonzero(~np.isfinite(value)) for value in expected]
    assert sum(map(len, spoiled)) == 4 * units  # all in dW, in the row of the feature
    for value, wanted in zip(found, spoiled, strict=True):
        np.testing.assert_array_equal(np.flatnonzero(~np.isfinite(value)), wanted)


@pytest.mark.parametrize("units", [32, 40])
def test_an_infinite_input_saturates_its_gates_and_nothing_else(units):
    arrays, _ = lstm_inputs(3, 4, 5, units)
    arrays[0][0, 1, 3] = np.inf
    h_seq, _, c_T = (np.asarray(x) for x in lstm(*arrays, backend="native", precision="bfloat16"))
    expected, _, expected_c = (np.asarray(x) for x in lstm(*arrays, backend="reference"))
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(h_seq, expected, atol=0.02)
    np.testing.assert_allclose(c_T, expected_c, atol=0.02)


@pytest.mark.parametrize("precision", BOUNDS)
def test_nan_is_passed_on_in_its_row(precision):
    (h, kernel, bias), targets, upstream = loss_inputs(70, 5, 300)
    h[17, 2] = np.nan
    values = loss_and_gradients((h, kernel, bias), targets, upstream, backend="native", precision=precision)
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(values[0])), [17])
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(values[1]).any(axis=1)), [17])


@pytest.mark.parametrize("precision", BOUNDS)
@pytest.mark.parametrize("invalid", [-1, 10])
def test_targets_outside_the_vocabulary_are_an_error_that_names_them(precision, invalid):
    arrays, targets, _ = loss_inputs(5, 3, 10)
    targets[3] = invalid
    with pytest.raises(ValueError, match=rf"in \[0, 10\).*{invalid}"):
        linear_cross_entropy(*arrays, targets, precision=precision)


@pytest.mark.parametrize("target", ["loss_and_gradients_bfloat16", "loss_bfloat16x3"])
@pytest.mark.parametrize("invalid", [-1, 10, -(2**31), 2**31 - 1])
def test_handlers_check_targets_themselves(target, invalid):
    from kerasptb.ops import calls

    arrays, targets, upstream = loss_inputs(5, 3, 10)
    targets[3] = invalid
    arguments = [tf.constant(x) for x in (*arrays, targets)]
    outputs = [(5,)]
    if "gradients" in target:
        arguments.append(tf.constant(upstream))
        outputs += [(5, 3), (3, 10), (10,)]
    with pytest.raises(tf.errors.InvalidArgumentError, match=rf"in \[0, 10\).*{invalid}"):
        calls.call(
            f"kerasptb_linear_cross_entropy_{target}", arguments, outputs, attributes={"transpose_kernel": False}
        )


def test_handlers_refuse_shapes_that_do_not_fit():
    from kerasptb.ops import calls

    arrays, targets, upstream = loss_inputs(5, 3, 10)
    arguments = [tf.constant(x) for x in (*arrays, targets, upstream)]
    with pytest.raises(tf.errors.InvalidArgumentError, match="shapes"):
        calls.call(
            "kerasptb_linear_cross_entropy_loss_and_gradients_bfloat16",
            arguments,
            [(5,), (5, 3), (3, 11), (10,)],
            attributes={"transpose_kernel": False},
        )
    arrays, _ = lstm_inputs(2, 3, 5, 7)
    x, h0, c0, *weights = [tf.constant(x) for x in arrays]
    outputs = [(2, 3, 7), (2, 7), (2, 7), ((1, 40, 64), "bfloat16"), ((3, 2, 127), "int16"), (4, 2, 32)]
    with pytest.raises(tf.errors.InvalidArgumentError, match="shapes"):
        calls.call("kerasptb_lstm_forward_bfloat16", [x, *weights, h0, c0], outputs)


@pytest.mark.parametrize("precision", BOUNDS)
def test_no_words_give_no_loss_and_zero_gradients(precision):
    arrays, targets, upstream = loss_inputs(0, 4, 9)
    loss, dh, d_kernel, d_bias = loss_and_gradients(arrays, targets, upstream, precision=precision)
    assert loss.shape == (0,)
    assert dh.shape == (0, 4)
    assert not d_kernel.numpy().any()
    assert not d_bias.numpy().any()


@pytest.mark.parametrize("precision", BOUNDS)
def test_compiled_by_xla_equals_eager(precision):
    arrays, targets, upstream = loss_inputs(40, 33, 200)
    options = {"backend": "native", "precision": precision}
    compiled = tf.function(lambda: loss_and_gradients(arrays, targets, upstream, **options), jit_compile=True)()
    for value, wanted in zip(compiled, loss_and_gradients(arrays, targets, upstream, **options), strict=True):
        np.testing.assert_array_equal(value, wanted)
    arrays, upstream = lstm_inputs(3, 4, 5, 6)
    compiled = tf.function(lambda: lstm_values_and_gradients(arrays, upstream, **options), jit_compile=True)()
    for value, wanted in zip(compiled, lstm_values_and_gradients(arrays, upstream, **options), strict=True):
        np.testing.assert_array_equal(value, wanted)


THREADS = """
import sys
sys.path.insert(0, {folder!r})
import test_bfloat16 as t
lstm_inputs, loss_inputs = t.lstm_inputs(40, 3, 20, 96), t.loss_inputs(700, 40, 1000)
exact = t.lstm_values_and_gradients(*lstm_inputs, "float64", backend="reference")
exact += t.loss_and_gradients(*loss_inputs, "float64", backend="reference")
for precision in t.BOUNDS:
    options = dict(backend="native", precision=precision)
    first, second = (
        t.lstm_values_and_gradients(*lstm_inputs, **options) + t.loss_and_gradients(*loss_inputs, **options)
        for _ in range(2)
    )
    for a, b, wanted in zip(first, second, exact, strict=True):
        assert t.error(a, wanted) < t.BOUNDS[precision]
        t.np.testing.assert_array_equal(a, b)
"""


@pytest.mark.parametrize("threads", [pytest.param(1, marks=pytest.mark.slow), 3])
@pytest.mark.slow
def test_any_number_of_threads_is_right_and_repeats_to_the_bit(threads):
    """Threads beyond the number of batch blocks share the units of a block, with a barrier at each step."""
    code = THREADS.format(folder=str(Path(__file__).parent))
    environment = os.environ | {"KERASPTB_THREADS": str(threads), "PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run([sys.executable, "-c", code], env=environment, check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]
