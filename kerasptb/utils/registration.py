"""Registers the classes of saved models with Keras as soon as this package is imported.

Keras finds the classes of a saved model among the registered ones, and a class is registered when its module is
imported. But this package imports its modules only when they are first used. So a stand-in is registered first for each
class. It imports the class when a saved model needs it; the class then replaces the stand-in.
"""

import importlib

import wrapt

_ROOMS = {
    "layers": (
        "Dense",
        "Dropout",
        "Embedding",
        "FusedGRU",
        "FusedLSTM",
        "FusedRNN",
        "RecurrentCell",
        "StatefulLSTM",
        "StatefulRNN",
        "TiedDense",
    ),
    "losses": ("SequenceCrossEntropy", "SparseCategoricalCrossentropy"),
    "metrics": ("Perplexity",),
    "models": ("LanguageModel",),
    "optimizers": ("ClippedAdamW", "ClippedSGD", "OneCycle"),
    "regularizers": ("ActivationRegularization", "TemporalActivationRegularization"),
}
_CLASSES = {name: f"kerasptb.{room}" for room, names in _ROOMS.items() for name in names}


class _StandIn:
    def __init__(self, name):
        self._name = name

    def from_config(self, config):
        return getattr(importlib.import_module(_CLASSES[self._name]), self._name).from_config(config)


def register_with_keras():
    """Registers the classes with Keras: now if Keras has been imported, else when it is."""

    @wrapt.when_imported("keras")
    def register(keras):
        known = keras.saving.get_custom_objects()
        for name in _CLASSES:
            known.setdefault(f"kerasptb>{name}", _StandIn(name))
