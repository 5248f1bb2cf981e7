"""A forecaster, a classifier and a detector: trained with Keras, frozen, and run without it.

    python examples/15_frozen.py [--to FOLDER]

Their data are made here:

- forecaster: two waves and noise, 48 values, and an LSTM that says the next
- classifier: 60 steps of three axes of a hand that draws a circle, an eight or a line, or shakes; a bidirectional GRU
- detector: a pulse that misses a beat now and then; an LSTM that says so, value by value as they arrive

What is printed of each: how good it is on new data, beside a guess; the most by which the frozen model's outputs differ
from Keras'; how long one call takes; and the bytes of a program in C whose weights have 8 bits, with `--to` written to
FOLDER.

Prints, with other times on other machines (two cores of an AMD EPYC, Zen 5, 2026-12-03):

    forecaster: mae 0.098, a guess 0.143
      differs by 2e-07; a call 0.010 ms, Keras 83; 47,598 bytes of C
    classifier: accuracy 1.000, a guess 0.230
      differs by 2e-07; a call 0.010 ms, Keras 72; 39,152 bytes of C
    detector: auc 0.903, a guess 0.500
      differs by 9e-08; a call 0.016 ms, Keras 136; 39,253 bytes of C
      step by step, as values arrive: differs by 9e-08
"""

import argparse
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
from keras import layers

import kerasptb


def forecaster(random):
    """Returns a model, rows [N, 48, 1] with targets to train on, and new ones; and the error of the last value."""
    steps = np.arange(6000)
    series = np.sin(steps / 7) + 0.5 * np.sin(steps / 11) + 0.1 * random.standard_normal(steps.size)
    windows = np.lib.stride_tricks.sliding_window_view(series.astype("float32"), 49)
    rows, targets = windows[:, :-1, np.newaxis], windows[:, -1:]
    model = keras.Sequential([keras.Input((48, 1)), layers.LSTM(32), layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.005), "mse", metrics=["mae"])
    return model, (rows[:5000], targets[:5000]), (rows[5000:], targets[5000:]), np.abs(rows[5000:, -1] - targets[5000:])


def classifier(random):
    """Returns the same of rows [N, 60, 3] and four classes, and whether the first class is right."""
    turns = np.linspace(0, 2 * np.pi, 60) + random.uniform(0, 2 * np.pi, (2400, 1))
    classes = random.integers(0, 4, 2400)
    x = np.choose(classes[:, np.newaxis], [np.sin(turns), np.sin(turns), np.sin(turns), np.sin(6 * turns)])
    y = np.choose(classes[:, np.newaxis], [np.cos(turns), np.sin(2 * turns), np.sin(turns), np.cos(7 * turns)])
    rows = np.stack([x, y, np.zeros_like(x)], axis=-1) + 0.5 * random.standard_normal((2400, 60, 3))
    model = keras.Sequential(
        [keras.Input((60, 3)), layers.Bidirectional(layers.GRU(16)), layers.Dense(4, activation="softmax")]
    )
    model.compile(keras.optimizers.Adam(0.005), "sparse_categorical_crossentropy", metrics=["accuracy"])
    rows = rows.astype("float32")
    return model, (rows[:2000], classes[:2000]), (rows[2000:], classes[2000:]), classes[2000:] == 0


def detector(random):
    """Returns the same of rows [N, 100, 1] and whether a beat is missing at each step; the AUC of a guess is a half."""
    steps = np.arange(100)
    beats = (steps + random.integers(0, 5, (1200, 1))) % 5 == 0
    missing = beats & (random.random((1200, 100)) < 0.2)
    rows = (beats & ~missing) + 0.1 * random.standard_normal((1200, 100))
    missing[:, :10] = False  # until it has seen two beats
    rows, targets = rows[..., np.newaxis].astype("float32"), missing[..., np.newaxis].astype("float32")
    model = keras.Sequential(
        [keras.Input((100, 1)), layers.LSTM(24, return_sequences=True), layers.Dense(1, activation="sigmoid")]
    )
    model.compile(keras.optimizers.Adam(0.01), "binary_crossentropy", metrics=[keras.metrics.AUC(name="auc")])
    return model, (rows[:1000], targets[:1000]), (rows[1000:], targets[1000:]), 0.5


def seconds_of(call):
    """Returns the median time of 20 calls."""
    times = []
    for _ in range(20):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return np.median(times)


def compare(name, model, rows, folder):
    """Returns a line on a model that is frozen: by how much it differs, what a call takes, and the size of its C."""
    frozen = kerasptb.freeze(model)
    difference = np.abs(frozen(rows) - model.predict(rows, verbose=0)).max()
    row = np.ascontiguousarray(rows[:1])
    keras_time, own_time = seconds_of(lambda: model.predict(row, verbose=0)), seconds_of(lambda: frozen(row))
    source = kerasptb.export_c(model, Path(folder) / name) / f"{name}.c"
    return (
        f"differs by {difference:.0e}; a call {1e3 * own_time:.3f} ms, Keras {1e3 * keras_time:.0f}; "
        f"{source.stat().st_size:,} bytes of C"
    )


def by_steps(model, rows):
    """Returns what a frozen model says after each step of rows, float32 [N, T, 1], as they would arrive."""
    frozen, state, outputs = kerasptb.freeze(model), None, []
    for step in range(rows.shape[1]):
        output, state = frozen.step(rows[:, step], state)
        outputs.append(output.reshape(len(rows), 1))
    return np.stack(outputs, axis=1)


def main(arguments=None):
    """Runs the example."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--to", type=Path, help="folder for the programs in C")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        for make in (forecaster, classifier, detector):
            keras.utils.set_random_seed(1)
            model, train, new, guess = make(np.random.default_rng(1))
            kerasptb.accelerate(model).fit(*train, batch_size=50, epochs=8, verbose=0)
            score = model.evaluate(*new, verbose=0, return_dict=True)
            metric = next(key for key in score if key != "loss")
            print(f"{make.__name__}: {metric} {score[metric]:.3f}, a guess {np.mean(guess):.3f}")
            print(f"  {compare(make.__name__, model, new[0], options.to or folder)}")
        difference = np.abs(by_steps(model, new[0]) - model.predict(new[0], verbose=0)).max()
        print(f"  step by step, as values arrive: differs by {difference:.0e}")


if __name__ == "__main__":
    main()
