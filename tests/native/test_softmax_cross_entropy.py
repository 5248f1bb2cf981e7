"""The one-pass softmax cross-entropy kernel against float64."""

import numpy as np
import pytest
import tensorflow as tf

from kerasptb.ops.calls import call

SHAPES = [(1, 1), (1, 2), (3, 5), (7, 16), (2, 63), (5, 64), (4, 65), (33, 1003), (1, 20_000)]


def example(shape, scale=3.0):
    rows, vocabulary = shape
    generator = np.random.default_rng(shape)
    logits = (generator.standard_normal(shape) * scale).astype(np.float32)
    bias = generator.standard_normal(vocabulary).astype(np.float32)
    targets = generator.integers(vocabulary, size=rows).astype(np.int32)
    return logits, bias, targets, generator.uniform(0.5, 2.0, rows).astype(np.float32)


def exact(logits, bias, targets, scale):
    z = logits.astype(np.float64) + bias
    z -= z.max(axis=1, keepdims=True)
    total = np.exp(z).sum(axis=1, keepdims=True)
    rows = np.arange(len(z))
    loss = np.log(total[:, 0]) - z[rows, targets]
    dlogits = np.exp(z) / total
    dlogits[rows, targets] -= 1
    dlogits *= scale[:, None]
    return loss, dlogits, dlogits.sum(axis=0)


def native(logits, bias, targets, scale):
    arguments = [tf.constant(a) for a in (logits, bias, targets, scale)]
    outputs = [targets.shape, logits.shape, bias.shape]
    return [a.numpy() for a in call("kerasptb_softmax_cross_entropy_loss_and_gradients_float32", arguments, outputs)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_loss_and_gradient(native_library, shape):
    for found, expected in zip(native(*example(shape)), exact(*example(shape)), strict=True):
        # A loss near 10 is rounded to 5e-7; a gradient is at most 2.
        np.testing.assert_allclose(found, expected, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_loss_alone_is_the_same(native_library, shape):
    logits, bias, targets, scale = example(shape)
    arguments = [tf.constant(a) for a in (logits, bias, targets)]
    (loss,) = call("kerasptb_softmax_cross_entropy_loss_float32", arguments, [targets.shape])
    np.testing.assert_array_equal(loss, native(logits, bias, targets, scale)[0])


def test_a_sum_over_many_equal_words_keeps_its_digits(native_library):
    logits, bias, targets, scale = example((4, 200_000))
    loss, dlogits, _ = native(logits * 0, bias * 0 + 0.7, targets, scale)
    np.testing.assert_allclose(loss, np.log(200_000), rtol=0, atol=4e-6)
    others = np.setdiff1d(np.arange(200_000), targets)
    np.testing.assert_allclose(dlogits[:, others] * 200_000, np.tile(scale, (len(others), 1)).T, rtol=4e-6)


def test_huge_logits(native_library):
    logits, bias, targets, scale = example((6, 1003), scale=1e4)
    found, expected = native(logits, bias, targets, scale), exact(logits, bias, targets, scale)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-6)
    # z is rounded to 1e-3 at this size, and a probability with it.
    np.testing.assert_allclose(found[1], expected[1], atol=2e-3)
    assert np.abs(expected[1]).max() > 0.9


def test_minus_infinity_excludes_a_word(native_library):
    logits, bias, targets, scale = example((2, 30))
    logits[:, 7] = -np.inf
    targets[:] = 3
    loss, dlogits, _ = native(logits, bias, targets, scale)
    assert np.isfinite(loss).all()
    np.testing.assert_array_equal(dlogits[:, 7], 0)


def test_nan_is_passed_on_in_its_row_only(native_library):
    logits, bias, targets, scale = example((3, 40))
    logits[1, 21] = np.nan
    np.testing.assert_array_equal(np.isnan(native(logits, bias, targets, scale)[0]), [False, True, False])


def test_same_bits_on_every_run(native_library):
    first, second = (native(*example((33, 1003))) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("target", [-1, 5, 2**31 - 1])
def test_target_out_of_range_is_named(native_library, target):
    logits, bias, targets, scale = example((3, 5))
    targets[2] = target
    with pytest.raises(tf.errors.InvalidArgumentError, match=rf"\[0, 5\).*Received: targets containing {target}"):
        native(logits, bias, targets, scale)


def test_wrong_shapes_are_refused(native_library):
    logits, bias, targets, scale = example((3, 5))
    with pytest.raises(tf.errors.InvalidArgumentError, match="do not fit"):
        native(logits, bias[:4], targets, scale)
