"""Random models, as Keras runs them and with our layers: outputs, a training, and what is saved in its middle.

    python tests/fuzz/graphs.py [SECONDS] [SEED]

Every second one is Keras' own, accelerated; the others are made of our layers. It is for TensorFlow and JAX: on PyTorch
Keras' dropout depends on how its input lies in memory.
"""

import contextlib
import sys
import tempfile
import time
import types
import warnings
from pathlib import Path
from unittest import mock

import keras
import numpy as np

sys.path.append(str(Path(__file__).parents[1] / "frozen"))

import random_graphs

import kerasptb
from kerasptb.layers import Dense, Embedding, FusedGRU, FusedLSTM, FusedRNN
from kerasptb.layers.fused import Fused
from kerasptb.layers.keras_cell import kind_of


class Ours(types.SimpleNamespace):
    """The layers of Keras, with ours in the place of those that we have."""

    LSTM, GRU, Dense, Embedding = FusedLSTM, FusedGRU, Dense, Embedding
    RNN = staticmethod(lambda cell, **how: (keras.layers.RNN if kind_of(cell) is None else FusedRNN)(cell, **how))

    def __getattr__(self, name):
        return getattr(keras.layers, name)


@keras.saving.register_keras_serializable("tests")
def bounded_loss(y_true, y_pred):
    return keras.ops.mean(keras.ops.square(y_true - keras.ops.tanh(y_pred)), axis=-1)


def accelerate(model):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Nothing in .* runs faster now")
        return kerasptb.accelerate(model)


def handing_masks_on():
    """Lets Keras' recurrent layers hand masks on, as ours do: from 3.16 on they do not."""
    always = property(lambda layer: True, lambda layer, value: None)
    return mock.patch.object(keras.layers.RNN, "supports_masking", always)


def pair(seed):
    """Returns a model of Keras, one that should do the same, what readies that once it is loaded, and inputs."""
    stateful, of_ours = seed % 4 > 1, seed % 2 > 0
    plain, arrays = random_graphs.random_model(seed, stateful)
    layers = Ours() if of_ours else keras.layers
    with mock.patch.object(random_graphs, "layers", layers):
        model, _ = random_graphs.random_model(seed, stateful)
    ready = (lambda model: model) if of_ours else accelerate
    return plain, ready(model), ready, arrays


def trained(model, ready, arrays, targets, folder):
    """Trains for ten steps, from the sixth on what was saved; returns the model and its losses."""
    losses = []
    loss = keras.tree.map_structure(lambda _: bounded_loss, targets)
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9, clipnorm=1.0), loss, jit_compile=False)
    for _ in range(2):
        how = {"batch_size": len(arrays[0]), "epochs": 5, "shuffle": False, "verbose": 0}
        losses += model.fit(arrays if len(arrays) > 1 else arrays[0], targets, **how).history["loss"]
        model.save(folder / "model.keras")
        keras.utils.set_random_seed(1)  # files do not hold the seeds of dropout: new ones are drawn
        model = ready(keras.models.load_model(folder / "model.keras"))
    return model, losses


def assert_close(found, expected, tolerance=1e-4):
    """Within a part of the largest number; NaN and infinity where Keras has them."""
    for y, wanted in zip(found, expected, strict=True):
        scale = max(1.0, np.abs(np.where(np.isfinite(wanted), wanted, 0)).max(initial=0))
        np.testing.assert_allclose(y / scale, wanted / scale, rtol=0, atol=tolerance)


def check(seed):
    """Compares the two models of a seed; returns how many recurrent layers of the second are ours, 0 if none was."""
    with handing_masks_on() if seed % 2 else contextlib.nullcontext():
        return compared(seed)


def compared(seed):
    plain, model, ready, arrays = pair(seed)
    if not (ours := sum(isinstance(layer, Fused) for layer in model._flatten_layers())):
        return 0
    expected, random = random_graphs.outputs_of(plain, arrays), np.random.default_rng(seed)
    assert_close(random_graphs.outputs_of(model, arrays), expected)
    targets = [random.uniform(-1, 1, y.shape).astype("float32") for y in expected]
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")  # of masks that a layer does not pass on
        targets = keras.tree.pack_sequence_as(plain.output, targets)
        plain, expected = trained(plain, lambda model: model, arrays, targets, Path(folder))
        model, losses = trained(model, ready, arrays, targets, Path(folder))
    assert_close([np.array(losses)], [np.array(expected)])
    assert_close(model.get_weights(), plain.get_weights())
    assert_close(random_graphs.outputs_of(model, arrays), random_graphs.outputs_of(plain, arrays))
    return ours


def main(seconds=60, seed=None):
    seed = time.time_ns() % 10**9 if seed is None else seed
    end, models, layers = time.monotonic() + seconds, 0, 0
    while time.monotonic() < end:
        try:
            ours = check(seed)
        except Exception as error:
            error.add_note(f"Of the models with seed {seed}.")
            raise
        models, layers, seed = models + (ours > 0), layers + ours, seed + 1
    print(f"{models} models with {layers} recurrent layers of ours, up to seed {seed - 1}: as Keras.")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
