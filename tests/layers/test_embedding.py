import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasptb.layers import Embedding

IDS = np.array([[1, 4, 1], [0, 9, 9]], "int32")


def made(**arguments):
    layer = Embedding(10, 4, **arguments)
    layer(IDS)
    keras_layer = keras.layers.Embedding(10, 4, **arguments)
    keras_layer(IDS)
    keras_layer.set_weights(layer.get_weights())
    return layer, keras_layer


@pytest.mark.parametrize("dtype", ["float32", "float64", "mixed_bfloat16", "bfloat16"])
@pytest.mark.parametrize("ids_dtype", ["int32", "int64", "uint8", "float32"])
def test_gives_what_keras_gives(dtype, ids_dtype):
    layer, keras_layer = made(dtype=dtype)
    expected, result = keras_layer(IDS.astype(ids_dtype)), layer(IDS.astype(ids_dtype))
    assert result.dtype == expected.dtype
    np.testing.assert_array_equal(result, expected)


def test_gradient_is_of_the_rows_alone():
    layer, keras_layer = made()
    factors = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("float32")
    gradients = []
    for either in (layer, keras_layer):
        with tf.GradientTape() as tape:
            cost = tf.reduce_sum(either(tf.constant(IDS)) * factors)
        gradients.append(tape.gradient(cost, either.trainable_weights[0]))
    assert isinstance(gradients[0], tf.IndexedSlices)
    assert gradients[0].values.shape == (6, 4)
    np.testing.assert_array_equal(tf.convert_to_tensor(gradients[0]), tf.convert_to_tensor(gradients[1]))


def test_the_matrix_is_not_read():
    layer, keras_layer = made()

    def operations(either):
        graph = tf.function(either).get_concrete_function(tf.TensorSpec((2, 3), "int32")).graph
        return {operation.type for operation in graph.get_operations()}

    assert "ReadVariableOp" in operations(keras_layer)
    assert "ReadVariableOp" not in operations(layer)
    assert "ResourceGather" in operations(layer)


@pytest.mark.parametrize("wrong", [-1, 10])
def test_ids_out_of_range_are_an_error(wrong):
    layer, _ = made()
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"= {wrong} is not in"):
        layer(np.array([[wrong]], "int32"))


@pytest.mark.parametrize("run", [lambda f: f, tf.function], ids=["eager", "graph"])
def test_ids_that_are_no_whole_numbers_are_an_error(run):
    layer, _ = made()
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError), match=r"word ids that are whole.*1\.5"):
        run(layer)(tf.constant([[1.0, 1.5]]))


def test_ids_that_a_mixed_policy_has_rounded_are_refused():
    model = keras.Sequential([Embedding(4096, 2, dtype="mixed_bfloat16")], name="mixed")
    model.dtype_policy = "mixed_bfloat16"
    with pytest.raises(ValueError, match="Received: word ids of dtype bfloat16"):
        model(np.array([[2049.0]], "float32"))
    layer = Embedding(4096, 2, dtype="mixed_bfloat16")  # by itself it casts no ids
    np.testing.assert_array_equal(layer(np.array([2049.0], "float32")), layer(np.array([2049])))


def test_masks_and_is_saved_as_keras_does(tmp_path):
    model = keras.Sequential([keras.Input((None,), dtype="int32"), Embedding(10, 4, mask_zero=True)])
    np.testing.assert_array_equal(model.layers[0].compute_mask(tf.constant(IDS)), IDS != 0)
    expected = model.predict(IDS, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded.layers[0]) is Embedding
    np.testing.assert_array_equal(loaded.predict(IDS, verbose=0), expected)


def test_takes_the_values_of_a_stateless_scope():
    layer, _ = made()
    matrix = tf.reshape(tf.range(40.0), (10, 4))
    with keras.StatelessScope(state_mapping=[(layer.trainable_variables[0], matrix)]):
        result = layer(IDS)
    np.testing.assert_array_equal(result, tf.gather(matrix, IDS))


@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "jit"])
def test_whole_words_are_dropped(jit_compile):
    layer = Embedding(200, 3, word_dropout=0.25, seed=1, embeddings_initializer="ones")
    ids = np.arange(400).reshape(2, 200) % 200
    call = tf.function(layer, jit_compile=jit_compile)
    first, second = call(ids, training=True).numpy(), call(ids, training=True).numpy()
    np.testing.assert_array_equal(first[0], first[1])  # of a word all occurrences
    np.testing.assert_array_equal(first[0, :, 0], first[0, :, 2])
    assert set(np.unique(first)) == {0.0, np.float32(1 / 0.75)}
    assert 0.15 < (first[0, :, 0] == 0).mean() < 0.35
    assert (first != second).any()
    np.testing.assert_array_equal(layer(ids), np.ones((2, 200, 3)))


def test_a_dropped_word_has_no_gradient_and_the_rest_stays_of_rows():
    layer = Embedding(50, 2, word_dropout=0.5, seed=1)
    ids = np.arange(50)[None]
    with tf.GradientTape() as tape:
        vectors = layer(ids, training=True)
    gradient = tape.gradient(vectors, layer.trainable_weights[0])
    assert isinstance(gradient, tf.IndexedSlices)
    np.testing.assert_array_equal(gradient.values == 0, vectors[0] == 0)


def test_word_dropout_is_saved():
    config = Embedding.from_config(Embedding(5, 2, word_dropout=0.5, seed=7).get_config()).get_config()
    assert (config["word_dropout"], config["seed"]) == (0.5, 7)


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_a_rate_that_is_none_is_refused(rate):
    with pytest.raises(ValueError, match="Expected word_dropout to be in"):
        Embedding(3, 2, word_dropout=rate)
