import concurrent.futures
import json
import math
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasptb.callbacks import ResetStates
from kerasptb.data import make_dataset
from kerasptb.evaluation.perplexity import evaluate_split
from kerasptb.layers import StatefulLSTM
from kerasptb.losses import SequenceCrossEntropy, SparseCategoricalCrossentropy
from kerasptb.metrics import Perplexity
from kerasptb.models import LanguageModel, build_language_model
from kerasptb.ops import platform as platforms
from kerasptb.optimizers import ClippedSGD
from kerasptb.presets import get_preset

KERAS = keras.losses.SparseCategoricalCrossentropy
V, B, T = 23, 4, 5
TRAIN = np.random.default_rng(0).integers(0, V, 404).astype("int32")
VALID = np.random.default_rng(1).integers(0, V, 203).astype("int32")


class Losses(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.values = []

    def on_train_batch_end(self, batch, logs=None):
        self.values.append(logs["loss"])


def small_model(**kwargs):
    return build_language_model(V, 6, (8, 7), B, T, **{"seed": 3, **kwargs})


def compiled_model(**kwargs):
    model = small_model(**kwargs)
    model.compile(jit_compile=False)  # to save time: nothing here depends on it
    return model


def losses_of(model, epochs=2, **kwargs):
    losses = Losses()
    model.fit(make_dataset(TRAIN, B, T), epochs=epochs, callbacks=[losses], verbose=0, **kwargs)
    return losses.values


# The model


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


def test_what_the_defaults_do_not_train_on_is_named():
    x = TRAIN[: B * T].reshape(B, T)
    with pytest.raises(ValueError, match="Received: tokens alone"):
        compiled_model().fit(x, verbose=0)


def test_the_advice_for_weights_counts_them():
    model = small_model()
    model.compile(loss=SequenceCrossEntropy(), weighted_metrics=[Perplexity()], jit_compile=False)
    x, weights = TRAIN[: B * T].reshape(B, T), np.ones((B, T), "float32")
    weights[:, -1] = 0
    results = []
    for last in (0, 1):
        y = TRAIN[1 : B * T + 1].reshape(B, T).copy()
        y[:, -1] = last
        results.append(model.evaluate(x, y, sample_weight=weights, verbose=0, return_dict=True))
    assert results[0] == results[1]
    assert results[0]["loss"] == pytest.approx((T - 1) * math.log(results[0]["perplexity"]), rel=1e-5)


@pytest.mark.parametrize("length", [1, 2, 31, 32, 33, 101])
def test_the_next_word_follows_from_all_before_it(length):
    model = compiled_model(init_scale=1.0)
    rows = VALID[: 2 * length].reshape(2, length)
    logits = model.predict(rows, batch_size=2, verbose=0)[:, -1].astype("float64")
    expected = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    np.testing.assert_allclose(model.next_word_probabilities(rows), expected, rtol=1e-5)
    if length > 1:
        model.next_word_probabilities(rows[:, :1])
        np.testing.assert_allclose(model.next_word_probabilities(rows[:, 1:], reset=False), expected, rtol=1e-5)


def test_loss_weights_count():
    plain, weighted, explicit = small_model(), small_model(), small_model()
    plain.compile(jit_compile=False)
    weighted.compile(loss_weights=0.1, jit_compile=False)
    explicit.compile(ClippedSGD(), SequenceCrossEntropy(), 0.1, metrics=[Perplexity()], jit_compile=False)
    assert losses_of(weighted) == losses_of(explicit)
    assert losses_of(weighted, epochs=1)[0] < 0.2 * losses_of(plain)[0]


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
    assert list(preset.training_arguments().values()) == [1.0, 5, 0.5, 5.0]
    assert preset.epochs == 15
    with pytest.raises(ValueError, match=r"\['awd-lstm', .*'notebook', .*\]. Received: 'large'"):
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
    model.next_word_probabilities(tokens[:, :4])
    np.testing.assert_allclose(model.next_word_probabilities(tokens[:, 4:], reset=False), expected, rtol=1e-5)


# State


def test_training_losses_are_the_same_with_and_without_validation_to_the_bit():
    with_validation = losses_of(compiled_model(keep_prob=0.7), validation_data=make_dataset(VALID, 3, 11))
    assert with_validation == losses_of(compiled_model(keep_prob=0.7))


def test_evaluate_is_repeatable_and_leaves_the_training_state():
    model, undisturbed = compiled_model(), compiled_model()
    losses_of(model, epochs=1)
    first = model.evaluate(make_dataset(VALID, B, T), verbose=0)
    model.predict(make_dataset(VALID, 2, 3), verbose=0)
    assert model.evaluate(make_dataset(VALID, B, T), verbose=0) == first
    losses_of(undisturbed, epochs=1)
    assert losses_of(model, epochs=1) == losses_of(undisturbed, epochs=1)


def test_streams_read_one_by_one_at_any_length_are_those_read_together():
    model = compiled_model()
    losses_of(model)
    length = len(VALID) // B
    together = model.evaluate(make_dataset(VALID[: B * length], B, T), verbose=0)[1]
    words = (length - 1) // T * T
    for num_steps in (T, 7, words):
        total = 0.0
        for row in VALID[: B * length].reshape(B, length)[:, : words + 1]:
            used = words // num_steps * num_steps
            total += used * math.log(model.evaluate(make_dataset(row, 1, num_steps), verbose=0)[1])
        if words % num_steps == 0:
            assert math.exp(total / (B * words)) == pytest.approx(together, rel=1e-5)
        else:
            assert math.exp(total / (B * used)) == pytest.approx(together, rel=0.05)


def test_state_goes_on_from_batch_to_batch_within_a_prediction():
    model = small_model(init_scale=0.8)
    tokens = TRAIN[: B * 2 * T].reshape(B, 2 * T)
    whole = model.predict(tokens, verbose=0)
    halves = model.predict(np.concatenate([tokens[:, :T], tokens[:, T:]]), batch_size=B, verbose=0)
    np.testing.assert_allclose(halves.reshape(2, B, T, V).swapaxes(0, 1).reshape(B, 2 * T, V), whole, atol=2e-6)


def test_reset_states_begins_training_anew():
    model = compiled_model()
    model.optimizer.learning_rate = 0.0
    first, second = losses_of(model, epochs=1), losses_of(model, epochs=1)
    assert first != second  # the state of the first epoch's end
    model.reset_states()
    assert losses_of(model, epochs=1) == first


def test_steps_per_execution_changes_nothing():
    several = small_model(keep_prob=0.8)
    several.compile(steps_per_execution=5)
    assert losses_of(several)[-1] == losses_of(compiled_model(keep_prob=0.8))[-1]


# Training


def test_compiled_defaults_are_the_explicit_parts_of_the_original():
    explicit = small_model()
    explicit.compile(ClippedSGD(1.0, global_clipnorm=5.0), SequenceCrossEntropy(), metrics=[Perplexity()])
    default = compiled_model()
    histories = [
        model.fit(make_dataset(TRAIN, B, T), epochs=3, validation_data=make_dataset(VALID, B, T), verbose=0).history
        for model in (default, explicit)
    ]
    assert histories[0].keys() == histories[1].keys() == {"loss", "perplexity", "val_loss", "val_perplexity"}
    for name, values in histories[0].items():
        np.testing.assert_allclose(values, histories[1][name], rtol=1e-4, err_msg=name)


def test_history_holds_the_exact_perplexity():
    model = compiled_model()
    history = model.fit(make_dataset(TRAIN, B, T), epochs=1, verbose=0).history
    assert history["perplexity"][0] == pytest.approx(math.exp(history["loss"][0] / T), rel=1e-6)


def test_stock_loss_and_optimizer_give_stock_behaviour():
    model = small_model()
    tokens = keras.Input(batch_shape=(B, T), dtype="int32")
    x = keras.layers.Embedding(V, 6)(tokens)
    for units in model.units:
        x = keras.layers.LSTM(units, return_sequences=True, stateful=True, unit_forget_bias=False)(x)
    plain = keras.Model(tokens, keras.layers.Dense(V)(x))
    plain.set_weights(model.get_weights())
    losses = []
    for candidate in (model, plain):
        candidate.compile(
            keras.optimizers.Adam(0.01),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
        history = candidate.fit(make_dataset(TRAIN, B, T), epochs=3, verbose=0, shuffle=False).history
        assert history.keys() == {"loss", "accuracy"}
        losses.append(history["loss"])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


def test_arguments_come_in_keras_order():
    model = small_model()
    model.compile(keras.optimizers.SGD(0.1), SequenceCrossEntropy(), 0.5, ["accuracy"])
    rows = np.arange(6 * B * T, dtype="int32").reshape(-1, T) % V
    history = model.fit(rows, rows, B, 2, 0, None, 0.5, None, False).history
    assert history.keys() == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert history["loss"][0] == pytest.approx(0.5 * T * math.log(V), rel=0.01)
    # Half of the rows trained: the others do not matter.
    other = small_model()
    other.compile(keras.optimizers.SGD(0.1), SequenceCrossEntropy(), loss_weights=0.5, metrics=["accuracy"])
    assert other.fit(rows[: 3 * B], rows[: 3 * B], epochs=2, verbose=0).history["loss"] == history["loss"]


def test_training_learns_a_text_that_repeats_itself():
    text = np.tile(np.arange(10, dtype="int32"), 80)
    model = compiled_model(init_scale=0.3)
    history = model.fit(make_dataset(text, B, T), epochs=8, verbose=0).history
    assert history["perplexity"][-1] < 1.2


def test_embedding_gradient_stays_sparse():
    model = compiled_model()
    x, y = next(iter(make_dataset(TRAIN, B, T)))
    with tf.GradientTape() as tape:
        loss = model.compute_cost(x, y, training=True)
    gradients = tape.gradient(loss, model.trainable_weights)
    assert isinstance(gradients[0], tf.IndexedSlices)
    assert gradients[0].values.shape == (B * T, 6)


def test_compiles_with_xla():
    model = small_model()
    model.compile(jit_compile=True)
    np.testing.assert_allclose(losses_of(model), losses_of(compiled_model()), rtol=1e-4)


@pytest.mark.parametrize("shape", [(B,), (B, T)])
def test_sample_weights_weigh_the_cost_but_no_metrics(shape):
    weights = np.random.default_rng(3).uniform(0, 2, shape).astype("float32")
    weighted = make_dataset(TRAIN, B, T).map(lambda x, y: (x, y, weights))
    model, other = compiled_model(), small_model()
    # Without factors: the loss of plain logits, weighted by Keras' own rules.
    other.compile(ClippedSGD(), lambda y, z: T * keras.losses.sparse_categorical_crossentropy(y, z, from_logits=True))
    w = weights if weights.ndim == 2 else np.repeat(weights[:, None], T, 1)
    (found,) = model.fit(weighted, verbose=0).history["loss"]
    (expected,) = other.fit(make_dataset(TRAIN, B, T).map(lambda x, y: (x, y, w)), verbose=0).history["loss"]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    for own, wanted in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(own, wanted, atol=2e-5)
    result = model.evaluate(weighted, verbose=0, return_dict=True)
    assert result["perplexity"] == pytest.approx(
        model.evaluate(make_dataset(TRAIN, B, T), verbose=0, return_dict=True)["perplexity"], rel=1e-6
    )


class Added(keras.Regularizer):
    def __init__(self, value):
        self.value = value

    def __call__(self, x):
        return self.value + 0.0 * keras.ops.sum(x)

    def get_config(self):
        return {"value": self.value}


def test_threads_may_ask_for_the_next_word_while_one_trains():
    model = compiled_model(init_scale=1.0)
    rows = np.random.default_rng(5).integers(0, V, (24, 1, 11)).astype("int32")
    expected = [model.next_word_probabilities(row) for row in rows]
    with concurrent.futures.ThreadPoolExecutor(3) as threads:
        for found, wanted in zip(threads.map(model.next_word_probabilities, rows), expected, strict=True):
            np.testing.assert_array_equal(found, wanted)
        # Evaluations and the training begin and end as if there were no others.
        alone = compiled_model(init_scale=1.0)
        asked = threads.map(model.next_word_probabilities, np.repeat(rows, 3, axis=0))
        arguments = {"validation_data": make_dataset(VALID, B, T), "epochs": 3, "verbose": 0}
        history, expected = (
            trained.fit(make_dataset(TRAIN, B, T), callbacks=[ResetStates()], **arguments).history
            for trained in (model, alone)
        )
        assert history == expected
        assert len(list(asked)) == 72
    for mine, others in zip(model.get_weights(), alone.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, others)


def test_evaluations_amid_a_validation_and_it_are_what_they_are_alone(monkeypatch):
    model = small_model(init_scale=1.0)
    model.compile(keras.optimizers.SGD(0.0), jit_compile=False)
    rows, validation = np.random.default_rng(5).integers(0, V, (B, 40)).astype("int32"), make_dataset(VALID, B, T)
    alone = model.next_word_probabilities(rows), model.predict(rows, verbose=0)
    perplexity = model.evaluate(validation, verbose=0, return_dict=True)["perplexity"]
    half_read, go_on = threading.Event(), threading.Event()
    embedding = model.get_layer("embedding")
    call = embedding.call

    def in_two_halves(tokens, **kwargs):
        if tokens.shape[1] == 8:  # rows of 40 words are read in pieces of 32 and 8
            half_read.set()
            assert go_on.wait(60)
        return call(tokens, **kwargs)

    class Ask(keras.callbacks.Callback):
        def on_test_batch_begin(self, batch, logs=None):
            half_read.clear()
            go_on.clear()
            self.asked = threads.submit(model.next_word_probabilities, rows)
            assert half_read.wait(60)

        def on_test_batch_end(self, batch, logs=None):
            go_on.set()
            found.append((self.asked.result(), threads.submit(model.predict, rows, verbose=0).result()))

    monkeypatch.setattr(embedding, "call", in_two_halves)
    found = []
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        callbacks = [ResetStates(), Ask()]
        train = make_dataset(TRAIN, B, T)
        history = model.fit(train, validation_data=validation, callbacks=callbacks, epochs=2, verbose=0).history
    assert len(found) == 2 * len(validation)
    for each in found:
        np.testing.assert_array_equal(each[0], alone[0])
        np.testing.assert_array_equal(each[1], alone[1])
    assert history["val_perplexity"] == [perplexity] * 2


def test_evaluations_of_several_threads_are_what_they_are_alone():
    model = compiled_model(init_scale=1.0)
    data = [make_dataset(VALID, rows, T) for rows in (B, B, 2, B)]
    alone = [model.evaluate(each, verbose=0) for each in data]
    every_word = evaluate_split(model, VALID, 1, 9, every_word=True)
    with concurrent.futures.ThreadPoolExecutor(3) as threads:
        strict = threads.submit(evaluate_split, model, VALID, 1, 9, every_word=True)
        assert list(threads.map(lambda each: model.evaluate(each, verbose=0), data)) == alone
        assert strict.result() == every_word


def test_each_thread_goes_on_from_its_own_words():
    model = small_model(init_scale=1.0)
    rows = np.random.default_rng(5).integers(0, V, (2, 1, 6)).astype("int32")
    expected = [model.next_word_probabilities(row) for row in rows]
    begun = threading.Barrier(2)

    def ask(row):
        model.next_word_probabilities(row[:, :4])
        begun.wait(60)
        return model.next_word_probabilities(row[:, 4:], reset=False)

    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        for found, wanted in zip(threads.map(ask, rows), expected, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-5)
    # In this one no call has begun with so many rows, then one has, and then all is forgotten.
    row = rows[0].repeat(3, axis=0)
    from_zero = model.next_word_probabilities(row, reset=False)
    np.testing.assert_allclose(from_zero[:1], expected[0], rtol=1e-5)
    assert np.abs(model.next_word_probabilities(row, reset=False) - from_zero).max() > 1e-3
    model.reset_states()
    np.testing.assert_array_equal(model.next_word_probabilities(row, reset=False), from_zero)


def test_the_choice_of_compiling_is_not_saved_with_the_model(tmp_path):
    for asked in (None, "auto", True, False):
        model = small_model()
        model.compile(jit_compile=asked)
        assert model.get_compile_config()["jit_compile"] == asked
    model.compile()
    # As another machine would have chosen.
    chosen = model.jit_compile
    model.jit_compile = model._compile_config.config["jit_compile"] = not chosen
    model.save(tmp_path / "model.keras")
    assert keras.saving.load_model(tmp_path / "model.keras").jit_compile is chosen


@pytest.mark.parametrize("loss", ["crossentropy", ["sparse_categorical_crossentropy"]], ids=str)
def test_a_loss_of_probabilities_is_refused(loss):
    with pytest.raises(ValueError, match=r"outputs are logits: write loss=kerasptb\.losses\.Sparse.*Received: loss='"):
        small_model().compile(loss=loss)


def test_the_loss_of_keras_is_computed_from_factors_and_comes_back(tmp_path):
    model, other = small_model(), small_model()
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=2), loss_weights=0.5)
    assert type(model.loss) is SparseCategoricalCrossentropy
    other.compile(
        loss=lambda y, z: 0.5 * KERAS(from_logits=True, ignore_class=2)(y, z),
        metrics=[Perplexity(ignore_class=2)],
        jit_compile=False,
    )
    found, expected = (m.fit(make_dataset(TRAIN, B, T), verbose=0).history for m in (model, other))
    assert found == {name: [pytest.approx(values[0], rel=1e-5)] for name, values in expected.items()}
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.loss.get_config() == model.loss.get_config()
    assert loaded.evaluate(make_dataset(VALID, B, T), verbose=0) == model.evaluate(make_dataset(VALID, B, T), verbose=0)


class OwnLogits(LanguageModel):
    def call(self, tokens, training=None, mask=None):
        return 2.0 * super().call(tokens, training=training, mask=mask)


class OwnMetrics(LanguageModel):
    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        return {**super().compute_metrics(x, y, y_pred, sample_weight), "largest": keras.ops.max(y_pred)}


def test_what_is_given_the_logits_gets_them():
    batch = VALID[: B * T].reshape(B, T), VALID[1 : B * T + 1].reshape(B, T)
    arguments = {**small_model().get_config(), "init_scale": 1.0}
    plain = LanguageModel(**arguments)
    plain.compile()
    doubled, measured = OwnLogits(**arguments), OwnMetrics(**arguments)
    for model in (doubled, measured):
        model.compile()
    logits = plain.predict(batch[0], verbose=0)
    plain.reset_evaluation_states()
    expected = keras.ops.sparse_categorical_crossentropy(batch[1], 2.0 * logits, from_logits=True)
    assert doubled.test_on_batch(*batch)[0] == pytest.approx(float(np.sum(expected)) / B, rel=1e-5)
    assert measured.test_on_batch(*batch, return_dict=True) == pytest.approx(
        {**plain.test_on_batch(*batch, return_dict=True), "largest": logits.max()}, rel=1e-5
    )


def test_a_regularizer_of_the_logits_adds_to_the_loss():
    model, plain = small_model(), compiled_model()
    model.get_layer("logits").activity_regularizer = Added(20.0)
    model.compile()
    (loss, perplexity), (loss_of_plain, perplexity_of_plain) = (
        model.evaluate(make_dataset(VALID, B, T), verbose=0) for model in (model, plain)
    )
    assert loss == pytest.approx(loss_of_plain + 20.0 / B, rel=1e-5)
    assert perplexity == pytest.approx(perplexity_of_plain, rel=1e-5)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_regularizers_add_to_the_loss_not_to_the_perplexity(jit_compile):
    plain, regularized, explicit = small_model(), small_model(), small_model()
    for model in (regularized, explicit):
        model.get_layer("lstm_1").cell.kernel.regularizer = keras.regularizers.L2(0.1)
        model.get_layer("logits").kernel.regularizer = Added(1.0)
        model.get_layer("lstm_0").activity_regularizer = Added(20.0)  # Keras divides it by the rows of a batch
    plain.compile()
    regularized.compile(jit_compile=jit_compile)
    explicit.compile(ClippedSGD(), SequenceCrossEntropy(), metrics=[Perplexity()])
    penalty = 1.0 + 20.0 / B + 0.1 * float(np.square(plain.get_layer("lstm_1").cell.kernel.numpy()).sum())
    (loss, perplexity), (loss_of_plain, perplexity_of_plain) = (
        model.evaluate(make_dataset(VALID, B, T), verbose=0) for model in (regularized, plain)
    )
    assert loss == pytest.approx(loss_of_plain + penalty, rel=1e-6)
    assert perplexity == pytest.approx(perplexity_of_plain, rel=1e-6)
    np.testing.assert_allclose(losses_of(regularized), losses_of(explicit), rtol=1e-4)
    kernels = [model.get_layer("lstm_1").cell.kernel.numpy() for model in (regularized, plain)]
    assert np.abs(kernels[0]).sum() < 0.1 * np.abs(kernels[1]).sum()


def test_an_overridden_loss_is_used():
    class Constant(LanguageModel):
        def compute_loss(self, *args, **kwargs):
            return 123.0 + 0.0 * super().compute_loss(*args, **kwargs)

    model = Constant(V, 6, (8, 7), B, T)
    model.compile()
    assert model.evaluate(make_dataset(VALID, B, T), verbose=0)[0] == pytest.approx(123.0)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_trains_under_a_mixed_dtype_policy(policy):
    keras.config.set_dtype_policy(policy)
    try:
        model = compiled_model()
    finally:
        keras.config.set_dtype_policy("float32")
    np.testing.assert_allclose(losses_of(model), losses_of(compiled_model()), rtol=0.02)


def test_mixed_bfloat16_is_the_precision_bfloat16(native_library):
    if (reason := platforms.why_not_native("bfloat16")) is not None:
        pytest.skip(reason)
    followed, named, plain = (
        compiled_model(keep_prob=0.8, **kwargs)
        for kwargs in ({"dtype": "mixed_bfloat16"}, {"dtype": "mixed_bfloat16", "precision": "bfloat16"}, {})
    )
    losses = losses_of(followed)
    assert losses == losses_of(named)
    assert losses != losses_of(plain)


def test_a_saved_model_keeps_its_dtype_policy(tmp_path):
    model = compiled_model(dtype="mixed_bfloat16")
    losses_of(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert {layer.dtype_policy.name for layer in (loaded, *loaded.layers[1:])} == {"mixed_bfloat16"}
    a, b = (m.predict(VALID[: B * T].reshape(B, T), batch_size=B, verbose=0) for m in (model, loaded))
    assert a.dtype == "bfloat16"
    np.testing.assert_array_equal(a, b)


def test_callbacks_of_keras_know_that_a_lower_perplexity_is_better(tmp_path):
    stop = keras.callbacks.EarlyStopping("val_perplexity", patience=1, restore_best_weights=True)
    keep = keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", "val_perplexity", save_best_only=True)
    lower = keras.callbacks.ReduceLROnPlateau("val_perplexity", patience=0, factor=0.5)
    model = compiled_model()
    history = model.fit(
        make_dataset(TRAIN, B, T),
        epochs=50,
        validation_data=make_dataset(VALID, B, T),
        callbacks=[stop, keep, lower],
        verbose=0,
    ).history["val_perplexity"]
    assert len(history) < 50
    assert history[-1] > min(history)
    for best in (model, keras.saving.load_model(tmp_path / "best.keras")):
        _, perplexity = best.evaluate(make_dataset(VALID, B, T), verbose=0)
        assert perplexity == pytest.approx(min(history), rel=1e-6)


def test_is_of_one_device():
    with tf.distribute.OneDeviceStrategy("/cpu:0").scope(), pytest.raises(ValueError, match=r"Received: .* OneDevice"):
        compiled_model()
    with tf.distribute.MirroredStrategy(["/cpu:0"]).scope():
        model = small_model()
    with pytest.raises(ValueError, match=r"Received: a model made under MirroredStrategy"):
        model.compile()


# Serialisation


def test_is_checkpointed_by_tensorflow_after_an_evaluation(tmp_path):
    model, other = compiled_model(), compiled_model(seed=4)
    for batch_size in (B, 2):
        model.evaluate(make_dataset(VALID, batch_size, T), verbose=0)
    path = tf.train.Checkpoint(model=model).save(tmp_path / "checkpoint")
    other.evaluate(make_dataset(VALID, B, T), verbose=0)
    tf.train.Checkpoint(model=other).restore(path).assert_existing_objects_matched()
    for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_frozen_layers_come_back_frozen(tmp_path):
    model = small_model()
    model.get_layer("embedding").trainable = model.get_layer("lstm_1").trainable = False
    model.compile("adam")
    losses_of(model, epochs=1)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert [v.path for v in loaded.trainable_variables] == [v.path for v in model.trainable_variables]
    for a, b in zip(loaded.optimizer.variables, model.optimizer.variables, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    before = model.get_layer("embedding").embeddings.numpy()
    losses_of(loaded, epochs=1)
    np.testing.assert_array_equal(loaded.get_layer("embedding").embeddings.numpy(), before)


def test_saving_warns_of_lora_that_is_merged(tmp_path):
    model = compiled_model()
    model.get_layer("logits").enable_lora(2)
    model.compile("sgd", SequenceCrossEntropy(), jit_compile=False)
    model.fit(make_dataset(TRAIN, B, T), verbose=0)
    tokens = np.arange(T, dtype="int32")[np.newaxis]
    expected = model.predict(tokens, batch_size=1, verbose=0)
    with pytest.warns(UserWarning, match=r"LoRA of the layers \['logits'\] is merged"):
        model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.predict(tokens, batch_size=1, verbose=0), expected, rtol=1e-5, atol=1e-6)


def test_a_cost_of_an_open_batch_is_refused():
    model = small_model()
    open_batch = tf.TensorSpec([None, None], tf.int32)
    with pytest.raises(ValueError, match=r"batches of a fixed size.*Received: targets of shape \(None, None\)"):
        tf.function(lambda x, y: model.compute_cost(x, y, training=True)).get_concrete_function(open_batch, open_batch)


def test_is_quantized_by_its_export_alone():
    with pytest.raises(ValueError, match=r"export_litert\(\.\.\., quantize=True\)"):
        compiled_model().quantize("int8")


def test_keras_file_gives_back_the_model_and_its_training(tmp_path):
    model = compiled_model(keep_prob=0.9)
    losses_of(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(loaded, LanguageModel)
    assert loaded.get_config() == model.get_config()
    assert isinstance(loaded.optimizer, ClippedSGD)
    assert loaded.evaluate(make_dataset(VALID, B, T), verbose=0) == model.evaluate(make_dataset(VALID, B, T), verbose=0)
    assert int(loaded.optimizer.iterations) == int(model.optimizer.iterations)
    losses_of(loaded, epochs=1)


def test_a_stock_compilation_survives_the_keras_file(tmp_path):
    model = small_model()
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    losses_of(model, epochs=1)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(loaded.optimizer, keras.optimizers.Adam)
    assert set(loaded.evaluate(make_dataset(VALID, B, T), verbose=0, return_dict=True)) == {"loss", "accuracy"}


def test_state_is_not_among_the_weights(tmp_path):
    model = compiled_model()
    losses_of(model, epochs=1)
    model.evaluate(make_dataset(VALID, 2, T), verbose=0)
    assert len(model.weights) == 9
    model.save_weights(tmp_path / "model.weights.h5")
    other = compiled_model()
    other.load_weights(tmp_path / "model.weights.h5")
    assert other.evaluate(make_dataset(VALID, B, T), verbose=0) == model.evaluate(make_dataset(VALID, B, T), verbose=0)


def test_weights_move_to_and_from_keras_layers():
    model = small_model(init_scale=0.7)
    layers = [keras.layers.Embedding(V, 6), keras.layers.LSTM(8, return_sequences=True)]
    layers += [keras.layers.LSTM(7, return_sequences=True), keras.layers.Dense(V)]
    plain = keras.Sequential(layers)
    tokens = VALID[: B * T].reshape(B, T)
    plain(tokens)
    for ours, theirs in zip(model.layers[1:], layers, strict=True):
        theirs.set_weights(ours.get_weights())
    logits = model.predict(tokens, verbose=0)
    np.testing.assert_allclose(logits, plain.predict(tokens, verbose=0), atol=1e-5)
    back = small_model(seed=99)
    for ours, theirs in zip(back.layers[1:], layers, strict=True):
        ours.set_weights(theirs.get_weights())
    np.testing.assert_array_equal(back.predict(tokens, verbose=0), logits)


def test_other_backends_of_keras_are_refused_by_name(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(ValueError, match="needs KERAS_BACKEND=tensorflow or KERAS_BACKEND=jax"):
        LanguageModel(V, 6, 6, B, T)


def test_a_loop_of_ones_own_is_traced_without_a_warning(caplog):
    model = LanguageModel(V, 6, 6, B, T)
    tokens = tf.zeros((B, T), tf.int32)
    tf.function(lambda: model.compute_cost(tokens, tokens, training=True))()
    assert "AutoGraph" not in caplog.text


def test_another_fixed_batch_size_in_a_model_of_ones_own():
    layers = [keras.layers.Embedding(V, 4), StatefulLSTM(5, return_sequences=True), keras.layers.Dense(V)]
    model = keras.Sequential(layers)
    model.build((B, T))
    model.compile(loss=SequenceCrossEntropy())
    model.evaluate(make_dataset(VALID, B, T), verbose=0)
    with pytest.raises(ValueError, match=r"another than before, set `model\.test_function = None`"):
        model.evaluate(make_dataset(VALID, B // 2, T), verbose=0)
    model.test_function = None
    assert model.evaluate(make_dataset(VALID, B // 2, T), verbose=0) > 0


def test_tied_embeddings_train_save_and_come_back(tmp_path):
    arguments = {"vocabulary_size": V, "embedding_size": 6, "units": (8, 6), "batch_size": B, "num_steps": T}
    model = LanguageModel(**arguments, tie_embeddings=True, seed=1)
    # V D + V + the layers: no second V × H matrix.
    assert model.count_params() == V * 7 + 4 * 8 * (6 + 8 + 1) + 4 * 6 * (8 + 6 + 1)
    tokens = np.random.default_rng(0).integers(0, V, (2 * B, T)).astype("int32")
    targets = np.roll(tokens, -1, axis=1)
    model.compile()
    losses = model.fit(tokens, targets, epochs=3, verbose=0).history["loss"]
    assert losses[2] < losses[0]
    model.save_weights(tmp_path / "tied.weights.h5")
    other = LanguageModel(**arguments, tie_embeddings=True, seed=2)
    other.load_weights(tmp_path / "tied.weights.h5")
    np.testing.assert_array_equal(other.predict(tokens, verbose=0), model.predict(tokens, verbose=0))
    copy = LanguageModel.from_config(model.get_config())
    assert copy.tie_embeddings


def test_the_fused_cost_of_tied_embeddings_is_that_of_the_logits():
    model = LanguageModel(V, 6, (8, 6), B, T, tie_embeddings=True, seed=1)
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


def test_a_model_frozen_as_a_whole_thaws_as_a_whole():
    model = small_model()
    model.trainable = False
    copy = LanguageModel.from_config(json.loads(json.dumps(model.get_config())))
    assert not copy.trainable
    assert copy.trainable_weights == []
    copy.trainable = True
    assert len(copy.trainable_weights) == len(small_model().trainable_weights)


def test_a_policy_for_each_layer_is_saved_with_the_model(tmp_path):
    policies = keras.dtype_policies.DTypePolicyMap(default_policy="float32")
    policies["logits"] = "mixed_bfloat16"
    model = compiled_model(dtype=policies)
    model.fit(make_dataset(TRAIN, B, T), verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert [layer.compute_dtype for layer in loaded.layers] == [layer.compute_dtype for layer in model.layers]
    assert loaded.get_layer("logits").compute_dtype == "bfloat16"


@pytest.mark.parametrize("before", [{"weighted_metrics": []}, {"metrics": ["accuracy"]}], ids=str)
def test_the_defaults_leave_nothing_of_an_earlier_compile(before):
    model = small_model()
    model.compile(**before)
    if "metrics" in before:
        model.fit(make_dataset(TRAIN, B, T), verbose=0)
        model.compile()
    history = model.fit(make_dataset(TRAIN, B, T), verbose=0).history
    assert set(history) == {"loss", "perplexity"}
    assert history["perplexity"][0] == pytest.approx(math.exp(history["loss"][0] / T), rel=1e-5)


def test_the_default_metric_counts_the_words_that_the_loss_counts():
    model = LanguageModel(12, 6, 8, 4, 5, seed=1)
    model.compile(loss=SparseCategoricalCrossentropy(ignore_class=0))
    x = np.arange(20).reshape(4, 5) % 12
    y = np.where(x % 3 == 0, 0, x)
    loss, perplexity = model.evaluate(x, y, batch_size=4, verbose=0)
    assert perplexity == pytest.approx(math.exp(loss), rel=1e-5)
