from types import SimpleNamespace

import keras
import numpy as np
import pytest

from kerasptb.callbacks import WordsPerSecond
from kerasptb.metrics import Perplexity


def fit(metrics, callbacks, rows=24):
    model = keras.Sequential([keras.layers.Embedding(5, 5)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=metrics)
    tokens = np.zeros((rows, 10), "int32")
    return model.fit(tokens, tokens, batch_size=4, epochs=2, callbacks=callbacks, verbose=0).history


def test_needs_a_metric_that_counts_words():
    with pytest.raises(ValueError, match=r"needs a kerasptb\.metrics\.Perplexity"):
        fit(["accuracy"], [WordsPerSecond()])


def test_the_clock_of_each_epoch_begins_with_the_end_of_its_first_batch(monkeypatch):
    now = [0.0]

    class Work(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            now[0] += 0.5 if batch else 100.0  # the first batch's graph is traced

    clock = SimpleNamespace(perf_counter=lambda: now[0])
    monkeypatch.setattr("kerasptb.callbacks.words_per_second.time", clock)
    # 40 words in half a second.
    assert fit([Perplexity()], [Work(), WordsPerSecond()])["words_per_second"] == [80.0, 80.0]
    # In an epoch of one batch, the whole epoch is measured.
    assert fit([Perplexity()], [Work(), WordsPerSecond()], rows=4)["words_per_second"] == [0.4, 0.4]
