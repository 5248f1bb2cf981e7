import types

import keras
import numpy as np
import pytest

from kerasptb.callbacks import LearningRateDecay


def compiled_model(optimizer):
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile(optimizer, "mse")
    return model


def fit(callback, epochs, optimizer="sgd", model=None, **kwargs):
    model = model or compiled_model(optimizer)
    data = np.ones((4, 2), "float32"), np.ones((4, 1), "float32")
    return model.fit(*data, epochs=epochs, callbacks=[callback], verbose=0, **kwargs).history["learning_rate"]


def test_five_epochs_at_the_base_then_halved_each_epoch():
    rates = fit(LearningRateDecay(), 8, keras.optimizers.SGD(1.0))
    assert rates == [1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.25, 0.125]


def test_a_training_that_goes_on_has_the_rate_of_its_epoch():
    rates = fit(LearningRateDecay(2, 0.1, learning_rate=1.0), 6, keras.optimizers.SGD(1e-2), initial_epoch=3)
    np.testing.assert_allclose(rates, [1e-2, 1e-3, 1e-4], rtol=1e-6)


def test_a_training_that_goes_on_from_a_rate_of_no_known_epoch_is_warned():
    with pytest.warns(UserWarning, match=r"rate, 0.5, for that of the first epoch, and the training begins at epoch 4"):
        rates = fit(LearningRateDecay(2, 0.1), 6, keras.optimizers.SGD(0.5), initial_epoch=3)
    np.testing.assert_allclose(rates, [5e-3, 5e-4, 5e-5], rtol=1e-6)
    # A training that goes on in the same process is not warned.
    model = compiled_model(keras.optimizers.SGD(1.0))
    fit(LearningRateDecay(2, 0.1), 3, model=model)
    rates = fit(LearningRateDecay(2, 0.1), 6, model=model, initial_epoch=3)
    np.testing.assert_allclose(rates, [1e-2, 1e-3, 1e-4], rtol=1e-6)


def test_another_callback_that_sets_the_rate_is_warned_of():
    class Lowering(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                self.model.optimizer.learning_rate = 0.125

    model = compiled_model(keras.optimizers.SGD(1.0))
    with pytest.warns(UserWarning, match=r"rate to 0\.125, and LearningRateDecay sets it to 1 for epoch 3\.") as found:
        history = model.fit(
            *(np.ones((4, n), "float32") for n in (2, 1)),
            epochs=4,
            callbacks=[LearningRateDecay(), Lowering()],
            verbose=0,
        )
    assert len(found) == 1
    assert history.history["learning_rate"] == [1.0, 1.0, 1.0, 1.0]


def test_another_fit_of_the_same_model_begins_from_the_base_too():
    model = compiled_model(keras.optimizers.SGD(1.0))
    assert fit(LearningRateDecay(constant_epochs=1), 3, model=model) == [1.0, 0.5, 0.25]
    assert fit(LearningRateDecay(constant_epochs=1), 5, model=model, initial_epoch=3) == [0.125, 0.0625]
    assert fit(LearningRateDecay(constant_epochs=1), 2, model=model) == [1.0, 0.5]
    model.optimizer.learning_rate = 0.3  # by the user: a new base
    np.testing.assert_allclose(fit(LearningRateDecay(constant_epochs=1), 2, model=model), [0.3, 0.15], rtol=1e-6)


def test_refuses_an_optimizer_with_a_schedule():
    schedule = keras.optimizers.schedules.ExponentialDecay(1.0, 10, 0.5)
    with pytest.raises(ValueError, match="build the optimizer with a float"):
        fit(LearningRateDecay(), 1, keras.optimizers.SGD(schedule))


@pytest.mark.parametrize("arguments", [{"constant_epochs": -1}, {"decay": 0.0}, {"decay": 1.5}])
def test_refuses_arguments_out_of_range(arguments):
    with pytest.raises(ValueError, match="Received"):
        LearningRateDecay(**arguments)


def test_before_training_only_a_rate_that_was_given_is_known():
    assert LearningRateDecay(constant_epochs=1, decay=0.5, learning_rate=1.0).rate(2) == 0.25
    with pytest.raises(ValueError, match="Before training begins the rate is not known"):
        LearningRateDecay().rate(0)


def test_one_callback_for_two_models_takes_the_rate_of_each():
    callback, found = LearningRateDecay(1, 0.5), []
    for rate in (1.0, 0.01):
        model = types.SimpleNamespace(optimizer=keras.optimizers.SGD(rate))
        callback.set_model(model)
        callback.on_train_begin()
        for epoch in range(2):
            callback.on_epoch_begin(epoch)
            found.append(float(model.optimizer.learning_rate))
    np.testing.assert_allclose(found, [1.0, 0.5, 0.01, 0.005], rtol=1e-6)
