"""Steps of frozen models against the whole sequence: masks, axes that are not the steps', and what has no steps."""

import keras
import numpy as np
import pytest
from keras import layers
from random_graphs import outputs_of

import kerasptb

random = np.random.default_rng(2)
BACKENDS = pytest.mark.parametrize("backend", ["native", "reference"])


def signal(*shape):
    return random.standard_normal(shape).astype("float32")


def check(make, x, backend="auto", tolerance=1e-5):
    """Compares each step with Keras' outputs where the sequence ends there; `make` returns a model of T steps."""
    model = make(x.shape[1])
    frozen, state = kerasptb.freeze(model, backend=backend), None
    for t in range(x.shape[1]):
        found, state = frozen.step(x[:, t], state)
        shorter = make(t + 1)
        shorter.set_weights(model.get_weights())
        expected = outputs_of(shorter, [x[:, : t + 1]])
        for y, wanted in zip(keras.tree.flatten(found), expected, strict=True):
            last = wanted if y.shape == wanted.shape else wanted[:, -1]
            assert y.shape == last.shape
            np.testing.assert_allclose(y, last, atol=tolerance)


@BACKENDS
def test_a_forecaster(native_library, backend):
    def make(steps):
        first = layers.LSTM(9, return_sequences=True)
        return keras.Sequential([layers.Input((steps, 3)), first, layers.GRU(5), layers.Dense(2)])

    assert kerasptb.freeze(make(7), backend=backend).state_size == 9 + 9 + 5
    check(make, signal(4, 7, 3), backend)


def masked(*shape):
    """Each row begins with a step that is masked, and has more of them later."""
    x = signal(*shape)
    x[:, 0], x[1:, 3], x[0, 4:6] = 0, 0, 0
    return x


@BACKENDS
@pytest.mark.parametrize("cell", [layers.LSTM, layers.GRU, layers.SimpleRNN])
@pytest.mark.parametrize("zeros", [False, True])
def test_masked_steps_put_out_what_was_before(native_library, backend, cell, zeros):
    def make(steps):
        inputs = keras.Input((steps, 3))
        x = layers.Masking()(inputs)
        whole = layers.RNN(cell(5).cell, return_sequences=True, zero_output_for_mask=zeros)(x)
        return keras.Model(inputs, [whole, cell(4)(whole)])

    check(make, masked(3, 7, 3), backend)


def test_a_stateful_call_puts_out_zeros_before_its_first_value(native_library):
    """Which is Keras' own rule, and no step's."""
    inputs = keras.Input((4, 3), batch_size=3)
    y = layers.LSTM(5, stateful=True, return_sequences=True)(layers.Masking()(inputs))
    model = keras.Model(inputs, y)
    frozen = kerasptb.freeze(model)
    for x in (signal(3, 4, 3), masked(3, 4, 3)):
        np.testing.assert_allclose(frozen(x), outputs_of(model, [x])[0], atol=1e-5)
    assert not frozen(masked(3, 4, 3))[:, 0].any()


@BACKENDS
def test_what_follows_the_last_recurrent_layer_has_no_steps(native_library, backend):
    def make(steps):
        inputs = keras.Input((steps, 3))
        first, other = layers.LSTM(6)(inputs), layers.GRU(6, return_sequences=True)(inputs)
        x = layers.Concatenate(axis=1)([first, other[:, -1]])
        x = layers.Dense(8, activation="softmax")(layers.BatchNormalization(axis=1)(x))
        return keras.Model(inputs, [layers.Reshape((2, 4))(x), layers.Flatten()(layers.LayerNormalization()(x)), other])

    check(make, signal(2, 5, 3), backend)


def over_steps(layer):
    return lambda x: layers.LSTM(2)(layer(x))


@pytest.mark.parametrize(
    "mixes",
    [
        layers.Bidirectional(layers.LSTM(3), name="mixing"),
        layers.LSTM(3, go_backwards=True, name="mixing"),
        layers.Flatten(name="mixing"),
        layers.Conv1D(3, 2, name="mixing"),
        over_steps(layers.BatchNormalization(axis=1, name="mixing")),
        over_steps(layers.LayerNormalization(axis=(1, 2), name="mixing")),
        lambda x: layers.LSTM(2)(layers.Concatenate(axis=-2, name="mixing")([x, x])),
        over_steps(layers.Permute((2, 1), name="mixing")),
        lambda x: layers.LSTM(2, name="mixing")(layers.RepeatVector(3)(layers.GRU(2)(x))),
        lambda x: layers.LSTM(2)(layers.Add(name="mixing")([x, layers.GRU(3)(x)])),
        lambda x: layers.Dense(2)(layers.GRU(3, return_sequences=True)(x)[:, 2]),
    ],
)
def test_what_mixes_steps_is_named(mixes):
    inputs = keras.Input((4, 3))
    frozen = kerasptb.freeze(keras.Model(inputs, mixes(inputs)), backend="reference")
    with pytest.raises(ValueError, match=r"one with (mixing|get_item\S*), which needs more than one step"):
        frozen.step(signal(1, 3))


def test_an_input_that_is_no_sequence_is_named():
    signals, place = keras.Input((4, 3)), keras.Input((2,))
    of_place = layers.Dense(5, name="place")(place)
    y = layers.Concatenate()([layers.LSTM(5)(signals), of_place])
    with pytest.raises(ValueError, match="one with place, which"):
        kerasptb.freeze(keras.Model([signals, place], y)).step([signal(1, 3), signal(1)])


def test_several_signals_and_ids(native_library):
    signals, ids = keras.Input((None, 3)), keras.Input((None,), dtype="int32")
    x = layers.Concatenate()([signals, layers.Embedding(7, 4)(ids)])
    model = keras.Model([signals, ids], layers.LSTM(5)(x))
    frozen, state = kerasptb.freeze(model), None
    x, i = signal(2, 6, 3), random.integers(0, 7, (2, 6))
    for t in range(6):
        y, state = frozen.step([x[:, t], i[:, t]], state)
    np.testing.assert_allclose(y, outputs_of(model, [x, i])[0], atol=1e-5)
