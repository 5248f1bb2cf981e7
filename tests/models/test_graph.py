"""How a model is regularised: each part in its place, in the loss, and in what is saved."""

import keras
import numpy as np
import pytest

from kerasptb.models import LanguageModel

V, B, T = 23, 4, 5

REGULARIZED = {
    "variational_dropout": True,
    "word_dropout": 0.1,
    "input_dropout": 0.2,
    "hidden_dropout": 0.3,
    "output_dropout": 0.4,
    "recurrent_kernel_dropout": 0.5,
    "activation_regularization": 2.0,
    "temporal_activation_regularization": 1.0,
}


def test_each_regularisation_is_where_it_belongs():
    model = LanguageModel(V, 6, (8, 6), B, T, tie_embeddings=True, **REGULARIZED)
    layers = {layer.name: layer for layer in model.layers}
    assert layers["embedding"].word_dropout == 0.1
    rates = [layers[name].rate for name in ("embedding_dropout", "lstm_0_dropout", "lstm_1_dropout")]
    assert rates == [0.2, 0.3, 0.4]
    assert {layers[name].noise_shape for name in ("embedding_dropout", "lstm_1_dropout")} == {(None, 1, None)}
    assert [layers[name].recurrent_kernel_dropout for name in ("lstm_0", "lstm_1")] == [0.5, 0.5]
    assert layers["lstm_0"].activity_regularizer is layers["lstm_0_dropout"].activity_regularizer is None
    assert layers["lstm_1"].activity_regularizer.beta == 1.0
    assert layers["lstm_1_dropout"].activity_regularizer.alpha == 2.0


@pytest.mark.parametrize("tied", [False, True])
def test_a_projection_takes_the_last_output_to_the_embedding_s_size(tied):
    model = LanguageModel(V, 6, (8, 9), B, T, tie_embeddings=tied, projection=True, init_scale=1.0, **REGULARIZED)
    layers = {layer.name: layer for layer in model.layers}
    assert [layers[name].rate for name in ("lstm_1_dropout", "projection_dropout")] == [0.4, 0.4]
    assert layers["projection_dropout"].noise_shape == (None, 1, None)
    assert layers["projection_dropout"].activity_regularizer is None
    layers["projection"].bias.assign(np.linspace(-1, 1, 6))
    x = np.arange(B * T, dtype="int32").reshape(B, T) % V
    h = layers["embedding"](x)
    for name in ("lstm_0", "lstm_1"):
        h = layers[name](h)
    model.reset_evaluation_states()
    kernel, bias = layers["projection"].get_weights()
    projected = np.asarray(h, "float64") @ kernel + bias
    np.testing.assert_allclose(model.encode(x), projected, atol=1e-6)
    matrix = layers["embedding"].get_weights()[0].T if tied else layers["logits"].get_weights()[0]
    logits = projected @ matrix + np.asarray(layers["logits"].bias)
    np.testing.assert_allclose(model.predict(x, verbose=0), logits, atol=1e-6)


def test_regularisation_adds_the_penalties_of_the_last_layer_to_the_loss():
    model = LanguageModel(V, 6, (8, 6), B, T, tie_embeddings=True, seed=1, init_scale=1.0, **REGULARIZED)
    plain = LanguageModel(V, 6, (8, 6), B, T, tie_embeddings=True, seed=1, init_scale=1.0)
    plain.set_weights(model.get_weights())
    model.compile()
    plain.compile()
    x = np.arange(B * T, dtype="int32").reshape(B, T) % V
    h = np.asarray(plain.encode(x))  # without dropout, as in evaluation
    expected = 2.0 * T * np.mean(h**2) + 1.0 * T * np.mean(np.diff(h, axis=1) ** 2)
    found, cost = (m.evaluate(x, x, verbose=0, return_dict=True) for m in (model, plain))
    assert found["loss"] - cost["loss"] == pytest.approx(expected, rel=2e-3)
    assert found["perplexity"] == cost["perplexity"]


def test_regularisation_is_saved_and_loaded(tmp_path):
    model = LanguageModel(V, 6, (8, 6), B, T, keep_prob=0.8, hidden_dropout=0.0, recurrent_dropout=0.25)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.get_config() == model.get_config()
    assert loaded.get_layer("lstm_1_dropout").rate == pytest.approx(0.2)
    assert "lstm_0_dropout" not in [layer.name for layer in loaded.layers]
    assert loaded.get_layer("lstm_0").recurrent_dropout == 0.25


def test_variational_dropout_has_one_mask_for_all_steps():
    model = LanguageModel(V, 16, 8, B, T, input_dropout=0.5, variational_dropout=True)
    x = model.get_layer("embedding")(np.zeros((B, T), "int32"))
    dropped = np.asarray(model.get_layer("embedding_dropout")(x, training=True)) == 0
    assert 0.2 < dropped.mean() < 0.8
    assert (dropped == dropped[:, :1]).all()


@pytest.mark.parametrize("name", ["input_dropout", "word_dropout", "recurrent_kernel_dropout"])
@pytest.mark.parametrize("value", [-0.1, 1.0, float("nan")])
def test_refuses_rates_of_dropout_that_are_none(name, value):
    with pytest.raises(ValueError, match=rf"`{name}` must be .* at least 0 and below 1. Received: {name}={value}"):
        LanguageModel(V, 6, 8, B, T, **{name: value})


def test_refuses_negative_penalties():
    with pytest.raises(ValueError, match=r"`activation_regularization` must be a number of at least 0. Received"):
        LanguageModel(V, 6, 8, B, T, activation_regularization=-1.0)
