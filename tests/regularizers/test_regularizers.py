"""Activation regularisation, plain and temporal, against numpy; and as Keras applies it."""

import keras
import numpy as np
import pytest

from kerasptb.regularizers import ActivationRegularization, TemporalActivationRegularization

X = np.random.default_rng(0).standard_normal((3, 5, 4)).astype("float32")


def test_activation_regularisation_is_the_mean_square_summed_over_the_steps():
    assert float(ActivationRegularization(2.0)(X)) / 3 == pytest.approx(2.0 * 5 * np.mean(X**2), rel=1e-6)


def test_temporal_activation_regularisation_is_the_mean_square_of_changes_times_the_steps():
    expected = 1.5 * 5 * np.mean((X[:, 1:] - X[:, :-1]) ** 2)
    assert float(TemporalActivationRegularization(1.5)(X)) / 3 == pytest.approx(expected, rel=1e-6)
    assert float(TemporalActivationRegularization(1.5)(X[:, :1])) == 0.0


@pytest.mark.parametrize("regularizer", [ActivationRegularization(2.0), TemporalActivationRegularization(3.0)])
def test_as_the_activity_regularizer_of_a_layer(regularizer):
    inputs = keras.Input(batch_shape=(3, 5, 4))
    outputs = keras.layers.Activation("linear", activity_regularizer=regularizer)(inputs)
    model = keras.Model(inputs, outputs)
    model.compile(loss=lambda y_true, y_pred: 0.0 * y_pred)
    assert model.evaluate(X, X, batch_size=3, verbose=0) == pytest.approx(float(regularizer(X)) / 3, rel=1e-6)


@pytest.mark.parametrize("regularizer", [ActivationRegularization(2.0), TemporalActivationRegularization(3.0)])
def test_is_saved_with_its_weight(regularizer):
    again = keras.regularizers.deserialize(keras.regularizers.serialize(regularizer))
    assert type(again) is type(regularizer)
    assert again.get_config() == regularizer.get_config()


def test_refuses_a_negative_weight():
    with pytest.raises(ValueError, match=r"`alpha` must be at least 0. Received: alpha=-1"):
        ActivationRegularization(-1)
    with pytest.raises(ValueError, match=r"`beta` must be at least 0. Received: beta=nan"):
        TemporalActivationRegularization(float("nan"))


def test_what_has_no_steps_does_not_change():
    layer = keras.layers.LSTM(
        4, return_sequences=True, return_state=True, activity_regularizer=TemporalActivationRegularization(1.0)
    )
    layer(X)
    _, *of_states = map(float, layer.losses)
    assert of_states == [0.0, 0.0]
