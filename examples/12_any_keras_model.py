"""Any recurrent model of Keras, faster by one line: three that tutorials train, before the line and after it.

    python examples/12_any_keras_model.py [--scale 1.0] [--only NAME ...]

The models are what their tutorials have; their data are made here, in the shapes of the real ones:

- weather: hours of 7 measurements, an LSTM over 120 of them and the temperature half a day later
- addition: "123+45" read character by character, and the sum written so, by an encoder and a decoder
- reviews: 200 ids of words, two bidirectional LSTMs and whether the text is a good review

Each is trained for an epoch as it is, and an equal one after `kerasptb.accelerate`, from the same weights on the same
batches. `--scale 0.1` takes a tenth of the rows. The losses agree to rounding.

Prints, at `--scale 0.05`, with other times on other machines (two cores of an AMD EPYC, Zen 4, 2026-12-01):

    weather     loss 0.5410 as it is, 0.5410 accelerated; 0.7 s, 0.4 s: 1.6 times as fast
    addition    loss 2.3737 as it is, 2.3737 accelerated; 1.2 s, 0.7 s: 1.7 times as fast
    reviews     loss 0.6883 as it is, 0.6883 accelerated; 4.6 s, 1.6 s: 2.9 times as fast
"""

import argparse
import time

import keras
import numpy as np
from keras import layers

import kerasptb

MAX_SUM_DIGITS, ALPHABET = 4, "0123456789+ "


def weather(scale, random):
    """Returns a model, rows and targets: a layer of 32 units over 120 steps, in batches of 256."""
    hours = int(40_000 * scale) + 200
    days = np.arange(hours)[:, np.newaxis] / 24
    series = np.sin(2 * np.pi * days * np.arange(1, 8) / 3) + 0.3 * random.standard_normal((hours, 7))
    rows = np.lib.stride_tricks.sliding_window_view(series, 120, axis=0).swapaxes(1, 2)[:-12]
    targets = series[131:, 1:2]
    inputs = keras.Input((120, 7))
    model = keras.Model(inputs, layers.Dense(1)(layers.LSTM(32)(inputs)))
    model.compile(keras.optimizers.Adam(0.001), "mse")
    return model, np.ascontiguousarray(rows[: len(targets)], "float32"), targets.astype("float32"), 256


def addition(scale, random):
    """Returns the same of an encoder and a decoder of 128 units, in batches of 32."""
    numbers = random.integers(0, 1000, (int(20_000 * scale), 2))
    index = {sign: i for i, sign in enumerate(ALPHABET)}

    def one_hot(texts, width):
        ids = np.array([[index[sign] for sign in text.ljust(width)] for text in texts])
        return np.eye(len(ALPHABET), dtype="float32")[ids]

    rows = one_hot([f"{a}+{b}" for a, b in numbers], 7)
    targets = one_hot([str(a + b) for a, b in numbers], MAX_SUM_DIGITS)
    model = keras.Sequential(
        [
            keras.Input((7, len(ALPHABET))),
            layers.LSTM(128),
            layers.RepeatVector(MAX_SUM_DIGITS),
            layers.LSTM(128, return_sequences=True),
            layers.Dense(len(ALPHABET), activation="softmax"),
        ]
    )
    model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    return model, rows, targets, 32


def reviews(scale, random):
    """Returns the same of two bidirectional layers of 64 units over 200 words, in batches of 32."""
    words = 20_000
    rows = random.zipf(1.2, (int(10_000 * scale), 200)).clip(max=words - 1)
    targets = (rows[:, :50].sum(axis=1) % 2)[:, np.newaxis]
    inputs = keras.Input((None,), dtype="int32")
    x = layers.Embedding(words, 128)(inputs)
    x = layers.Bidirectional(layers.LSTM(64, return_sequences=True))(x)
    x = layers.Bidirectional(layers.LSTM(64))(x)
    model = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(x))
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    return model, rows.astype("int32"), targets.astype("float32"), 32


def trained(make, scale, accelerated):
    """Returns the loss of an epoch, and its seconds without those of the first two batches."""
    keras.utils.set_random_seed(1)
    model, rows, targets, batch = make(scale, np.random.default_rng(1))
    if accelerated:
        model = kerasptb.accelerate(model)
    model.fit(rows[: 2 * batch], targets[: 2 * batch], batch_size=batch, shuffle=False, verbose=0)
    begin = time.perf_counter()
    history = model.fit(rows, targets, batch_size=batch, shuffle=False, verbose=0)
    return history.history["loss"][0], time.perf_counter() - begin


MODELS = {"weather": weather, "addition": addition, "reviews": reviews}


def main(arguments=None):
    """Runs the example."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of rows")
    parser.add_argument("--only", nargs="+", choices=MODELS, default=list(MODELS), metavar="NAME")
    options = parser.parse_args(arguments)
    for name in options.only:
        (loss, before), (same, after) = (trained(MODELS[name], options.scale, fast) for fast in (False, True))
        print(
            f"{name:<11} loss {loss:.4f} as it is, {same:.4f} accelerated; {before:.1f} s, {after:.1f} s: "
            f"{before / after:.1f} times as fast"
        )


if __name__ == "__main__":
    main()
