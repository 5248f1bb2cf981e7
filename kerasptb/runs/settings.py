"""The settings of a run, or of a file in its form, as arguments of `kerasptb.train`."""

import inspect
import json
import os
from pathlib import Path
from typing import Any

from kerasptb.models import LanguageModel
from kerasptb.models.arguments import KEEP_PROB_RATES
from kerasptb.runs.damage import RunError
from kerasptb.runs.run import CONFIG

_PARTS = ("model", "training", "data", "versions")
# Settings of a training that are arguments of `train`; the others are those of the preset.
_TRAIN_ARGUMENTS = ("epochs", "steps_per_epoch", "optimizer", "early_stopping", "start_from", "freeze")


def arguments_of(config: str | os.PathLike[str], **others: Any) -> dict[str, Any]:
    """Returns the arguments of `kerasptb.train` that train as a run was trained, with its seed.

    Args:
        config: a run folder, or a JSON file in the form of its config.json; each of its parts may be left out, and
            each setting in them, and has the preset's value then.
        **others: arguments of `kerasptb.train` in place of the file's; `None` for those that are not given.

    Returns:
        Dict of arguments.

    Raises:
        RunError: if the file cannot be read, holds settings that nothing takes or those of another preset than is asked
            for, or if its text is no longer where it was.

    Example:
        >>> from kerasptb.runs.settings import arguments_of
        >>> kerasptb.train(**arguments_of("runs/small/config.json", seed=2))  # doctest: +SKIP
    """
    path = Path(config)
    path = path / CONFIG if path.is_dir() else path
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        parts = {name: dict(found.get(name, {})) for name in _PARTS}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise RunError(f"Expected a JSON file in the form of a run's {CONFIG}. Received: {path} ({error})") from None
    model, training, data = parts["model"], parts["training"], parts["data"]
    known = inspect.signature(LanguageModel).parameters
    if unknown := sorted({*set(found) - set(_PARTS), *set(model) - set(known)}):
        raise RunError(f"{path} has settings that a model does not take: {', '.join(unknown)}.")
    model.pop("vocabulary_size", None)  # that of the text
    own = {name: training.pop(name) for name in _TRAIN_ARGUMENTS if name in training}
    if "recipe" in training:
        own["preset"] = training.pop("recipe")
    elif "preset" in training:
        own["preset"] = training.pop("preset")
    given = {name: value for name, value in others.items() if value is not None}
    if "preset" in own and given.get("preset", own["preset"]) != own["preset"] and (model or training):
        text = f"{path} has the settings of another preset, {own['preset']}."
        raise RunError(f"{text} Received: preset={given['preset']}")
    if given.get("optimizer", own.get("optimizer")) != own.get("optimizer"):
        training.pop("learning_rate", None)  # the optimizer's own is the default
    own |= {"data": _text(path, data, given), "vocabulary_size": data.get("vocabulary_limit")}
    replaced = {*given, *(KEEP_PROB_RATES if "keep_prob" in given else ())}
    return {
        **own,
        "model_arguments": {name: value for name, value in model.items() if name not in replaced},
        "training_arguments": {name: value for name, value in training.items() if name not in given},
        **given,
    }


def _text(path, data, given):
    """Returns the text of a run's settings, as `train` takes it; `None` if they name none."""
    place, name = data.get("location"), data.get("name")
    if place is None or (isinstance(place, str) and Path(place).exists()):
        return place or name
    if name in ("ptb", "sample") or "data" in given:
        return name
    raise RunError(f"The text of {path} is no longer at {place}. Name it with --data.")
