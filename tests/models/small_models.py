"""A small model, two texts, and what their trainings cost."""

import keras
import numpy as np

from kerasptb.models import build_language_model
from kerasptb.pipeline import make_dataset

KERAS = keras.losses.SparseCategoricalCrossentropy
V, B, T = 23, 4, 5
TRAIN = np.random.default_rng(0).integers(0, V, 404).astype("int32")
VALID = np.random.default_rng(1).integers(0, V, 203).astype("int32")


class Losses(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.values = []

    def on_train_batch_end(self, batch, logs=None):
        self.values.append(logs["loss"])


def small_model(**kwargs):
    return build_language_model(V, 6, (8, 7), B, T, **{"seed": 3, **kwargs})


def compiled_model(**kwargs):
    model = small_model(**kwargs)
    model.compile(jit_compile=False)  # to save time: nothing here depends on it
    return model


def losses_of(model, epochs=2, **kwargs):
    losses = Losses()
    model.fit(make_dataset(TRAIN, B, T), epochs=epochs, callbacks=[losses], verbose=0, **kwargs)
    return losses.values


def reader_in_eight_bits(model, path):
    """Returns what reads with a `LanguageModel` once its weights are stored in 8 bits, in a file at a path."""
    from kerasptb.arguments import ModelArguments
    from kerasptb.engine.files import network_of, read_weights, write_in_8_bits
    from kerasptb.reading import Reader

    arguments = ModelArguments(**ModelArguments.named(model.get_config()))
    write_in_8_bits(path, arguments, model.open_network())
    return Reader(network_of(arguments, read_weights(path, arguments)), model.text_format)
