"""What a recipe is, the facts that it may go by, and the recipes by name."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from kerasptb.utils.types import Precision, Tokens

if TYPE_CHECKING:
    import keras

Trainer: TypeAlias = "tuple[keras.optimizers.Optimizer, list[keras.callbacks.Callback]]"

_FOLDER = Path(__file__).parent

# The names of the recipes, those of their files.
PRESETS = tuple(
    sorted(path.stem.replace("_", "-") for path in _FOLDER.glob("*.py") if path.stem not in ("__init__", "recipe"))
)


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a recipe may go by; by default what holds of a long text before anything is timed.

    Attributes:
        num_tokens: length of the training text.
        given: arguments of `LanguageModel` that are named, or those of the run that the model begins with.
        started: whether it begins with the weights of a run.
        taught: whether it learns from a teacher.
        bfloat16: whether this machine has native kernels for bfloat16.
        room: how often a model of the recipe's own layers would read the text in the minutes that there are; `None`
            where nothing is timed.
        passes: how often the text is read; `None` where that is not known yet.
    """

    num_tokens: float = math.inf
    given: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    started: bool = False
    taught: bool = False
    bfloat16: bool = False
    room: float | None = None
    passes: float | None = None


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A model, how it is regularised and how it is trained.

    Attributes:
        model: arguments of `LanguageModel`, without the vocabulary's size.
        optimization: function of the number of all steps, and of the settings, that returns a Keras optimizer and
            callbacks.
        settings: settings of the optimization, all that it takes.
        epochs: number of passes over the training text.
        fitted: arguments of `LanguageModel` that go by the text, whatever run the model begins with.
        batches: further arguments of `make_dataset` for the training text.
        tokens: what a text is cut into where nothing says it; `None` for what suits the text.
        precision: of the matrix products where none is named; `None` for the usual one.
        minutes: what a training takes where neither epochs nor minutes are named; `None` for the epochs.
        most_passes: how often the text is read at most, however many minutes there are.
        search: bounds of the settings of a search, as `tuning.LanguageModelSpace` takes them; empty for none of its
            own.
        reasons: why settings are what they are: what follows "since", by their names.

    Example:
        >>> recipe = get_preset("notebook")
        >>> optimizer, callbacks = recipe.training(steps_per_epoch=774)
        >>> callbacks[0].rate(epoch=5)
        0.5
    """

    model: Mapping[str, Any]
    optimization: Callable[..., Trainer]
    settings: Mapping[str, Any]
    epochs: int
    fitted: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    batches: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    tokens: Tokens | None = None
    precision: Precision | None = None
    minutes: float | None = None
    most_passes: float = math.inf
    search: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    reasons: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def model_arguments(self, vocabulary_size: int = 10000) -> dict[str, Any]:
        """Returns the arguments of `LanguageModel` for V words, a dict."""
        return {"vocabulary_size": vocabulary_size, **self.model, **self.fitted}

    def training(self, steps_per_epoch: int, epochs: int | None = None, **settings: Any) -> Trainer:
        """Returns what trains the model.

        Args:
            steps_per_epoch: number of batches in an epoch.
            epochs: number of epochs; `None` for the recipe's. A learning rate that falls over the whole training
                depends on it.
            **settings: in place of those of the recipe.

        Returns:
            optimizer: a `keras.optimizers.Optimizer`, for `model.compile`.
            callbacks: a list of Keras callbacks, for `model.fit`, to follow `callbacks.ResetStates`.

        Raises:
            ValueError: for a setting that the recipe does not have.
        """
        if unknown := sorted(set(settings) - set(self.settings)):
            raise ValueError(f"Expected settings of the training among {sorted(self.settings)}. Received: {unknown}")
        return self.optimization(steps_per_epoch * (epochs or self.epochs), **{**self.settings, **settings})


def get_preset(name: str, facts: Facts | None = None) -> Recipe:
    """Returns the `Recipe` of a name.

    Args:
        name: one of `PRESETS`.
        facts: what it may go by; `None` for those of a long text.

    Raises:
        ValueError: if there is none; the message lists the existing ones.
    """
    if name not in PRESETS:
        raise ValueError(f"Expected a preset among {list(PRESETS)}. Received: {name!r}")
    file = importlib.import_module(f"kerasptb.presets.{name.replace('-', '_')}")
    return file.recipe(facts or Facts()) if hasattr(file, "recipe") else file.RECIPE


def summary_of(name: str) -> str:
    """Returns the first paragraph of a recipe's docstring, on one line, without importing Keras."""
    path = _FOLDER / f"{name.replace('-', '_')}.py"
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(docstring.partition("\n\n")[0].split())
