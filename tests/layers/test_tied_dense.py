import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasptb.layers
from kerasptb.layers import FusedLSTM, TiedDense
from kerasptb.losses import SequenceCrossEntropy


def test_logits_are_products_with_the_words_own_vectors():
    embedding = keras.layers.Embedding(7, 3)
    vectors = embedding(np.arange(7)[np.newaxis])
    layer = TiedDense(embedding, bias_initializer="random_uniform")
    logits = layer(vectors)
    matrix, bias = embedding.get_weights()[0].astype("float64"), layer.bias.numpy()
    np.testing.assert_allclose(logits[0], matrix @ matrix.T + bias, rtol=1e-6, atol=1e-7)


def test_the_matrix_learns_from_both_its_uses():
    embedding = keras.layers.Embedding(5, 3)
    layer = TiedDense(embedding)
    tokens = np.array([[1, 1, 4]])
    layer(embedding(tokens))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(embedding(tokens)))
    gradient = tf.convert_to_tensor(tape.gradient(loss, embedding.trainable_weights[0])).numpy()
    matrix = embedding.get_weights()[0].astype("float64")
    # loss = Σ_t Σ_v E[x_t] · E[v]
    as_output = np.tile(matrix[tokens[0]].sum(0), (5, 1))
    as_input = np.bincount(tokens[0], minlength=5)[:, np.newaxis] * matrix.sum(0)
    np.testing.assert_allclose(gradient, as_output + as_input, rtol=1e-5, atol=1e-6)


def test_a_mask_of_keras_passes_through():
    tokens, targets = np.array([[3, 1, 0, 0], [2, 0, 0, 0]]), np.ones((2, 4), "int32")
    embedding = keras.layers.Embedding(5, 3, mask_zero=True)
    inputs = keras.Input((4,), dtype="int32")
    model = keras.Model(inputs, TiedDense(embedding)(embedding(inputs)))
    model.compile(loss=SequenceCrossEntropy())
    losses = -keras.ops.log_softmax(model(tokens))[..., 1].numpy()
    # Three words count, the padding does not.
    expected = (losses[0, 0] + losses[0, 1] + losses[1, 0]) / 2
    assert model.evaluate(tokens, targets, verbose=0) == pytest.approx(expected, rel=1e-6)


def test_only_the_bias_is_a_weight_of_the_layer():
    embedding = keras.layers.Embedding(5, 3)
    layer = TiedDense(embedding)
    layer(embedding(np.array([[1]])))
    assert [tuple(weight.shape) for weight in layer.weights] == [(5,)]


def test_inputs_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"embedding's size, \[..., 3\].*Received: inputs of shape \(2, 4\)"):
        TiedDense(keras.layers.Embedding(5, 3))(np.zeros((2, 4), "float32"))


def tied_model(embedding, inner=None):
    inputs = keras.Input((4,), dtype="int32")
    x = FusedLSTM(3, return_sequences=True)((inner or embedding)(inputs))
    return keras.Model(inputs, TiedDense(embedding, bias_initializer="random_uniform", dtype="float32")(x))


@pytest.mark.parametrize("of", [keras.layers, kerasptb.layers], ids=["keras", "kerasptb"])
def test_a_functional_model_is_saved_and_still_tied(of, tmp_path):
    tokens = np.array([[3, 1, 0, 4]])
    model = tied_model(of.Embedding(5, 3))
    model.compile("sgd", SequenceCrossEntropy())
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(tokens), model(tokens))
    assert len(loaded.trainable_weights) == 5
    _, embedding, _, last = loaded.layers
    assert last.embeddings is embedding.embeddings
    for each in (model, loaded):
        each.train_on_batch(tokens, tokens)
    np.testing.assert_allclose(loaded(tokens), model(tokens), rtol=1e-6)


def test_what_would_not_be_tied_any_more_is_refused(tmp_path):
    with pytest.raises(NotImplementedError, match=r"shares an embedding's matrix.*load_model"):
        keras.models.clone_model(tied_model(keras.layers.Embedding(5, 3)))
    inputs, embedding = keras.Input((4,), dtype="int32"), keras.layers.Embedding(5, 3)
    tied_model(embedding, keras.Model(inputs, embedding(inputs))).save(tmp_path / "model.keras")
    with pytest.raises(ValueError, match=r"embedding that was called.*not built"):
        keras.models.load_model(tmp_path / "model.keras")


def test_a_quantized_embedding_is_refused():
    embedding = keras.layers.Embedding(16, 8)
    layer = TiedDense(embedding)
    vectors = embedding(np.zeros((1, 2), "int32"))
    layer(vectors)
    embedding.quantize("int8")
    with pytest.raises(ValueError, match=r"matrix in floating point\. Received: .*quantized to int8"):
        layer(vectors)
