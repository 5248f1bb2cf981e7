"""A small text, and trainings on it."""

import keras
import numpy as np

import kerasptb
from kerasptb.callbacks import TrainingDivergedError
from kerasptb.data import Corpus, Vocabulary

SMALL = {"units": (9, 7), "embedding_size": 6}

TINY = {"model_arguments": {"units": (9, 6), "embedding_size": 6}}


def small_corpus(seed=0):
    """A text in which a word is followed by one of two: perplexity 2 is there to be learned."""
    random = np.random.default_rng(seed)
    steps = random.integers(1, 3, 700)
    ids = (np.cumsum(steps) % 12).astype("int32")
    vocabulary = Vocabulary([f"w{i}" for i in range(10)] + ["<eos>", "<unk>"])
    return Corpus(ids[:450], ids[450:570], ids[570:], vocabulary, name="small", source="made up")


def train(out, **kwargs):
    arguments = {"epochs": 3, "batch_size": 4, "num_steps": 5, "seed": 1, "verbose": 0, "model_arguments": SMALL}
    arguments["counts"] = "none"  # most tests are about the network
    return kerasptb.train(small_corpus(), out=out, **{**arguments, **kwargs})


class Diverging(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        raise TrainingDivergedError("it diverged")


def assert_equal_weights(run, expected, weights="best"):
    pairs = zip(*(each.load_model(weights=weights).get_weights() for each in (run, expected)), strict=True)
    for found, wanted in pairs:
        np.testing.assert_array_equal(found, wanted)


class FailAt(keras.callbacks.Callback):
    """Fails after a batch of an epoch."""

    def __init__(self, epoch, batch):
        super().__init__()
        self.at, self.epoch = (epoch, batch), 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == self.at:
            raise RuntimeError("out of luck")
