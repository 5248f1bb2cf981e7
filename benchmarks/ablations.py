"""What each part of a recipe brings: the recipe with one part left out or exchanged, for equally many epochs.

    python -m benchmarks.ablations [--preset small] [--epochs 15] [--out runs/ablations] [--only NAME …] [--csv FILE]

Each variant is a run folder in `--out`. A variant that is there already is not trained again, and one that was killed
goes on: `--only` and several starts may share the work. Minutes are those of `benchmarks.models`: the variants differ
by few percent in time, so equal epochs are nearly equal minutes, and the table has both.
"""

import argparse
import sys
from pathlib import Path

import keras
import numpy as np

import kerasptb
from benchmarks import machine
from benchmarks.models import describe, write


class ZeroedStates(keras.callbacks.Callback):
    """Before each batch zeroes the state of a share of the rows, in all layers (Melis et al., 2017)."""

    def __init__(self, share):
        super().__init__()
        self.share, self.random = share, np.random.default_rng(0)

    def on_train_batch_begin(self, batch, logs=None):
        """Zeroes them; Keras calls this."""
        kept = self.random.random((self.model.batch_size, 1)) >= self.share
        if not kept.all():
            for layer in self.model.stateful_layers():
                for state in layer.states:
                    state.assign(state * kept.astype("float32"))


class L2(keras.callbacks.Callback):
    """Adds a multiple of the squares of all weights to the cost, which here is the sum over a batch's steps."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def on_train_begin(self, logs=None):
        """Adds it; Keras calls this before the first step is traced."""
        for variable in self.model.trainable_variables:
            variable.regularizer = keras.regularizers.L2(self.factor)


# Name -> arguments of `train` beside the recipe's.
VARIANTS = {
    "the recipe": {},
    "a mask for each step": {"model_arguments": {"variational_dropout": False}},
    "no dropped recurrent weights": {"model_arguments": {"recurrent_kernel_dropout": 0.0}},
    "variational dropout on h instead of them": {
        "model_arguments": {"recurrent_kernel_dropout": 0.0, "recurrent_dropout": 0.2}
    },
    "no dropped words": {"model_arguments": {"word_dropout": 0.0}},
    "no AR and TAR": {"model_arguments": {"activation_regularization": 0.0, "temporal_activation_regularization": 0.0}},
    "no dropout between layers": {
        "model_arguments": {"input_dropout": 0.0, "hidden_dropout": 0.0, "output_dropout": 0.0}
    },
    "0.4 of the dropout between layers": {
        "model_arguments": {"input_dropout": 0.1, "hidden_dropout": 0.08, "output_dropout": 0.14}
    },
    "no weight decay": {"training_arguments": {"weight_decay": 0.0}},
    "L2 in the cost in place of weight decay": {
        "training_arguments": {"weight_decay": 0.0},
        "callbacks": [L2(6e-5)],
    },
    "no momentum": {"training_arguments": {"beta_1": 0.0}},
    "states zeroed at random": {"callbacks": [ZeroedStates(0.01)]},
    "gradient descent": {"optimizer": "sgd", "learning_rate": 1.0},
    "an input gate of at most 1 - f": {"cell": "capped_lstm"},
    "an input gate of 1 - f": {"cell": "cifg"},
    "a GRU": {"cell": "gru"},
}


def main(arguments=None):
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--preset", default="small")
    parser.add_argument("--data", default="ptb")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--precision", default="bfloat16")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/ablations"))
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="NAME")
    parser.add_argument("--csv", type=Path, help="file to write the table to")
    options = parser.parse_args(arguments)
    rows = []
    for name in options.only:
        folder = options.out / f"{options.preset}-{name.replace(' ', '-')}"
        run = kerasptb.load_run(folder) if folder.exists() else None
        if run is not None and not run.metrics:
            callbacks = VARIANTS[name].get("callbacks", ())  # what a run does not record
            run = kerasptb.train(out=folder, resume=True, verbose=2, callbacks=callbacks)
        elif run is None:
            given = {"epochs": options.epochs, "precision": options.precision, "seed": options.seed}
            run = kerasptb.train(options.data, options.preset, out=folder, verbose=2, **given, **VARIANTS[name])
        train = round(run.metrics["train_perplexity"], 2)
        rows.append({"variant": name, "train": train, **describe(run), "machine": machine.processor()})
        print(", ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
    if options.csv:
        write(options.csv, rows)


if __name__ == "__main__":
    sys.exit(main())
