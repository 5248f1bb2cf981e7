"""Registers the classes of saved models with Keras as soon as this package is imported.

Keras finds the classes of a saved model among the registered ones, and a class is registered when its module is
imported. But this package imports its modules only when they are first used. So a stand-in is registered first for each
class. It imports the class when a saved model needs it; the class then replaces the stand-in.

Just before, a framework is named where Keras would look for TensorFlow in vain, as with Python 3.14.
"""

import contextlib
import importlib
import importlib.abc
import importlib.util
import json
import os
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

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
    def __init__(self, name: str) -> None:
        self._name = name

    def from_config(self, config: dict[str, Any]) -> Any:
        return getattr(importlib.import_module(_CLASSES[self._name]), self._name).from_config(config)


def register_with_keras() -> None:
    """Registers the classes with Keras: now if Keras has been imported, else when it is."""
    if (keras := sys.modules.get("keras")) is not None and hasattr(keras, "saving"):
        _register(keras)
    else:
        sys.meta_path.insert(0, _AfterKeras())


def keras_backend() -> str:
    """Returns the framework that Keras runs on, found where Keras finds it without importing that."""
    settings = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"), "keras.json")
    configured: Any = None
    with contextlib.suppress(OSError, ValueError):  # Keras goes on without it too
        configured = json.loads(settings.read_text(encoding="utf-8"))
    of_file = configured.get("backend", "tensorflow") if isinstance(configured, dict) else "tensorflow"
    return os.environ.get("KERAS_BACKEND") or of_file


def choose_backend() -> None:
    """Names JAX, else PyTorch, where Keras would run on TensorFlow, which is not installed, and nobody has named it."""
    if importlib.util.find_spec("tensorflow") or os.environ.get("KERAS_BACKEND") or keras_backend() != "tensorflow":
        return
    if there := [name for name in ("jax", "torch") if importlib.util.find_spec(name)]:
        os.environ["KERAS_BACKEND"] = there[0]


class _AfterKeras(importlib.abc.MetaPathFinder):
    """Registers the classes once Keras has been imported. A package for such hooks imports asyncio, for 50 ms."""

    _is_looking = False

    def find_spec(self, name: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        """Returns Keras' own spec, whose loader then registers; `None` of all others."""
        if name != "keras" or self._is_looking:
            return None
        self._is_looking = True
        try:
            spec = importlib.util.find_spec(name)  # of the other finders
        finally:
            self._is_looking = False
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                choose_backend()
                execute(module)
                if self in sys.meta_path:
                    sys.meta_path.remove(self)
                _register(module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _register(keras: Any) -> None:
    known = keras.saving.get_custom_objects()
    for name in _CLASSES:
        known.setdefault(f"kerasptb>{name}", _StandIn(name))
