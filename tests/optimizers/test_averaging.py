"""Averages of the weights: their values step by step, and where they are put."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasptb.callbacks import AveragedWeights
from kerasptb.optimizers import ClippedAdamW, ClippedSGD
from kerasptb.optimizers.averaging import averaged_weights

OPTIMIZERS = [lambda **k: ClippedSGD(0.3, **k), lambda **k: ClippedAdamW(0.1, **k)]


def trained(optimizer, steps, jit_compile, start_after=None):
    """Takes steps, and returns the weights after each."""
    variable = keras.Variable(np.float32([1.0, -2.0, 3.0]), name="w")
    optimizer.build([variable])
    step = tf.function(
        lambda: optimizer.apply([tf.convert_to_tensor(variable) * [1.0, 0.5, 2.0]], [variable]),
        jit_compile=jit_compile,
    )
    values = []
    for i in range(steps):
        if i == start_after:
            optimizer.start_averaging()
        step()
        values.append(variable.numpy())
    return variable, values


@pytest.mark.parametrize("settings", [{"polyak_averaging": True}, {"use_ema": True}], ids=["polyak", "ema"])
def test_without_a_step_the_weights_stay(settings):
    variable, _ = trained(ClippedSGD(0.3, **settings), 0, False)
    optimizer = ClippedSGD(0.3, **settings)
    optimizer.build([variable])
    optimizer.finalize_variable_values([variable])
    np.testing.assert_array_equal(variable, [1.0, -2.0, 3.0])


@pytest.mark.parametrize("make", OPTIMIZERS, ids=["sgd", "adamw"])
@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "jit"])
def test_the_average_is_the_mean_of_the_weights_since_it_began(native_library, make, jit_compile):
    optimizer = make(polyak_averaging=True)
    variable, values = trained(optimizer, 7, jit_compile, start_after=3)
    model = keras.Model()
    model.optimizer = optimizer
    with averaged_weights(model):
        np.testing.assert_allclose(variable, np.mean(values[3:], axis=0), rtol=1e-5)
    np.testing.assert_array_equal(variable, values[-1])


@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "jit"])
def test_before_it_begins_the_average_is_the_weights(native_library, jit_compile):
    optimizer = ClippedSGD(0.3, polyak_averaging=True)
    variable, values = trained(optimizer, 4, jit_compile)
    assert not optimizer.is_averaging()
    optimizer.finalize_variable_values([variable])
    np.testing.assert_array_equal(variable, values[-1])


@pytest.mark.parametrize("make", OPTIMIZERS, ids=["sgd", "adamw"])
@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "jit"])
def test_a_moving_average_is_that_of_keras(native_library, make, jit_compile):
    optimizer = make(use_ema=True, ema_momentum=0.8)
    variable, values = trained(optimizer, 5, jit_compile)
    expected = values[0]
    for value in values[1:]:
        expected = 0.8 * expected + 0.2 * value
    optimizer.finalize_variable_values([variable])
    np.testing.assert_allclose(variable, expected, rtol=1e-5)


def test_starting_twice_changes_nothing():
    optimizer = ClippedSGD(0.3, polyak_averaging=True)
    trained(optimizer, 3, False, start_after=1)
    optimizer.start_averaging()
    assert int(optimizer._average_start) == 2


def test_only_an_optimizer_with_averages_can_start():
    with pytest.raises(ValueError, match="Expected an optimizer with polyak_averaging=True that has been built"):
        ClippedSGD(0.3).start_averaging()


@pytest.mark.parametrize("steps", [None, 4])
def test_the_average_is_of_updates_also_where_gradients_accumulate(steps):
    optimizer = ClippedSGD(1.0, None, polyak_averaging=True, gradient_accumulation_steps=steps)
    variable = keras.Variable(np.float32([0.0]), name="w")
    optimizer.build([variable])
    optimizer.start_averaging()
    for _ in range(4 * (steps or 1)):
        optimizer.apply([tf.constant([-1.0])], [variable])
    model = keras.Model()
    model.optimizer = optimizer
    with averaged_weights(model):
        np.testing.assert_allclose(variable, [2.5])  # of 1, 2, 3, 4


def test_an_optimizer_within_one_that_scales_the_loss_has_averages():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, kernel_initializer="ones")])
    model.compile(keras.optimizers.LossScaleOptimizer(ClippedSGD(0.1, use_ema=True, ema_momentum=0.5)), "mse")
    x = np.ones((4, 2), "float32")
    model.fit(x, x[:, :1], epochs=2, verbose=0, callbacks=[AveragedWeights()])
    for _ in range(2):  # `fit` has put the averages in the weights' place
        model.train_on_batch(x, x[:, :1])
    trained = model.layers[0].kernel.numpy()
    with averaged_weights(model):
        assert np.abs(model.layers[0].kernel.numpy() - trained).max() > 0
    np.testing.assert_array_equal(model.layers[0].kernel, trained)
