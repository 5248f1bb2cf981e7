"""A training into a run folder, and its resumption within an epoch, with Keras on JAX or PyTorch."""

import contextlib
import sys
from pathlib import Path

import keras
import numpy as np

import kerasptb
from kerasptb.data import Corpus, Vocabulary

IDS = (np.cumsum(np.random.default_rng(0).integers(1, 3, 700)) % 12).astype("int32")
CORPUS = Corpus(
    IDS[:450],
    IDS[450:570],
    IDS[570:],
    Vocabulary([*map(str, range(10)), "<eos>", "<unk>"]),
    name="small",
    source="here",
)
SETTINGS = {
    "batch_size": 4,
    "num_steps": 5,
    "seed": 1,
    "model_arguments": {"units": (9, 7), "embedding_size": 6, "keep_prob": 0.6},
    "training_arguments": {"constant_epochs": 1},
}


def train(name, **arguments):
    return kerasptb.train(CORPUS, out=Path(sys.argv[1]) / name, verbose=0, **arguments)


class Fail(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == (1, 9):
            raise RuntimeError("out of luck")


if __name__ == "__main__":
    whole = train("whole", epochs=3, **SETTINGS)
    with contextlib.suppress(RuntimeError):
        train("parts", epochs=3, callbacks=[Fail()], checkpoint_minutes=0, **SETTINGS)
    assert len(kerasptb.load_run(Path(sys.argv[1]) / "parts").history) == 1
    parts = train("parts", resume=True)
    for name in ("perplexity", "val_perplexity", "learning_rate"):
        assert [row[name] for row in parts.history] == [row[name] for row in whole.history], name
    for name in ("test_perplexity", "test_perplexity_every_word", "best_epoch"):
        assert parts.metrics[name] == whole.metrics[name], name
    assert whole.history[0]["learning_rate"] == 2 * whole.history[1]["learning_rate"]
    assert keras.backend.backend() in whole.config["versions"]
    assert not (whole.folder / "logs").exists()  # it is TensorFlow that writes them
    print("trained")
