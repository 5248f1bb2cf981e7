"""A small text, and trainings on it: whole, planned, or begun."""

import time

import keras
import numpy as np

import kerasptb
from kerasptb.callbacks import TrainingDivergedError
from kerasptb.data import Corpus, Vocabulary
from kerasptb.run import Run
from kerasptb.training.asked import read_request
from kerasptb.training.planning import open_run, plan_training, record_resumption

SMALL = {"units": (9, 7), "embedding_size": 6}

TINY = {"model_arguments": {"units": (9, 6), "embedding_size": 6}}


def small_corpus(seed=0):
    """A text in which a word is followed by one of two: perplexity 2 is there to be learned."""
    random = np.random.default_rng(seed)
    steps = random.integers(1, 3, 700)
    ids = (np.cumsum(steps) % 12).astype("int32")
    vocabulary = Vocabulary([f"w{i}" for i in range(10)] + ["<eos>", "<unk>"])
    return Corpus(ids[:450], ids[450:570], ids[570:], vocabulary, name="small", source="made up")


def small(kwargs):
    arguments = {"epochs": 3, "batch_size": 4, "num_steps": 5, "seed": 1, "model_arguments": SMALL}
    return {**arguments, "counts": "none", **kwargs}  # most tests are about the network


def train(out, **kwargs):
    return kerasptb.train(small_corpus(), out=out, **{"verbose": 0, **small(kwargs)})


def plan(data=None, **kwargs):
    """The `Plan` of `kerasptb.train`; that of `train` where neither a text nor a config is given."""
    of_small = data is None and "config" not in kwargs
    arguments = small({"data": small_corpus(), **kwargs}) if of_small else {"data": data, **kwargs}
    return plan_training(read_request(arguments), workers=1, begin=time.monotonic())


def begun(out, data=None, **kwargs):
    """The run folder of `train` as it is before the first step."""
    planned = plan(data, **kwargs)
    return Run.create(out, planned.settings, planned.corpus.vocabulary)


def resumed(out, data=None, done=0, **kwargs):
    """The run as `train` goes on with it, after so many epochs; raises if it keeps something else than is asked."""
    request = read_request({"data": data, **kwargs})
    run, planned = open_run(request, out, resume=True, begin=0.0, callbacks=())
    return record_resumption(run, planned.corpus, request.training, done, print)


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
