"""Dropout against the random numbers that it promises: those of the reference and of the kernel are the same."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasptb.ops.dropout import dropout

SHAPES = [(1,), (15,), (16,), (17,), (32,), (33,), (3, 5, 7), (4, 1000), (0, 3)]
SEED = (123, -456)


def threefry(low, high, key):
    """Threefry-2x32 with 20 rounds (Salmon et al., 2011), on arrays of uint32."""
    rotations = (13, 15, 26, 6, 17, 29, 16, 24)
    keys = [np.uint32(key[0]), np.uint32(key[1])]
    keys.append(np.uint32(0x1BD11BDA) ^ keys[0] ^ keys[1])
    with np.errstate(over="ignore"):
        x, y = low + keys[0], high + keys[1]
        for i in range(20):
            x = x + y
            rotation = np.uint32(rotations[i % 8])
            y = ((y << rotation) | (y >> (np.uint32(32) - rotation))) ^ x
            if i % 4 == 3:
                n = i // 4 + 1
                x, y = x + keys[n % 3], y + keys[(n + 1) % 3] + np.uint32(n)
    return x, y


def kept(shape, rate, seed=SEED):
    """Which elements are kept, from the description in dropout.h."""
    size = int(np.prod(shape))
    groups = -(-size // 32)
    counters = np.arange(16 * groups, dtype="uint32")
    numbers = threefry(counters, np.zeros_like(counters), np.array(seed, "int32").view("uint32"))
    draws = np.stack([number.reshape(groups, 16) for number in numbers], axis=1).reshape(-1)[:size]
    return (draws < np.float64(np.float32(1 - rate)) * 2**32).reshape(shape)


def example(shape):
    return np.random.default_rng(0).standard_normal(shape).astype("float32")


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        # Known answers of Random123, the authors' library.
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
        ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_the_numbers_expected_are_threefry(counter, key, expected):
    low, high = (np.array([word], "uint32") for word in counter)
    assert tuple(int(x[0]) for x in threefry(low, high, key)) == expected


@pytest.mark.parametrize("backend", ["reference", "native"])
@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("shape", [*SHAPES, ()], ids=str)
def test_keeps_what_the_numbers_say(native_library, shape, rate, backend):
    x = example(shape)
    expected = np.where(kept(shape, rate), x / np.float32(1 - rate), 0)
    found = dropout(tf.constant(x), rate, tf.constant(SEED), backend)
    np.testing.assert_allclose(found, expected, rtol=3e-7, atol=0)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_native_is_the_reference_in_value_and_gradient(native_library, dtype):
    upstream = tf.cast(example((4, 1000)), dtype)
    of_both = []
    for backend in ("reference", "native"):
        x = tf.Variable(tf.cast(example((1000, 4)).T, dtype))
        with tf.GradientTape() as tape:
            y = dropout(x, 0.3, keras.random.SeedGenerator(5), backend)
        of_both.append([y, tape.gradient(y, x, upstream)])
        assert all(tensor.dtype == dtype for tensor in of_both[-1])
    for found, expected in zip(*of_both, strict=True):
        np.testing.assert_array_equal(tf.cast(found, "float32"), tf.cast(expected, "float32"))
    assert 0.27 < np.mean(y == 0) < 0.33


@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "jit"])
@pytest.mark.parametrize("backend", ["reference", "native"])
def test_gradient_passes_where_the_value_did(native_library, jit_compile, backend):
    x, upstream = example((4, 1000)), example((4000,)).reshape(4, 1000)

    @tf.function(jit_compile=jit_compile)
    def value_and_gradient(x, upstream, seed):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = dropout(x, 0.25, seed, backend)
        return y, tape.gradient(y, x, upstream)

    mask = kept((4, 1000), 0.25)
    for found, of in zip(value_and_gradient(x, upstream, tf.constant(SEED)), (x, upstream), strict=True):
        np.testing.assert_allclose(found, np.where(mask, of / np.float32(0.75), 0), rtol=3e-7, atol=0)


def test_keeps_as_many_as_it_should(native_library):
    kept = dropout(tf.ones((1000, 1000)), 0.4, tf.constant([7, 8])).numpy() > 0
    assert abs(kept.mean() - 0.6) < 5 * np.sqrt(0.24 / 1e6)
    for axis in (0, 1):  # five standard deviations, of a thousand sums
        assert np.abs(kept.mean(axis) - 0.6).max() < 5 * np.sqrt(0.24 / 1e3)


@pytest.mark.parametrize("keep_prob", [2.0**-33, 1e-10])
def test_a_probability_below_the_numbers_steps_keeps_next_to_nothing(native_library, keep_prob):
    assert not dropout(tf.ones((1000,)), 1.0 - keep_prob, tf.constant(SEED)).numpy().any()


def test_every_seed_draws_its_own(native_library):
    x = tf.ones((1000,))
    draws = [dropout(x, 0.5, tf.constant(seed)).numpy() > 0 for seed in ((1, 2), (2, 1), (1, 3), (2, 2), (-1, 2))]
    for i, one in enumerate(draws):
        for other in draws[:i]:
            assert 400 < (one != other).sum() < 600


def test_what_is_dropped_is_zero_whatever_it_was(native_library):
    for size in (64, 70):  # with a rest of no whole vector
        found = dropout(tf.fill((size,), np.nan), 0.5, tf.constant(SEED)).numpy()
        np.testing.assert_array_equal(np.isnan(found), kept((size,), 0.5))
        np.testing.assert_array_equal(found[~kept((size,), 0.5)], 0)


def test_refuses_a_seed_of_another_size_and_an_impossible_rate(native_library):
    with pytest.raises(tf.errors.InvalidArgumentError, match="shapes of the buffers do not fit"):
        dropout(tf.ones((3,)), 0.5, tf.constant([1, 2, 3]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="must be in"):
        dropout(tf.ones((3,)), 1.0, keras.ops.convert_to_tensor(SEED))


def test_keras_own_draws_from_a_generator(native_library):
    x = tf.ones((1000, 100))
    found, expected = (
        draw(x, 0.25, seed=keras.random.SeedGenerator(3))
        for draw in (functools.partial(dropout, backend="keras"), keras.random.dropout)
    )
    np.testing.assert_array_equal(found, expected)
    assert abs(np.mean(found > 0) - 0.75) < 5 * np.sqrt(0.1875 / 1e5)
    assert (found != dropout(x, 0.25, keras.random.SeedGenerator(3))).numpy().any()
    with pytest.raises(ValueError, match=r"needs a keras\.random\.SeedGenerator\. Received: seed="):
        dropout(x, 0.25, tf.constant(SEED), "keras")


def test_a_named_backend_does_not_fall_back(native_library):
    with pytest.raises(ValueError, match=r"Native dropout is in float32\. Received: dtype=float64\. Use backend="):
        dropout(tf.ones(3, "float64"), 0.5, tf.constant(SEED), "native")
    with pytest.raises(ValueError, match="must be one of"):
        dropout(tf.ones(3), 0.5, tf.constant(SEED), "cuda")
