"""Small searches, and spaces that train nothing, so that everything but the training is tested in seconds."""

import time
from pathlib import Path

import keras
import keras_tuner as kt
import tensorflow as tf

from kerasptb import tuning
from kerasptb.callbacks import TrainingDivergedError


class ToySpace(kt.HyperModel):
    """A space whose perplexity falls from `200 + x` to `100 + x`; each training writes a line into a journal."""

    def __init__(self, journal, pause=0.0):
        super().__init__()
        self.journal = Path(journal)
        self.pause = pause

    def build(self, hp):
        hp.Int("x", 0, 999)
        return keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])

    def fit(self, hp, model, corpus, epochs, callbacks, verbose):
        x = hp.get("x")
        with self.journal.open("a") as file:
            file.write(f"{x}\n")
        self.happen(x)
        curve = []
        for callback in callbacks:
            callback.set_model(model)
            callback.on_train_begin()
        model.stop_training = False
        for epoch in range(epochs):
            time.sleep(self.pause)
            curve.append(100 + x + 100 * (epochs - epoch - 1) / epochs)
            for callback in callbacks:
                callback.on_epoch_end(epoch, {"val_perplexity": curve[-1]})
            if model.stop_training:
                break
        return {"val_perplexity": min(curve), "epochs": len(curve)}

    def happen(self, x):
        """What goes wrong with some trials."""

    def trained(self):
        """The x of each training that was begun, in order."""
        return [int(line) for line in self.journal.read_text().split()] if self.journal.exists() else []


class PoisonedSpace(ToySpace):
    """Its second trial runs out of memory, its third diverges, its fourth meets a bug."""

    def happen(self, x):
        number = len(set(self.trained()))
        if number == 2:
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor with shape[9,9]")
        if number == 3:
            raise TrainingDivergedError("training diverged: the loss became nan in epoch 1, step 7")
        if number == 4:
            raise KeyError("no such word")


class BrokenSpace(ToySpace):
    """Every trial fails, for a reason that is the same but for a number."""

    def happen(self, x):
        raise OSError(f"cannot read block {x}")


class InterruptedSpace(ToySpace):
    """Ctrl-C is pressed in the third training."""

    def happen(self, x):
        if len(self.trained()) == 3:
            raise KeyboardInterrupt


class WideSpace(ToySpace):
    """Models of two and of 1,002 parameters, in turn."""

    def build(self, hp):
        width = 1 + 1000 * (hp.Int("x", 0, 999) % 2)
        return keras.Sequential([keras.Input((width,)), keras.layers.Dense(1)])


class TracedSpace(ToySpace):
    """Each training traces a function of its own."""

    def happen(self, x):
        def step(value):
            return value + x

        tf.function(step)(tf.constant(1.0))


class WithoutDropout(tuning.LanguageModelSpace):
    """A space of one's own: one setting more, which decides two others."""

    def settings(self, hp):
        settings = super().settings(hp)
        if hp.Boolean("gentle"):
            settings |= {"learning_rate": 0.5, "global_clipnorm": 1.0}
        return settings | {"keep_prob": 1.0}


# Bounds of spaces whose models are trained in earnest.
SMALL = {"units": (32, 64), "embedding_size": 32, "batch_size": [5, 10], "num_steps": [5, 8], "keep_prob": (0.7, 1.0)}


def toy(texts, tmp_path, space, **arguments):
    """A short search with any space."""
    arguments = {"tuner": "random", "trials": 6, "epochs": 2, "seed": 1, "verbose": False, **arguments}
    return tuning.tune(texts, space, out=tmp_path / "search", **arguments)
