import math

import keras
import numpy as np
import pytest

from kerasptb.metrics import Perplexity


def test_is_exp_of_the_mean_over_all_words_not_a_mean_of_perplexities():
    metric = Perplexity(from_logits=False)
    metric.update_state([[0]], [[[0.5, 0.5]]])
    metric.update_state([[0, 0, 0]], [[[0.125, 0.875]] * 3])
    # (ln 2 + 3 ln 8) / 4 = 2.5 ln 2; the mean of the batches' perplexities would be 5, that of the words' 6.5.
    assert float(metric.result()) == pytest.approx(2**2.5, rel=1e-6)


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


def test_round_trips_through_its_config():
    metric = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(Perplexity(ignore_class=3)))
    assert isinstance(metric, Perplexity)
    assert metric.get_config()["ignore_class"] == 3
