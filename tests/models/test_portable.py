import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasptb.cells import CELLS
from kerasptb.engine import Network
from kerasptb.models import LanguageModel
from kerasptb.models.portable import PortableNetwork, portable_model

TOKENS = np.random.default_rng(0).integers(0, 40, (3, 12)).astype("int32")


@pytest.fixture(scope="module")
def model():
    """A model of two layers whose probabilities are far from even, so that a wrong word shows."""
    model = LanguageModel(53, 8, (11, 9), batch_size=3, num_steps=5, init_scale=1.0, keep_prob=0.5, seed=4)
    model.compile()
    return model


def zero_state(model, batch):
    return {name: np.zeros((batch, size), "float32") for name, size in PortableNetwork(model).state_sizes.items()}


def test_whole_rows_give_the_logits_of_the_trained_model(model):
    outputs = portable_model(model)({"tokens": TOKENS, **zero_state(model, 3)})
    np.testing.assert_allclose(outputs["logits"], model.predict(TOKENS, verbose=0), atol=1e-5)


def test_the_state_carries_a_row_from_call_to_call(model):
    portable = portable_model(model)
    whole = portable({"tokens": TOKENS, **zero_state(model, 3)})
    first = portable({"tokens": TOKENS[:, :5], **zero_state(model, 3)})
    del first["logits"]
    second = portable({"tokens": tf.constant(TOKENS[:, 5:]), **first})
    for name in whole:
        expected = whole[name][:, 5:] if name == "logits" else whole[name]
        np.testing.assert_allclose(second[name], expected, atol=1e-6, err_msg=name)


def test_rows_are_independent_of_each_other_and_of_earlier_calls(model):
    portable = portable_model(model, with_state=False)
    together = portable(TOKENS).numpy()
    for row in range(3):
        np.testing.assert_allclose(portable(TOKENS[row : row + 1])[0], together[row], atol=1e-6)


def test_masked_steps_leave_the_state_as_it_was(model):
    network = PortableNetwork(model)
    mask = tf.sequence_mask([12, 4, 1], 12)
    hidden, state = network.encode(TOKENS, mask=mask)
    for row, length in enumerate((12, 4, 1)):
        alone, alone_state = network.encode(TOKENS[row : row + 1, :length])
        np.testing.assert_allclose(hidden[row, -1], alone[0, -1], atol=1e-6)
        for name in state:
            np.testing.assert_allclose(state[name][row], alone_state[name][0], atol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    ("backend", "precision"), [("reference", "float32"), ("keras", "float32"), ("native", "bfloat16")]
)
def test_it_is_float32_stateless_and_without_cudnn_whatever_the_training_used(request, backend, precision):
    if backend == "native":
        request.getfixturevalue("skip_without")(precision)
    trained = LanguageModel(20, 6, (5, 4), 2, 3, backend=backend, precision=precision, keep_prob=0.5)
    portable = portable_model(trained)
    assert {variable.dtype for variable in portable.weights} == {"float32"}
    assert [layer.compute_dtype for layer in portable.layers] == ["float32"] * len(portable.layers)
    lstms = [layer for layer in portable.layers if layer.name.startswith("lstm_")]
    # Keras' loop over Keras' cell: only `keras.layers.LSTM` has cuDNN.
    assert [(type(layer), type(layer.cell), layer.stateful) for layer in lstms] == [
        (keras.layers.RNN, keras.layers.LSTMCell, False)
    ] * 2


def test_weights_are_copies():
    trained = LanguageModel(20, 6, 5, 2, 3, seed=1)
    portable = portable_model(trained, with_state=False)
    before = portable(TOKENS % 20).numpy()
    for variable in trained.variables:
        variable.assign(variable * 0)
    np.testing.assert_array_equal(portable(TOKENS % 20), before)


def test_keras_own_export_writes_a_model_without_state(model, tmp_path):
    model.predict(TOKENS, verbose=0)  # leaves a state behind, which must not leak
    model.export(tmp_path / "exported", verbose=False)
    loaded = tf.saved_model.load(str(tmp_path / "exported"))
    expected = model.predict(TOKENS, verbose=0)
    for _ in range(2):
        np.testing.assert_allclose(loaded.serve(TOKENS), expected, atol=1e-5)
    np.testing.assert_allclose(loaded.serve(TOKENS[1:2, :7]), expected[1:2, :7], atol=1e-5)


@pytest.mark.parametrize("format", ["onnx", "litert", "openvino", "torch"])
def test_keras_own_export_refuses_other_formats(model, tmp_path, format):
    with pytest.raises(ValueError, match=f"export_litert.*Received: format='{format}'"):
        model.export(tmp_path / "exported.tflite", format=format)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("training", [False, True])
def test_a_stateful_model_cannot_be_saved_with_its_state_by_accident(tmp_path, training):
    import keras

    trained = LanguageModel(20, 6, 5, 2, 3, seed=1)
    archive = keras.export.ExportArchive()
    archive.track(trained)
    with pytest.raises(ValueError, match="all clients of the export would share its state"):
        archive.add_endpoint(
            "serve",
            lambda tokens: trained(tokens, training=training),
            input_signature=[tf.TensorSpec([2, None], tf.int32)],
        )
        archive.write_out(tmp_path / "exported", verbose=False)
    with pytest.raises(ValueError, match="all clients of the export would share its state"):
        tf.saved_model.save(trained, str(tmp_path / "saved"))


def test_tied_embeddings_are_exported_as_two_matrices():
    model = LanguageModel(40, 8, (12, 8), 3, 12, tie_embeddings=True, seed=5)
    network = PortableNetwork(model)
    np.testing.assert_array_equal(network.weights[-2], model.get_layer("embedding").get_weights()[0].T)
    outputs = portable_model(model)({"tokens": TOKENS, **zero_state(model, 3)})
    np.testing.assert_allclose(outputs["logits"], model.predict(TOKENS, verbose=0), atol=1e-5)


def test_a_projection_is_exported_and_found_again_in_the_weights():
    model = LanguageModel(40, 8, (12, 9), 3, 12, tie_embeddings=True, projection=True, init_scale=1.0, seed=5)
    network = PortableNetwork(model)
    outputs = portable_model(model)({"tokens": TOKENS, **zero_state(model, 3)})
    np.testing.assert_allclose(outputs["logits"], model.predict(TOKENS, verbose=0), atol=1e-5)
    again = PortableNetwork(Network(CELLS["lstm"], [weight.numpy() for weight in network.weights]))
    assert [layer.name for layer in again.layers] == ["embedding", "lstm_0", "lstm_1", "projection", "logits"]
    (hidden, _), (expected, _) = again.encode(TOKENS), network.encode(TOKENS)
    np.testing.assert_array_equal(again.logits(hidden), network.logits(expected))


@pytest.mark.parametrize(
    ("layer", "tied"), [("embedding", False), ("embedding", True), ("logits", False), ("projection", True)]
)
def test_low_rank_adaptations_are_in_the_exported_matrices(layer, tied):
    options = {"tie_embeddings": tied, "projection": layer == "projection", "init_scale": 0.5, "seed": 5}
    model = LanguageModel(40, 8, (12, 8), 3, 12, **options)
    before = portable_model(model)({"tokens": TOKENS, **zero_state(model, 3)})["logits"]
    model.get_layer(layer).enable_lora(2)
    for weight in model.get_layer(layer).trainable_weights:
        weight.assign(0.3 * np.random.default_rng(0).normal(size=weight.shape))
    outputs = portable_model(model)({"tokens": TOKENS, **zero_state(model, 3)})
    np.testing.assert_allclose(outputs["logits"], model.predict(TOKENS, verbose=0), atol=1e-5)
    assert np.abs(outputs["logits"] - before).max() > 0.01


def test_keras_own_export_takes_a_signature(model, tmp_path):
    signature = [tf.TensorSpec([2, 4], tf.int32, name="words")]
    model.export(tmp_path / "exported", verbose=False, input_signature=signature)
    loaded = tf.saved_model.load(str(tmp_path / "exported"))
    (spec,) = loaded.signatures["serving_default"].structured_input_signature[1].values()
    assert (spec.name, spec.shape.as_list()) == ("words", [2, 4])
