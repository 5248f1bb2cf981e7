"""The fused float32 kernels of the linear cross-entropy, of few words (up to 39) and of many, against float64."""

import numpy as np
import pytest
import tensorflow as tf

from kerasptb.native import loader
from kerasptb.ops.calls import call

# N, D, V: edges of tiles, of panels, of the sums' blocks (256 features, 256 words) and of chunks (256 words).
FEW_WORDS = [
    (1, 1, 1),
    (1, 3, 2),
    (2, 31, 33),
    (5, 290, 700),
    (13, 32, 32),
    (14, 33, 65),
    (27, 300, 520),
    (39, 9, 1003),
]
MANY_WORDS = [(40, 1, 1), (41, 3, 2), (52, 31, 33), (53, 32, 32), (40, 128, 1003), (66, 300, 520), (530, 7, 301)]
SHAPES = FEW_WORDS + MANY_WORDS
OUTPUTS = ("loss", "dh", "d_kernel", "d_bias")


def example(shape, magnitude=1.0):
    num_words, features, vocabulary_size = shape
    generator = np.random.default_rng(shape)
    h = (generator.standard_normal((num_words, features)) * magnitude).astype(np.float32)
    kernel = (generator.standard_normal((features, vocabulary_size)) / np.sqrt(features)).astype(np.float32)
    bias = generator.standard_normal(vocabulary_size).astype(np.float32)
    targets = generator.integers(vocabulary_size, size=num_words).astype(np.int32)
    return h, kernel, bias, targets, generator.uniform(-0.5, 2.0, num_words).astype(np.float32)


def exact(h, kernel, bias, targets, scale):
    h, kernel = h.astype(np.float64), kernel.astype(np.float64)
    z = h @ kernel + bias
    z -= z.max(axis=1, keepdims=True)
    total = np.exp(z).sum(axis=1, keepdims=True)
    rows = np.arange(len(z))
    loss = np.log(total[:, 0]) - z[rows, targets]
    dz = np.exp(z) / total
    dz[rows, targets] -= 1
    dz *= scale[:, None]
    return loss, dz @ kernel.T, h.T @ dz, dz.sum(axis=0)


def native(h, kernel, bias, targets, scale, transpose_kernel=False):
    arguments = [tf.constant(a) for a in (h, kernel, bias, targets, scale)]
    outputs = [targets.shape, h.shape, kernel.shape, bias.shape]
    attributes = {"transpose_kernel": transpose_kernel}
    found = call("kerasptb_linear_cross_entropy_loss_and_gradients_float32", arguments, outputs, attributes=attributes)
    return [a.numpy() for a in found]


def loss_alone(h, kernel, bias, targets, scale, transpose_kernel=False):
    arguments = [tf.constant(a) for a in (h, kernel, bias, targets)]
    attributes = {"transpose_kernel": transpose_kernel}
    target = "kerasptb_linear_cross_entropy_loss_float32"
    return call(target, arguments, [targets.shape], attributes=attributes)[0].numpy()


def assert_close(found, expected, bound=2e-6):
    for name, value, wanted in zip(OUTPUTS, found, expected, strict=True):
        allowed = bound * max(np.abs(wanted).max(), 1e-3)
        assert np.abs(value - wanted).max() <= allowed, name


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_loss_and_gradients(native_library, shape):
    found = native(*example(shape))
    assert_close(found, exact(*example(shape)))
    np.testing.assert_array_equal(loss_alone(*example(shape)), found[0])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_transposed_kernel_gives_the_same(native_library, shape):
    h, kernel, bias, targets, scale = example(shape)
    loss, dh, d_kernel, d_bias = native(h, kernel, bias, targets, scale)
    found = native(h, kernel.T, bias, targets, scale, transpose_kernel=True)
    for value, wanted in zip(found, (loss, dh, d_kernel.T, d_bias), strict=True):
        # Few words are multiplied with the kernel in its own layout, so their sums have another order.
        allowed = 2e-6 * np.abs(wanted).max() if shape in FEW_WORDS else 0
        np.testing.assert_allclose(value, wanted, rtol=0, atol=allowed)
    np.testing.assert_array_equal(loss_alone(h, kernel.T, bias, targets, scale, transpose_kernel=True), found[0])


@pytest.mark.parametrize("num_words", [12, 60])
@pytest.mark.parametrize("order", ["rising", "falling", "two peaks"])
def test_the_largest_logit_may_be_anywhere(native_library, order, num_words):
    # Logits span thousands. Terms that were summed before a larger logit came must vanish. The residual of a target
    # thousands below must stay, also in a part of the vocabulary without large logits.
    h, kernel, _, targets, scale = example((num_words, 16, 1010))
    slope = np.linspace(0, 5000, 1010)
    bias = {"rising": slope, "falling": slope[::-1], "two peaks": np.abs(slope - 2500)}[order].astype(np.float32)
    found, expected = native(h, kernel, bias, targets, scale), exact(h, kernel, bias, targets, scale)
    # z is rounded to 2e-4 at this size, and a probability with it.
    assert_close(found, expected, 5e-4)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-6, atol=1e-3)
    np.testing.assert_array_equal(loss_alone(h, kernel, bias, targets, scale), found[0])
    assert expected[0].max() > 2000


@pytest.mark.parametrize("num_words", [12, 60])
def test_slowly_rising_logits_keep_their_digits(native_library, num_words):
    # Each single step is too small to raise the reference of the sums. All steps together are not.
    h, kernel, _, targets, scale = example((num_words, 4, 640))
    arguments = h * 1e-3, kernel, np.linspace(0, 100, 640).astype(np.float32), targets, scale
    assert_close(native(*arguments), exact(*arguments), 1e-5)


@pytest.mark.parametrize("num_words", [12, 60])
def test_a_sum_over_many_equal_words_keeps_its_digits(native_library, num_words):
    # In one long sum each addition would err in the same direction: 2e-5 in all, with one thread.
    h, kernel, bias, targets, scale = example((num_words, 4, 50_000))
    arguments = h * 0, kernel, bias * 0 + 0.7, targets, scale
    loss, _, _, d_bias = native(*arguments)
    np.testing.assert_allclose(loss, np.log(50_000), rtol=0, atol=2e-6)
    others = np.setdiff1d(np.arange(50_000), targets)
    np.testing.assert_allclose(d_bias[others], scale.sum(dtype=np.float64) / 50_000, rtol=2e-6)


@pytest.mark.parametrize("num_words", [12, 60])
def test_minus_infinity_excludes_words(native_library, num_words):
    h, kernel, bias, targets, scale = example((num_words, 5, 700))
    bias[:300] = bias[-1] = -np.inf  # a whole block of words too
    targets = targets % 399 + 300
    found, expected = native(h, kernel, bias, targets, scale), exact(h, kernel, bias, targets, scale)
    assert_close(found, expected)
    np.testing.assert_array_equal(found[2][:, :300], 0)
    np.testing.assert_array_equal(found[3][:300], 0)


@pytest.mark.parametrize("num_words", [30, 60])
def test_nan_is_passed_on_in_its_row_only(native_library, num_words):
    h, kernel, bias, targets, scale = example((num_words, 5, 300))
    h[17, 2] = np.nan
    loss, dh, _, _ = native(h, kernel, bias, targets, scale)
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(loss)), [17])
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(dh).all(axis=1)), [17])
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(dh).any(axis=1)), [17])


@pytest.mark.parametrize("num_words", [9, 60])
def test_a_word_of_no_weight_leaves_the_gradients_alone(native_library, num_words):
    h, kernel, bias, targets, scale = example((num_words, 5, 40))
    scale[4] = 0
    found = native(h, kernel, bias, targets, scale)
    without = native(
        *(np.delete(a, 4, axis=0) for a in (h,)), kernel, bias, *(np.delete(a, 4) for a in (targets, scale))
    )
    np.testing.assert_array_equal(found[1][4], 0)
    np.testing.assert_allclose(found[2], without[2], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found[3], without[3], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(27, 128, 1003), (40, 128, 1003)], ids=str)
def test_same_bits_on_every_run(native_library, shape):
    first, second = (native(*example(shape)) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("target", [-1, 5, 2**31 - 1])
def test_target_out_of_range_is_named(native_library, target):
    h, kernel, bias, targets, scale = example((3, 2, 5))
    targets[2] = target
    for function in (native, loss_alone):
        with pytest.raises(tf.errors.InvalidArgumentError, match=rf"\[0, 5\).*Received: targets containing {target}"):
            function(h, kernel, bias, targets, scale)


def test_wrong_shapes_are_refused(native_library):
    h, kernel, bias, targets, scale = example((3, 2, 5))
    for wrong in [
        (h, kernel, bias[:4], targets, scale),
        (h, kernel, bias, targets[:2], scale),
        (h[:, :0], kernel[:0], bias, targets, scale),
    ]:
        with pytest.raises(tf.errors.InvalidArgumentError, match="do not fit"):
            native(*wrong)
    with pytest.raises(tf.errors.InvalidArgumentError, match="do not fit"):
        native(h, kernel, bias, targets, scale, transpose_kernel=True)


@pytest.mark.parametrize("features", [300, 1500])
def test_few_words_limit_is_where_the_kernels_change(native_library, features):
    # Few words are multiplied with the kernel in its own layout: transposed, its sums have another order.
    def same_bits(num_words):
        h, kernel, bias, targets, scale = example((num_words, features, 520))
        one = native(h, kernel, bias, targets, scale)
        other = native(h, kernel.T, bias, targets, scale, transpose_kernel=True)
        return np.array_equal(one[1], other[1])

    limit = loader.few_words_limit(features, 520)
    assert not same_bits(limit)
    assert same_bits(limit + 1)


def test_few_words_limit_of_every_precision(native_library):
    for precision in loader.PRECISIONS:
        for vocabulary_size in (10_000, 100_000):
            assert 6 <= loader.few_words_limit(200, vocabulary_size, precision) <= 39
