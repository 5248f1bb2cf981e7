import keras
import numpy as np
import pytest

from kerasptb.callbacks import ResetStates
from kerasptb.layers import StatefulLSTM
from kerasptb.pipeline import make_dataset

TRAIN = np.random.default_rng(0).integers(0, 11, 200).astype("int32")
VALID = np.random.default_rng(1).integers(0, 11, 90).astype("int32")


class Losses(keras.callbacks.Callback):
    def on_train_begin(self, logs=None):
        self.values = []

    def on_train_batch_end(self, batch, logs=None):
        self.values.append(logs["loss"])


def plain_model():
    keras.utils.set_random_seed(7)
    model = keras.Sequential(
        [
            keras.Input(batch_shape=(4, 5), dtype="int32"),
            keras.layers.Embedding(11, 6),
            keras.layers.Bidirectional(keras.layers.LSTM(4, return_sequences=True, stateful=True)),
            keras.layers.GRU(5, return_sequences=True, stateful=True),
            keras.layers.Dense(11),
        ]
    )
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def train(callbacks, validate):
    losses = Losses()
    model = plain_model()
    validation = make_dataset(VALID, 4, 5) if validate else None
    model.fit(
        make_dataset(TRAIN, 4, 5),
        epochs=3,
        validation_data=validation,
        callbacks=[*callbacks, losses],
        verbose=0,
        shuffle=False,
    )
    return losses.values


def test_validation_leaves_a_plain_models_training_as_it_is_to_the_bit():
    assert train([ResetStates()], validate=True) == train([ResetStates()], validate=False)


@pytest.mark.slow
def test_plain_keras_leaks_validation_into_training():
    # What the callback is for; should Keras change this, the callback has lost its reason.
    assert train([], validate=True) != train([], validate=False)


def test_every_epoch_begins_from_zero():
    model = plain_model()
    model.optimizer.learning_rate = 0.0
    history = model.fit(
        make_dataset(TRAIN, 4, 5), epochs=2, callbacks=[ResetStates()], verbose=0, shuffle=False
    ).history
    assert history["loss"][0] == history["loss"][1]
    without = model.fit(make_dataset(TRAIN, 4, 5), epochs=2, verbose=0, shuffle=False).history
    assert without["loss"][0] != history["loss"][0]


def test_evaluation_is_repeatable_and_puts_the_state_back():
    model = plain_model()
    model.fit(make_dataset(TRAIN, 4, 5), verbose=0, shuffle=False)
    before = [state.numpy() for state in model.layers[1].states]
    assert np.abs(before[0]).max() > 0
    results = [model.evaluate(make_dataset(VALID, 4, 5), callbacks=[ResetStates()], verbose=0) for _ in range(2)]
    assert results[0] == results[1]
    for state, value in zip(model.layers[1].states, before, strict=True):
        np.testing.assert_array_equal(state.numpy(), value)


def test_evaluation_of_a_stateful_lstm_in_a_model_of_ones_own_is_repeatable():
    inner = keras.Sequential([StatefulLSTM(4, return_sequences=True)])
    model = keras.Sequential(
        [keras.Input(batch_shape=(4, 5), dtype="int32"), keras.layers.Embedding(11, 6), inner, keras.layers.Dense(11)]
    )
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    results = [model.evaluate(make_dataset(VALID, 4, 5), callbacks=[ResetStates()], verbose=0) for _ in range(3)]
    assert results[0] == results[1] == results[2]
    assert model.evaluate(make_dataset(VALID, 4, 5), verbose=0) != results[0]


def test_an_evaluation_that_was_interrupted_leaves_no_state():
    class Interrupt(keras.callbacks.Callback):
        def on_test_batch_end(self, batch, logs=None):
            raise KeyboardInterrupt

    model, callback = plain_model(), ResetStates()
    model.fit(make_dataset(TRAIN, 4, 5), verbose=0, shuffle=False)
    before = [state.numpy() for state in model.layers[1].states]
    with pytest.raises(KeyboardInterrupt):
        model.evaluate(make_dataset(VALID, 4, 5), callbacks=[callback, Interrupt()], verbose=0)
    model.evaluate(make_dataset(VALID, 4, 5), callbacks=[callback], verbose=0)
    for state, value in zip(model.layers[1].states, before, strict=True):
        np.testing.assert_array_equal(state.numpy(), value)
