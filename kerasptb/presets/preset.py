"""What a recipe's file offers, under one name."""

from __future__ import annotations

import ast
import collections.abc
import importlib
import inspect
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras

    from kerasptb.utils.types import Precision, Tokens

_FOLDER = Path(__file__).parent


class Preset:
    """A recipe for a model and its training.

    Args:
        name: name of the recipe, that of its file.

    Attributes:
        name: name of the recipe.
        summary: what it is: the file's docstring.
        epochs: number of passes over the training text.

    Example:
    >>> preset = get_preset("notebook")
    >>> optimizer, callbacks = preset.training(steps_per_epoch=774)
    >>> callbacks[0].rate(epoch=5)
    0.5
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._recipe = importlib.import_module(f"kerasptb.presets.{name.replace('-', '_')}")
        self.summary = inspect.getdoc(self._recipe) or ""
        self.epochs = self._recipe.EPOCHS

    def model_arguments(self, vocabulary_size: int = 10000) -> dict[str, Any]:
        """Returns the arguments of `LanguageModel` as a dict.

        Args:
            vocabulary_size: number V of words.
        """
        return {"vocabulary_size": vocabulary_size, **self._recipe.MODEL}

    def sized(self, num_tokens: int, num_steps: int) -> dict[str, Any]:
        """Returns the arguments of `LanguageModel` that depend on the text's length, as a dict.

        Args:
            num_tokens: of the training text.
            num_steps: of a row of a batch.
        """
        return self._recipe.sized(num_tokens, num_steps) if hasattr(self._recipe, "sized") else {}

    def batch_arguments(self) -> dict[str, Any]:
        """Returns further arguments of `make_dataset` for the training text, as a dict."""
        return dict(getattr(self._recipe, "BATCHES", {}))

    def training_arguments(self) -> dict[str, Any]:
        """Returns the settings of the training, except its epochs, as a dict."""
        parameters = list(inspect.signature(self._recipe.training).parameters.values())[1:]
        return {parameter.name: parameter.default for parameter in parameters}

    @property
    def started(self) -> dict[str, Any]:
        """The settings of the training that differ where the model begins with the weights of a run, a dict."""
        return dict(getattr(self._recipe, "STARTED", {}))

    @property
    def tokens(self) -> Tokens | None:
        """What a text is cut into where nothing is said of that; `None` for what suits the text."""
        return getattr(self._recipe, "TOKENS", None)

    @property
    def minutes(self) -> float | None:
        """How long a training takes where neither epochs nor minutes are named; `None` for its epochs."""
        return getattr(self._recipe, "MINUTES", None)

    @property
    def precision(self) -> Precision | None:
        """The precision of the matrix products where none is named and this machine has it; `None` for no wish."""
        return getattr(self._recipe, "PRECISION", None)

    def most_passes(self, num_tokens: int, started: bool) -> float:
        """Returns how often a text is read at most where a training has a number of minutes.

        Args:
            num_tokens: of the training text.
            started: whether the model begins with the weights of a run.
        """
        return self._recipe.most_passes(num_tokens, started) if hasattr(self._recipe, "most_passes") else math.inf

    def grown(self, num_tokens: int, passes: float) -> dict[str, Any]:
        """Returns the arguments of `LanguageModel` for larger layers, if the minutes are enough for them, as a dict.

        Args:
            num_tokens: of the training text.
            passes: how often a model of the recipe's own sizes would read it in the minutes.
        """
        return self._recipe.grown(num_tokens, passes) if hasattr(self._recipe, "grown") else {}

    def fitted(self, passes: float) -> dict[str, Any]:
        """Returns the arguments of `LanguageModel` that depend on how often a training reads the text, as a dict.

        Args:
            passes: so often, a float.
        """
        return self._recipe.fitted(passes) if hasattr(self._recipe, "fitted") else {}

    def training(
        self, steps_per_epoch: int, epochs: int | None = None, **settings: Any
    ) -> tuple[keras.optimizers.Optimizer, list[keras.callbacks.Callback]]:
        """Returns what trains the model.

        Args:
            steps_per_epoch: number of batches in an epoch.
            epochs: number of epochs; `None` for the recipe's. A learning rate that falls over the whole training
                depends on it.
            **settings: in place of those of `training_arguments`.

        Returns:
            optimizer: a `keras.optimizers.Optimizer`, for `model.compile`.
            callbacks: a list of Keras callbacks, for `model.fit`, to follow `callbacks.ResetStates`.

        Raises:
            ValueError: for a setting that the recipe does not have.
        """
        known = self.training_arguments()
        if unknown := sorted(set(settings) - set(known)):
            raise ValueError(f"Expected settings of {self.name} among {sorted(known)}. Received: {unknown}")
        return self._recipe.training(steps_per_epoch * (epochs or self.epochs), **settings)


class _Presets(collections.abc.Mapping):
    """The recipes by name; each is imported when it is first asked for, with Keras."""

    def __init__(self):
        others = ("__init__", "preset")
        self._names = sorted(path.stem.replace("_", "-") for path in _FOLDER.glob("*.py") if path.stem not in others)
        self._loaded = {}

    def __getitem__(self, name):
        if name not in self._names:
            raise KeyError(name)
        if name not in self._loaded:
            self._loaded[name] = Preset(name)
        return self._loaded[name]

    def __iter__(self):
        return iter(self._names)

    def __len__(self):
        return len(self._names)


PRESETS: Mapping[str, Preset] = _Presets()


def get_preset(name: str) -> Preset:
    """Returns the `Preset` of a name.

    Raises:
        ValueError: if there is none; the message lists the existing ones.
    """
    try:
        return PRESETS[name]
    except KeyError:
        raise ValueError(f"Expected a preset among {sorted(PRESETS)}. Received: {name!r}") from None


def summary_of(name: str) -> str:
    """Returns the first paragraph of a recipe's docstring, on one line, without importing Keras."""
    path = _FOLDER / f"{name.replace('-', '_')}.py"
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(docstring.partition("\n\n")[0].split())
