import concurrent.futures
import math
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_models import TRAIN, VALID, B, T, V, compiled_model, losses_of, small_model

from kerasptb.callbacks import ResetStates
from kerasptb.layers import StatefulLSTM
from kerasptb.losses import SequenceCrossEntropy
from kerasptb.models import LanguageModel
from kerasptb.models.evaluation import evaluate_split
from kerasptb.pipeline import make_dataset


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
