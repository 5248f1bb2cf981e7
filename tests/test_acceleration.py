"""`kerasptb.accelerate` on models of Keras: what it computes, what stays, and what files hold."""

import re

import graphs
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import kerasptb
from kerasptb.layers import FusedLSTM

B, T, D = 32, 6, 5
X = np.random.default_rng(0).standard_normal((3 * B, T, D)).astype("float32")
Y = X.sum(axis=(1, 2), keepdims=True)[:, 0] / 10
NATIVE = {"native", "native_recurrence"}


@pytest.fixture(autouse=True)
def _native(native_library):
    pass


@keras.saving.register_keras_serializable("tests")
class Subclassed(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.first = layers.LSTM(6, return_sequences=True)
        self.others = [layers.LSTM(4), layers.Dense(1)]

    def call(self, x, training=False):
        for layer in (self.first, *self.others):
            x = layer(x)
        return x


def sequential(*inner, **input):
    return keras.Sequential([keras.Input(**(input or {"shape": (T, D)})), *inner, layers.Dense(1)])


def functional(network, shape=(T, D)):
    x = keras.Input(shape)
    return keras.Model(x, layers.Dense(1)(network(x)))


def shared(x):
    layer = layers.LSTM(6)
    return layers.Concatenate()([layer(x), layer(2 * x)])


def masked(x):
    words = keras.ops.cast(keras.ops.abs(x[:, :, 0]) * 2, "int32")  # half of them are 0, which is padding
    return layers.Bidirectional(layers.LSTM(4))(layers.Embedding(9, 7, mask_zero=True)(words))


def in_time(x):
    return layers.LSTM(4)(layers.TimeDistributed(layers.LSTM(3))(layers.Reshape((T // 2, 2, D))(x)))


def subclassed():
    model = Subclassed()
    model(X[:2])
    return model


def frozen():
    model = sequential(layers.LSTM(6, return_sequences=True), layers.LSTM(4))
    model.layers[0].trainable = False
    return model


MODELS = {
    "sequential": lambda: sequential(layers.LSTM(6, return_sequences=True), layers.LSTM(4)),
    "shared": lambda: functional(shared),
    "masked": lambda: functional(masked),
    "in time": lambda: functional(in_time),
    "nested": lambda: sequential(
        keras.Sequential([keras.Input((T, D)), layers.LSTM(6, return_sequences=True)]), layers.LSTM(4)
    ),
    "of cells": lambda: sequential(
        layers.RNN(layers.LSTMCell(6), return_sequences=True), layers.RNN(layers.LSTMCell(3))
    ),
    "gru": lambda: sequential(layers.GRU(6, return_sequences=True), layers.RNN(layers.GRUCell(3))),
    "gru, reset before": lambda: sequential(
        layers.GRU(6, reset_after=False, return_sequences=True), layers.RNN(layers.GRUCell(3, reset_after=False))
    ),
    "bidirectional": lambda: sequential(
        layers.Bidirectional(layers.GRU(4, return_sequences=True), merge_mode="sum"), layers.LSTM(3)
    ),
    "stateful": lambda: sequential(layers.LSTM(6, stateful=True), batch_shape=(B, T, D)),
    "open": lambda: sequential(layers.LSTM(6), shape=(None, D)),
    "frozen": frozen,
    "subclassed": subclassed,
    "backwards": lambda: sequential(
        layers.LSTM(6, go_backwards=True, unroll=True), layers.Reshape((1, 6)), layers.LSTM(4, use_bias=False)
    ),
}


def made(name):
    """Two equal models, in the middle of a training."""
    models = []
    for _ in range(2):
        keras.utils.set_random_seed(1)
        model = MODELS[name]()
        model.compile(keras.optimizers.Adam(0.01, clipnorm=1.0), "mse", metrics=["mae"])
        train(model)
        models.append(model)
    return models


def train(model, epochs=1):
    return model.fit(X, Y, batch_size=B, epochs=epochs, shuffle=False, verbose=0).history


def predict(model):
    return model.predict(X, batch_size=B, verbose=0)


QUICK = ("stateful", "gru")


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in MODELS]
)
def test_a_training_goes_on_as_it_was(name):
    plain, model = made(name)
    paths = [variable.path for variable in model.variables]
    assert kerasptb.accelerate(model) is model
    assert [variable.path for variable in model.variables] == paths
    expected, found = train(plain, 3), train(model, 3)
    for metric, values in expected.items():
        np.testing.assert_allclose(found[metric], values, atol=1e-6)
    if name == "stateful":
        for each in (plain, model):
            each.layers[0].reset_state()
    np.testing.assert_allclose(predict(model), predict(plain), atol=2e-6)
    np.testing.assert_allclose(
        model.evaluate(X, Y, batch_size=B, verbose=0), plain.evaluate(X, Y, batch_size=B, verbose=0), rtol=1e-5
    )
    np.testing.assert_allclose(model.optimizer.iterations, plain.optimizer.iterations)


def recurrent(model):
    """What runs in the recurrent layers, by their names."""
    return [
        (row.kind, row.implementation, row.before)
        for row in kerasptb.explain(model)
        if row.name not in ("cost", "step")
    ]


@pytest.mark.parametrize("name", MODELS)
def test_all_layers_run_on_kernels(name):
    model = MODELS[name]()
    before = recurrent(model)
    assert {kind for kind, *_ in before} <= {"LSTM", "GRU", "RNN"}
    assert all((ran, was) == ("keras", None) for _, ran, was in before)
    kerasptb.accelerate(model)
    after = recurrent(model)
    assert len(after) == len(before) > 0
    assert all((ran, was) == ("native", "keras") for _, ran, was in after)


def test_the_explanation_says_what_runs_now_and_ran_before():
    model = sequential(layers.LSTM(6, name="a", return_sequences=True), layers.LSTM(4, activation="relu", name="b"))
    assert "`kerasptb.accelerate(model)` has it run on native kernels." in str(kerasptb.explain(model))
    kerasptb.accelerate(model)
    lines = str(kerasptb.explain(model)).splitlines()
    assert lines[1].split("  ")[0] == "a"
    assert "native, float32 (before: keras)" in lines[1]
    assert lines[2][0] == "b" and "Only Keras' loop serves an LSTM with activation='relu'." in lines[2]


class Mine(layers.LSTM):
    pass


LEFT = {
    "Only Keras' loop serves an LSTM with activation='relu'.": lambda: layers.LSTM(4, activation="relu"),
    "A subclass of keras.layers.LSTM may compute anything.": lambda: Mine(4),
    "Its cell, StackedRNNCells, has no kernels.": lambda: layers.RNN([layers.LSTMCell(3), layers.GRUCell(4)]),
    "Its cell, SimpleRNNCell, has no kernels.": lambda: layers.RNN(layers.SimpleRNNCell(4)),
    "A subclass of keras.layers.RNN may compute anything.": lambda: layers.SimpleRNN(4),
    "The native backend takes float32. Received: dtype policy float64.": lambda: layers.LSTM(4, dtype="float64"),
}


@pytest.mark.parametrize("reason", LEFT)
def test_what_cannot_be_replaced_stays_and_is_named(reason):
    layer = LEFT[reason]()
    model, kind = sequential(layer), type(layer)
    with pytest.warns(
        UserWarning, match=f"^Nothing in {model.name} runs faster now. {layer.name}: {re.escape(reason)}$"
    ):
        kerasptb.accelerate(model)
    assert type(layer) is kind
    assert [row.reason for row in kerasptb.explain(model) if row.name == layer.name] == [reason]


def test_on_a_gpu_nothing_is_replaced(gpus):
    model = MODELS["sequential"]()
    gpus(None)
    kerasptb.accelerate(model)
    assert [row.reason for row in kerasptb.explain(model)] == ["On a GPU Keras' own runs, cuDNN where it can."] * 2


def test_a_model_without_a_layer_for_it_is_told_and_one_that_is_fast_already_is_not():
    with pytest.warns(UserWarning, match="It has no recurrent layer of Keras: no LSTM, GRU"):
        kerasptb.accelerate(sequential(layers.Flatten()))
    kerasptb.accelerate(kerasptb.accelerate(sequential(layers.LSTM(4))))  # warnings are errors here


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (5, r"Expected a keras\.Model\. Received: 5\.$"),
        ("m.keras", r"Received: 'm\.keras'\. Load it with `keras\.saving\.load_model`\.$"),
    ],
)
def test_what_is_no_model_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        kerasptb.accelerate(given)


def test_a_model_that_is_not_built_is_refused():
    with pytest.raises(ValueError, match=r"Expected a model that is built.*Received: sequential"):
        kerasptb.accelerate(keras.Sequential([layers.LSTM(4)]))


@pytest.mark.parametrize("name", ["sequential", "masked", "in time", "nested", "of cells", "subclassed"])
@pytest.mark.fast_cases(2)
def test_files_are_keras_own_in_both_directions(name, tmp_path):
    plain, model = MODELS[name](), kerasptb.accelerate(MODELS[name]())
    model.save_weights(tmp_path / "a.weights.h5")
    plain.load_weights(tmp_path / "a.weights.h5")
    np.testing.assert_allclose(predict(plain), predict(model), atol=2e-6)
    model.save(tmp_path / "a.keras")
    assert "kerasptb" not in model.to_json()
    again = keras.models.load_model(tmp_path / "a.keras")
    assert all(row.before is None for row in kerasptb.explain(again))
    np.testing.assert_array_equal(predict(again), predict(plain))
    other = MODELS[name]()
    other.save_weights(tmp_path / "b.weights.h5")
    model.load_weights(tmp_path / "b.weights.h5")
    np.testing.assert_allclose(predict(model), predict(other), atol=2e-6)


def test_a_training_is_saved_with_its_optimizer(tmp_path):
    plain, model = made("sequential")
    kerasptb.accelerate(model).save(tmp_path / "a.keras")
    again = kerasptb.accelerate(keras.models.load_model(tmp_path / "a.keras"))
    np.testing.assert_allclose(train(again)["loss"], train(plain)["loss"], atol=1e-6)


def test_a_copy_is_of_keras_own_layers():
    model = kerasptb.accelerate(MODELS["masked"]())
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    assert {was for *_, was in recurrent(copy)} == {None}
    np.testing.assert_allclose(predict(copy), predict(model), atol=2e-6)


def test_ours_and_what_is_accelerated_stay_as_they_are():
    ours = FusedLSTM(4, backend="reference")
    model = kerasptb.accelerate(kerasptb.accelerate(sequential(layers.LSTM(3, return_sequences=True), ours)))
    assert recurrent(model) == [("LSTM", "native", "keras"), ("FusedLSTM", "reference", None)]


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_dropout_is_drawn_anew_each_step_at_its_rate(kind):
    layer = getattr(layers, kind)(64, dropout=0.5, recurrent_dropout=0.25, return_sequences=True)
    model = kerasptb.accelerate(sequential(layer))
    runs = [np.asarray(layer(X, training=True)) for _ in range(2)]
    assert not np.allclose(*runs)
    np.testing.assert_array_equal(layer(X), layer(X))
    assert model.layers[0] is layer


def test_a_mixed_policy_keeps_its_types():
    model = sequential(
        layers.LSTM(6, dtype="mixed_bfloat16", return_sequences=True), layers.LSTM(4, dtype="mixed_float16")
    )
    expected = predict(model)
    kerasptb.accelerate(model)
    assert [str(layer.compute_dtype) for layer in model.layers[:2]] == ["bfloat16", "float16"]
    np.testing.assert_allclose(predict(model), expected, atol=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 15, 22, 38, 42, 43])
def test_random_models_are_trained_saved_and_trained_on_as_keras_does(seed):
    """Accelerated ones, and those of our layers: masked, stateful, nested, bidirectional and in time."""
    assert graphs.check(seed) > 0


def test_no_rows_and_numbers_that_are_none_come_out_as_from_keras():
    plain, model = MODELS["sequential"](), kerasptb.accelerate(MODELS["sequential"]())
    model.set_weights(plain.get_weights())
    assert model(X[:0]).shape == (0, 1)
    x = X[:4].copy()
    x[1, 2, 0], x[2, 0, 1] = np.nan, np.inf
    expected = np.asarray(plain(x))
    assert np.isnan(expected[1]).all()
    np.testing.assert_allclose(model(x), expected, atol=2e-6)


def test_a_process_that_is_forked_after_a_use_can_ask_it(said_by_a_fork):
    """Keras' own layer may wait there for ever, for threads of TensorFlow that the fork left behind."""
    model = kerasptb.accelerate(sequential(layers.GRU(48)))
    expected = np.asarray(model(X))
    found = said_by_a_fork(lambda: np.asarray(model(X)).tobytes())
    np.testing.assert_array_equal(np.frombuffer(found, "float32").reshape(expected.shape), expected)


def test_gradients_are_those_of_keras():
    plain, model = MODELS["masked"](), kerasptb.accelerate(MODELS["masked"]())
    model.set_weights(plain.get_weights())
    gradients = []
    for each in (plain, model):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(each(X) ** 2)
        gradients.append(tape.gradient(loss, each.trainable_variables[1:]))
    for value, wanted in zip(*gradients, strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-4, atol=1e-4)
