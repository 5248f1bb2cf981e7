"""The classes that saved models hold, known to Keras as soon as this package is imported.

Keras finds a class of a saved model among those that were registered, which they are when their modules are imported.
This package imports its modules when they are first used. So what is registered first is a stand-in for each class,
which imports it when a saved model asks for it; the class then takes its place.
"""

import importlib

import wrapt

_CLASSES = {
    "ClippedSGD": "kerasptb.optimizers",
    "Embedding": "kerasptb.layers",
    "FusedLSTM": "kerasptb.layers",
    "LanguageModel": "kerasptb.models",
    "Perplexity": "kerasptb.metrics",
    "SequenceCrossEntropy": "kerasptb.losses",
    "StatefulLSTM": "kerasptb.layers",
}


class _StandIn:
    def __init__(self, name):
        self._name = name

    def from_config(self, config):
        return getattr(importlib.import_module(_CLASSES[self._name]), self._name).from_config(config)


def register_with_keras():
    """Has Keras know the classes, now if it has been imported, else once it is."""

    @wrapt.when_imported("keras")
    def register(keras):
        known = keras.saving.get_custom_objects()
        for name in _CLASSES:
            known.setdefault(f"kerasptb>{name}", _StandIn(name))
