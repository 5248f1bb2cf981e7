import json
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_models import TRAIN, VALID, B, T, V, compiled_model, losses_of, small_model

from kerasptb.data import Vocabulary
from kerasptb.data.text_format import TextFormat
from kerasptb.losses import SequenceCrossEntropy
from kerasptb.models import LanguageModel, build_language_model
from kerasptb.pipeline import make_dataset
from kerasptb.presets import get_preset


def test_original_has_3_955_088_parameters_in_nine_variables():
    model = build_language_model()
    assert model.count_params() == 3_955_088
    assert {variable.path: variable.shape for variable in model.trainable_variables} == {
        "embedding/embeddings": (10000, 200),
        "lstm_0/lstm_cell/kernel": (200, 1024),
        "lstm_0/lstm_cell/recurrent_kernel": (256, 1024),
        "lstm_0/lstm_cell/bias": (1024,),
        "lstm_1/lstm_cell/kernel": (256, 512),
        "lstm_1/lstm_cell/recurrent_kernel": (128, 512),
        "lstm_1/lstm_cell/bias": (512,),
        "logits/kernel": (128, 10000),
        "logits/bias": (10000,),
    }


def test_weights_begin_uniform_and_lstm_biases_at_zero():
    for variable in build_language_model(init_scale=0.05, seed=1).trainable_variables:
        values = variable.numpy()
        if "lstm_cell/bias" in variable.path:
            assert not values.any()  # the forget gate's too: the original has forget_bias=0
        else:
            assert 0.0499 < np.abs(values).max() <= 0.05
            # The standard deviation of a uniform variable in ±a is a / sqrt(3).
            assert values.std() == pytest.approx(0.05 / math.sqrt(3), rel=0.03)


def test_seed_repeats_the_weights_and_no_two_are_alike():
    first, again, other = (small_model(seed=seed).get_weights() for seed in (5, 5, 6))
    for a, b, c in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.any() == (not np.array_equal(a, c))
    assert not np.array_equal(first[1][:6, :8], first[0][:6, :8])


def test_untrained_model_costs_num_steps_times_log_vocabulary():
    cost, perplexity = compiled_model().evaluate(make_dataset(VALID, B, T), verbose=0)
    assert cost == pytest.approx(T * math.log(V), rel=5e-3)
    assert perplexity == pytest.approx(V, rel=1e-2)


def test_preset_takes_the_size_of_its_tokenizer():
    words = Vocabulary(["<eos>", "a", "b"])
    assert LanguageModel.from_preset("notebook", tokenizer=words).vocabulary_size == 3
    assert LanguageModel.from_preset("notebook", tokenizer=TextFormat(tokenizer=words)).tokenizer is words
    # Without a tokenizer the preset's own.
    assert LanguageModel.from_preset("notebook", tokenizer=TextFormat(keep_lines=True)).vocabulary_size == 10_000


@pytest.mark.parametrize(
    ("keep_prob", "names"),
    [
        (1.0, ["tokens", "embedding", "lstm_0", "lstm_1", "logits"]),
        (
            0.8,
            [
                "tokens",
                "embedding",
                "embedding_dropout",
                "lstm_0",
                "lstm_0_dropout",
                "lstm_1",
                "lstm_1_dropout",
                "logits",
            ],
        ),
    ],
)
def test_dropout_is_on_the_embeddings_and_each_layers_output(keep_prob, names):
    layers = small_model(keep_prob=keep_prob).layers
    assert [layer.name for layer in layers] == names
    assert {layer.rate for layer in layers if isinstance(layer, keras.layers.Dropout)} <= {1.0 - keep_prob}


def test_takes_numbers_of_numpys():
    model = LanguageModel(
        np.int32(V), np.int64(6), np.int64(8), np.int8(B), np.uint8(T), np.float32(0.5), seed=np.int64(3)
    )
    config = json.loads(json.dumps(model.get_config()))
    assert (config["units"], config["batch_size"], config["keep_prob"], config["seed"]) == ([8], B, 0.5, 3)


@pytest.mark.parametrize("length", [1, 2, 31, 32, 33, 101])
def test_the_next_word_follows_from_all_before_it(length):
    model = compiled_model(init_scale=1.0)
    rows = VALID[: 2 * length].reshape(2, length)
    logits = model.predict(rows, batch_size=2, verbose=0)[:, -1].astype("float64")
    expected = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    np.testing.assert_allclose(model.next_word_probabilities(rows), expected, rtol=1e-5)
    if length > 1:
        _, state = model.stateless_next_word_probabilities(rows[:, :1])
        found, _ = model.stateless_next_word_probabilities(rows[:, 1:], state)
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_takes_one_layer_and_three():
    assert LanguageModel(V, 6, 8, B, T).predict(np.zeros((B, 2), "int32"), verbose=0).shape == (B, 2, V)
    assert LanguageModel(V, 6, (8, 3, 5), B, T).get_layer("logits").kernel.shape == (5, V)


def test_tuned_preset_is_within_the_parameters_of_the_notebook():
    notebook, tuned = (LanguageModel.from_preset(name).count_params() for name in ("notebook", "tuned"))
    # 10,000 (288 + 1) + 4 · 288 (288 + 288 + 1)
    assert tuned == 3_554_704 < notebook == 3_955_088


def test_preset_is_the_original():
    model = LanguageModel.from_preset("notebook", batch_size=7)
    assert model.count_params() == 3_955_088
    assert (model.batch_size, model.num_steps, model.keep_prob, model.init_scale) == (7, 20, 1.0, 0.1)
    preset = get_preset("notebook")
    assert list(preset.settings.values()) == [1.0, 5, 0.5, 5.0]
    assert preset.epochs == 15
    with pytest.raises(ValueError, match=r"\['auto', .*'notebook', .*\]. Received: 'large'"):
        LanguageModel.from_preset("large")


@pytest.mark.parametrize(
    "argument",
    [
        {"vocabulary_size": 0},
        {"units": ()},
        {"units": (8, 0)},
        {"batch_size": 2.5},
        {"keep_prob": 0.0},
        {"keep_prob": 1.5},
        {"init_scale": -0.1},
        {"num_steps": -1},
    ],
)
def test_arguments_out_of_range_are_named(argument):
    arguments = {"vocabulary_size": V, "embedding_size": 6, "units": (8,), "batch_size": B, "num_steps": T}
    with pytest.raises(ValueError, match=f"`{next(iter(argument))}.*Received"):
        LanguageModel(**{**arguments, **argument})


def test_next_word_probabilities_are_the_softmax_of_the_last_logits():
    model = compiled_model()
    tokens = TRAIN[:12].reshape(2, 6)
    logits = model.predict(tokens, batch_size=2, verbose=0)[:, -1]
    expected = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    np.testing.assert_allclose(model.next_word_probabilities(tokens), expected, rtol=1e-5)
    np.testing.assert_allclose(model.next_word_probabilities(tokens), expected, rtol=1e-5)
    # Read in two pieces, the second from the state of the first.
    _, state = model.stateless_next_word_probabilities(tokens[:, :4])
    np.testing.assert_allclose(model.stateless_next_word_probabilities(tokens[:, 4:], state)[0], expected, rtol=1e-5)
    with pytest.raises(ValueError, match=r"rows of word ids, \[B, T\].*shape \(2,\)"):
        model.next_word_probabilities([1, 2])
    with pytest.raises(ValueError, match="Expected word ids in"):
        model.next_word_probabilities([[1, 99]])


def test_training_learns_a_text_that_repeats_itself():
    text = np.tile(np.arange(10, dtype="int32"), 80)
    model = compiled_model(init_scale=0.3)
    history = model.fit(make_dataset(text, B, T), epochs=8, verbose=0).history
    assert history["perplexity"][-1] < 1.2


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_trains_under_a_mixed_dtype_policy(policy):
    keras.config.set_dtype_policy(policy)
    try:
        model = compiled_model()
    finally:
        keras.config.set_dtype_policy("float32")
    np.testing.assert_allclose(losses_of(model), losses_of(compiled_model()), rtol=0.02)


def test_mixed_bfloat16_is_the_precision_bfloat16(skip_without):
    skip_without("bfloat16")
    followed, named, plain = (
        compiled_model(keep_prob=0.8, **kwargs)
        for kwargs in ({"dtype": "mixed_bfloat16"}, {"dtype": "mixed_bfloat16", "precision": "bfloat16"}, {})
    )
    losses = losses_of(followed)
    assert losses == losses_of(named)
    assert losses != losses_of(plain)


def test_a_cost_of_an_open_batch_is_refused():
    model = small_model()
    open_batch = tf.TensorSpec([None, None], tf.int32)
    with pytest.raises(ValueError, match=r"batches of a fixed size.*Received: targets of shape \(None, None\)"):
        tf.function(lambda x, y: model.compute_cost(x, y, training=True)).get_concrete_function(open_batch, open_batch)


def test_is_quantized_by_its_export_alone():
    with pytest.raises(ValueError, match=r"export_litert\(\.\.\., quantize=True\)"):
        compiled_model().quantize("int8")


def test_other_backends_of_keras_are_refused_by_name(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "numpy")
    with pytest.raises(ValueError, match="needs KERAS_BACKEND=tensorflow, jax or torch"):
        LanguageModel(V, 6, 6, B, T)


@pytest.mark.parametrize("projection", [False, True])
def test_the_fused_cost_of_tied_embeddings_is_that_of_the_logits(projection):
    model = LanguageModel(V, 6, (8, 9 if projection else 6), B, T, tie_embeddings=True, projection=projection, seed=1)
    tokens = np.random.default_rng(0).integers(0, V, (B, T)).astype("int32")
    targets = np.roll(tokens, -1, axis=1)
    gradients = []
    for cost in (
        lambda: model.compute_cost(tokens, targets),
        lambda: keras.ops.mean(SequenceCrossEntropy()(targets, model(tokens))),
    ):
        model.reset_states()
        with tf.GradientTape() as tape:
            loss = cost()
        gradients.append([loss, *tape.gradient(loss, model.trainable_weights)])
    for ours, plain in zip(*gradients, strict=True):
        np.testing.assert_allclose(tf.convert_to_tensor(ours), tf.convert_to_tensor(plain), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backend", ["keras", "native"])
def test_a_step_of_tied_embeddings_copies_no_matrix_of_the_vocabulary(backend, request):
    if backend == "native":
        request.getfixturevalue("native_library")
    model = LanguageModel(V, 6, 6, B, T, tie_embeddings=True, backend=backend)
    model.compile()
    tokens = tf.zeros((B, T), tf.int32)
    graph = tf.function(lambda: model.train_step((tokens, tokens))).get_concrete_function().graph
    assert not [op for op in graph.get_operations() if op.type == "Transpose" and sorted(op.outputs[0].shape) == [6, V]]
    # With ResourceGather, TensorFlow would copy the variable at each reading.
    assert not [op for op in graph.get_operations() if op.type == "ResourceGather"]


def test_tied_embeddings_need_equal_sizes():
    with pytest.raises(ValueError, match=r"last LSTM layer of the embedding's size.*embedding_size=6, units=\(8, 5\)"):
        LanguageModel(V, 6, (8, 5), B, T, tie_embeddings=True)
