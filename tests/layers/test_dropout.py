import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasptb.layers import Dropout
from kerasptb.ops import platform as platforms
from kerasptb.ops.dropout import dropout

SHAPE = (20, 30)


@pytest.fixture(autouse=True)
def _native(native_library):
    pass


def test_drops_in_training_alone():
    layer, x = Dropout(0.25, seed=3), tf.ones(SHAPE)
    np.testing.assert_array_equal(layer(x), x)
    np.testing.assert_array_equal(layer(x, training=False), x)
    first, second = (layer(x, training=True).numpy() for _ in range(2))
    for y in (first, second):
        assert set(np.unique(y)) == {np.float32(0), np.float32(1 / np.float32(0.75))}
    assert (first != second).any()


def test_is_the_operation_with_the_seeds_of_the_generator():
    layer, x = Dropout(0.25, seed=3), tf.ones(SHAPE)
    for call in range(2):
        np.testing.assert_array_equal(layer(x, training=True), dropout(x, 0.25, tf.constant([3, call])))


@pytest.mark.parametrize(("rate", "expected"), [(0.0, 1.0), (1.0, 0.0)])
def test_all_or_nothing(rate, expected):
    np.testing.assert_array_equal(Dropout(rate)(tf.ones(SHAPE), training=True), np.full(SHAPE, expected))


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_keeps_the_dtype_of_a_policy(policy):
    layer = Dropout(0.5, seed=3, dtype=policy)
    y = layer(tf.ones(SHAPE), training=True)
    assert keras.backend.standardize_dtype(y.dtype) == layer.compute_dtype
    np.testing.assert_array_equal(tf.cast(y, "float32"), dropout(tf.ones(SHAPE), 0.5, tf.constant([3, 0])))


def as_keras(x, **arguments):
    """Whether the layer gives what Keras' own gives."""
    found, expected = (kind(0.5, seed=3, **arguments)(x, training=True) for kind in (Dropout, keras.layers.Dropout))
    return np.array_equal(found, expected)


def test_what_the_kernel_does_not_serve_is_for_keras(gpus, monkeypatch):
    assert not as_keras(tf.ones(SHAPE))
    assert as_keras(tf.ones(SHAPE, tf.float64), dtype="float64")
    monkeypatch.setattr(platforms, "why_not_native", lambda precision="float32": "It is not built.")
    assert as_keras(tf.ones(SHAPE))
    monkeypatch.undo()
    gpus(None)
    assert as_keras(tf.ones(SHAPE))


@pytest.mark.parametrize("noise_shape", [None, (20, 1)])
def test_sizes_may_be_open(noise_shape):
    layers = [Dropout(0.5, noise_shape, seed=3) for _ in range(2)]
    in_graph = tf.function(lambda x: layers[0](x, training=True), input_signature=[tf.TensorSpec([None, None])])
    np.testing.assert_array_equal(in_graph(tf.ones(SHAPE)), layers[1](tf.ones(SHAPE), training=True))


@pytest.mark.parametrize("noise_shape", [(20, 1, 6), (None, 1, None)])
def test_locked_dropout_has_one_mask_for_all_steps(noise_shape):
    x = tf.random.stateless_normal((20, 5, 6), (1, 2))
    y = Dropout(0.25, noise_shape, seed=3)(x, training=True)
    factors = dropout(tf.ones((20, 1, 6)), 0.25, tf.constant([3, 0]))
    assert set(np.unique(factors)) == {np.float32(0), np.float32(1 / np.float32(0.75))}
    np.testing.assert_array_equal(y, x * factors)


def test_round_trips_through_a_saved_model(tmp_path):
    model = keras.Sequential([keras.Input((30,), batch_size=20), Dropout(0.5, seed=3)])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(loaded.layers[0], Dropout)
    np.testing.assert_array_equal(loaded(tf.ones(SHAPE), training=True), model(tf.ones(SHAPE), training=True))


def test_gradients_have_gradients():
    x = tf.Variable(tf.ones(SHAPE))
    layer = Dropout(0.25, seed=3)
    with tf.GradientTape() as outer:
        with tf.GradientTape() as inner:
            y = tf.reduce_sum(layer(x, training=True) ** 3)
        gradient = inner.gradient(y, x)
        penalty = tf.reduce_sum(gradient**2)
    factor = layer.call(tf.zeros(SHAPE)) + gradient / 3  # the mask's factors, cubed, at x = 1
    np.testing.assert_allclose(outer.gradient(penalty, x), 36 * factor**2, rtol=1e-5)


def test_a_noise_shape_of_fewer_dimensions_is_for_keras():
    y = Dropout(0.5, noise_shape=(30,), seed=1)(tf.ones(SHAPE), training=True).numpy()
    assert set(np.unique(y)) == {0.0, 2.0}
    assert (y == y[0]).all()
