import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasptb.metrics import Perplexity


def test_is_exp_of_the_mean_over_all_words_not_a_mean_of_perplexities():
    metric = Perplexity(from_logits=False)
    metric.update_state([[0]], [[[0.5, 0.5]]])
    metric.update_state([[0, 0, 0]], [[[0.125, 0.875]] * 3])
    # (ln 2 + 3 ln 8) / 4 = 2.5 ln 2; the mean of the batches' perplexities would be 5, that of the words' 6.5.
    assert float(metric.result()) == pytest.approx(2**2.5, rel=1e-6)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_improbable_words_count_in_full_behind_a_softmax_of_keras(jit_compile):
    logits = 40.0 * np.random.default_rng(0).normal(size=(8, 6, 50)).astype("float32")
    targets = np.random.default_rng(1).integers(0, 50, (8, 6))
    model = keras.Sequential([keras.Input((6, 50)), keras.layers.Softmax()])
    metric = Perplexity(from_logits=False)
    model.compile(metrics=[metric], loss="sparse_categorical_crossentropy", jit_compile=jit_compile)
    results = model.evaluate(logits, targets, batch_size=4, verbose=0, return_dict=True)
    mean = np.asarray(keras.ops.sparse_categorical_crossentropy(targets, logits, from_logits=True)).mean()
    assert mean > 40  # many are below 1e-7
    assert results["perplexity"] == pytest.approx(math.exp(mean), rel=1e-4)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("softmax", [False, True])
def test_logits_of_half_precision_count_as_the_numbers_that_they_are(dtype, softmax):
    logits = keras.ops.cast(np.random.default_rng(0).normal(size=(8, 6, 10000)), dtype)
    targets = np.random.default_rng(1).integers(0, 10000, (8, 6))
    metric = Perplexity(from_logits=not softmax)
    metric.update_state(targets, keras.layers.Softmax(dtype=dtype)(logits) if softmax else logits)
    exact = np.asarray(keras.ops.cast(logits, "float64"))
    mean = np.mean(np.log(np.exp(exact).sum(-1)) - np.take_along_axis(exact, targets[..., None], -1)[..., 0])
    assert mean > 8  # where bfloat16 has steps of 1/16
    assert float(metric.result()) == pytest.approx(math.exp(mean), rel=1e-5)


def test_summed_cross_entropies_count_as_their_words():
    metric, other = Perplexity(), Perplexity()
    random = np.random.default_rng(1)
    targets, logits = random.integers(0, 9, (6, 4)), random.normal(size=(6, 4, 9)).astype("float32")
    metric.update_state(targets, logits)
    losses = keras.ops.sparse_categorical_crossentropy(targets, logits, from_logits=True)
    for row in np.asarray(losses):
        other.update_from_cross_entropy(row.sum(), len(row))
    assert float(other.num_words) == 24
    assert float(other.result()) == pytest.approx(float(metric.result()), rel=1e-6)


def test_reset_forgets():
    metric = Perplexity()
    metric.update_from_cross_entropy(100.0, 10)
    metric.reset_state()
    metric.update_from_cross_entropy(math.log(3.0), 1)
    assert float(metric.result()) == pytest.approx(3.0, rel=1e-6)


def test_stays_exact_over_an_epoch_of_batches():
    metric = Perplexity()
    losses = np.random.default_rng(2).uniform(3.0, 7.0, 774)
    for loss in losses:
        metric.update_from_cross_entropy(np.float32(loss * 1200), 1200)
    assert float(metric.result()) == pytest.approx(math.exp(losses.mean()), rel=5e-6)


def test_ignored_class_does_not_count():
    metric = Perplexity(ignore_class=0)
    metric.update_state([[1, 0]], [[[0.0, 0.0], [9.0, -9.0]]])
    assert float(metric.result()) == pytest.approx(2.0, rel=1e-6)


# As many sequences as steps: weights of sequences, applied to steps by mistake, have a valid shape, too.
TARGETS = np.random.default_rng(1).integers(0, 7, (4, 4))
LOGITS = np.random.default_rng(2).normal(size=(4, 4, 7)).astype("float32")
COSTS = -np.take_along_axis(LOGITS - np.log(np.exp(LOGITS).sum(-1, keepdims=True)), TARGETS[..., None], -1)[..., 0]
OF_WORDS = np.random.default_rng(3).uniform(size=(4, 4)).astype("float32")


@pytest.mark.parametrize("targets", [TARGETS, TARGETS[..., None]], ids=["targets", "targets, a further dimension"])
@pytest.mark.parametrize(
    ("weights", "of_words"),
    [
        (OF_WORDS, OF_WORDS),
        (OF_WORDS[..., None], OF_WORDS),
        (OF_WORDS[0], np.repeat(OF_WORDS[0][:, None], 4, 1)),
        (OF_WORDS[0][:, None], np.repeat(OF_WORDS[0][:, None], 4, 1)),
    ],
    ids=["words", "words, a further dimension", "sequences", "sequences, a further dimension"],
)
def test_weights_are_of_words_or_of_sequences(weights, of_words, targets):
    metric = Perplexity()
    metric.update_state(targets, LOGITS, weights)
    assert float(metric.result()) == pytest.approx(math.exp((of_words * COSTS).sum() / of_words.sum()), rel=1e-6)


def test_masked_words_do_not_count():
    logits = keras.ops.convert_to_tensor(LOGITS)
    mask = np.arange(16).reshape(4, 4) % 3 > 0
    keras.src.backend.set_keras_mask(logits, keras.ops.convert_to_tensor(mask))
    metric = Perplexity()
    metric.update_state(TARGETS, logits)
    assert float(metric.num_words) == mask.sum()
    assert float(metric.result()) == pytest.approx(math.exp(COSTS[mask].mean()), rel=1e-6)


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_counts_no_batch_after_the_last_of_a_dataset_of_unknown_length():
    # Keras begins one more step, for which there are no data.
    model = keras.Sequential([keras.Input(batch_shape=(4, 3), dtype="int32"), keras.layers.Embedding(5, 5)])
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=[Perplexity()])
    tokens = tf.random.stateless_uniform((12, 3), (1, 2), 0, 5, tf.int32)
    dataset = tf.data.Dataset.from_tensor_slices((tokens, tokens)).batch(4, drop_remainder=True)
    expected = model.evaluate(dataset, verbose=0)[1]
    assert model.evaluate(dataset.filter(lambda x, y: True), verbose=0)[1] == pytest.approx(expected, rel=1e-6)


def test_round_trips_through_its_config():
    config = keras.saving.serialize_keras_object(Perplexity(from_logits=False, ignore_class=3))
    metric = keras.saving.deserialize_keras_object(config)
    assert isinstance(metric, Perplexity)
    assert (metric.get_config()["from_logits"], metric.get_config()["ignore_class"]) == (False, 3)


def test_float64_counts_beyond_16_million_words():
    metric = Perplexity(dtype="float64")
    for num_words in (2**24, 1):
        metric.update_from_cross_entropy(1.0, num_words)
    assert float(metric.num_words) == 2**24 + 1


@pytest.mark.parametrize(("floatx", "expected"), [("bfloat16", "float32"), ("float64", "float64")])
def test_counts_in_float32_at_least(floatx, expected):
    before = keras.config.floatx()
    keras.config.set_floatx(floatx)
    try:
        metric = Perplexity()
    finally:
        keras.config.set_floatx(before)
    for _ in range(100):
        metric.update_from_cross_entropy(50 * math.log(50), 50)
    assert metric.dtype == expected
    assert int(metric.num_words) == 5000
    assert float(metric.result()) == pytest.approx(50, rel=1e-5)


def test_a_batch_of_no_words_changes_nothing():
    metric = Perplexity()
    metric.update_from_cross_entropy(0.0, 0)
    metric.update_from_cross_entropy(5 * math.log(3), 5)
    assert float(metric.result()) == pytest.approx(3, rel=1e-6)
