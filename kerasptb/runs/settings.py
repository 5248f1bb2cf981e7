"""The settings of a run: what its config.json holds, what a training is asked for, and each made of the other."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any, Self

from kerasptb.arguments import (
    Arguments,
    BatchArguments,
    ModelArguments,
    RecipeArguments,
    TrainingArguments,
    as_json,
    read_part,
    shortened,
    with_changes,
)
from kerasptb.data import Tokenizer
from kerasptb.data.sources.source import is_there
from kerasptb.runs.damage import RunError
from kerasptb.runs.request import Request
from kerasptb.runs.text import TextRecord
from kerasptb.utils.files import check_regular

CONFIG = "config.json"
NO_START = "none"  # as what a training begins with: nothing, whatever the text

# The parts that a training is asked for, and their arguments.
PARTS: dict[str, type[Arguments]] = {
    "model": ModelArguments,
    "batches": BatchArguments,
    "training": TrainingArguments,
    "recipe": RecipeArguments,
}
_OF_CONFIG = (*PARTS, "data", "versions", "reasons")


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """The settings of a run: what was planned for it.

    Attributes:
        model: arguments of `LanguageModel`.
        batches: how the training text becomes batches.
        training: what any training has.
        recipe: dict of the settings of the preset's own training, see `Recipe.training_arguments`.
        data: the text.
        versions: dict of what the run began with: the packages' versions, and the "processors".
        reasons: dict of why what was chosen is what it is, by the names of settings; what follows "since".
    """

    model: ModelArguments
    batches: BatchArguments
    training: TrainingArguments
    recipe: dict[str, Any]
    data: TextRecord
    versions: dict[str, str]
    reasons: dict[str, str] = dataclasses.field(default_factory=dict)

    @classmethod
    def from_config(cls, config: Any) -> Self:
        """Returns the settings that a config.json holds; raises ValueError if one is unknown, wrong or missing."""
        config = _with_known_parts(config)
        return cls(
            ModelArguments.from_config(config.get("model", {}), "model"),
            BatchArguments.from_config(config.get("batches", {}), "batches"),
            TrainingArguments.from_config(config.get("training", {}), "training"),
            read_part(RecipeArguments.fields(), config.get("recipe", {}), "recipe"),
            TextRecord.from_config(config.get("data", {}), "data"),
            _texts(config, "versions"),
            _texts(config, "reasons"),
        )

    def to_config(self) -> dict[str, Any]:
        """Returns the settings as config.json holds them, a dict of dicts."""
        parts = {name: getattr(self, name) for name in _OF_CONFIG}
        return {name: dict(part) if isinstance(part, dict) else part.to_config() for name, part in parts.items()}

    @property
    def choices(self) -> list[str]:
        """What was chosen and why: a line for each reason."""
        parts = self.to_config()
        values = {name: value for part in ("data", *PARTS) for name, value in parts[part].items()}
        lines = []
        for reason in dict.fromkeys(self.reasons.values()):
            chosen = [f"{name} {values[name]}" for name, why in self.reasons.items() if why == reason]
            lines.append(f"{', '.join(chosen)}, since {reason}")
        return lines

    def check_asked(self, request: Request, tokenizer: Tokenizer) -> None:
        """Raises ValueError if what is asked of a resumed training contradicts these settings, or its tokenizer."""
        for part, arguments in PARTS.items():
            recorded, fields = getattr(self, part), arguments.fields()
            for name, value in getattr(request, part).items():
                kept = recorded.get(name) if isinstance(recorded, dict) else getattr(recorded, name)
                asks = None if name == "start_from" and value == NO_START else value
                if kept != asks and fields[name].fixed:
                    raise ValueError(f"{name}={as_json(kept)!r}. Received: {name}={as_json(value)!r}")
        has = dataclasses.replace(self.data.format, tokenizer=tokenizer)
        for name, value in request.format.named.items():
            if value != getattr(has, name):
                raise ValueError(f"{name}={getattr(has, name)!r}. Received: {name}={value!r}")


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
    try:
        if path.is_dir():
            path = path / CONFIG
            check_regular(path)  # what is named itself may be a pipe
        found = _with_known_parts(json.loads(path.read_text(encoding="utf-8")))
        parts = {name: read_part(part.fields(), found.get(name, {}), name) for name, part in PARTS.items()}
        data = read_part(TextRecord.fields(), found.get("data", {}), "data")
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"Expected a JSON file in the form of a run's {CONFIG}. Received: {path} ({error})") from None
    named = {name: value for name, value in others.items() if value is not None}
    model, training, recipe = parts["model"], parts["training"], parts["recipe"]
    model.pop("vocabulary_size", None)  # that of the text
    preset = training.get("preset")
    if preset is not None and named.get("preset", preset) != preset and (model or recipe):
        text = f"{path} has the settings of another preset, {preset}."
        raise RunError(f"{text} Received: preset={named['preset']}")
    if named.get("optimizer", training.get("optimizer")) != training.get("optimizer"):
        for name in ("learning_rate", "weight_decay", "beta_1"):  # the optimizer's own are the defaults
            recipe.pop(name, None)
    batches = parts["batches"]
    training.pop("teacher_digest", None)  # it is taken anew
    if training.get("start_from", "") is None:
        training["start_from"] = NO_START  # as that run began, whatever suits the text
    if "minutes" in named:  # the epochs that fit are found anew
        training.pop("epochs", None)
        batches.pop("parts", None)
    elif "epochs" in {**training, **named}:
        training.pop("minutes", None)
    reading = _reading(path, data, training, named)
    changes = ModelArguments.named(named)
    model = {name: value for name, value in with_changes(model, changes).items() if name not in changes}
    return {
        **training,
        "steps_per_epoch": batches.pop("steps_per_epoch", None),
        "data": _text(path, data, named),
        **reading,
        "model_arguments": model,
        "batch_arguments": batches,
        "training_arguments": {name: value for name, value in recipe.items() if name not in named},
        **named,
    }


def check_divides(batch_size: int, workers: int) -> None:
    """Raises ValueError unless so many workers can each have rows of a batch, the same number."""
    if batch_size % workers:
        raise ValueError(f"Expected a batch whose rows {workers} workers divide. Received: batch_size={batch_size}")


def _texts(config, part):
    values = config.get(part, {})
    if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
        raise ValueError(f"`{part}` must be names with texts. Received: {part}={shortened(values)}")
    return values


def _with_known_parts(config):
    if not isinstance(config, dict):
        raise ValueError(f"settings must be an object. Received: {shortened(config)}")
    if unknown := sorted(set(config) - set(_OF_CONFIG)):
        raise ValueError(f"there is no part {', '.join(unknown)}: expected some of {', '.join(_OF_CONFIG)}")
    return config


def _reading(path, data, training, named):
    """Returns the arguments by which `train` reads a text as a run has read its own."""
    lines = {"keep_lines": data.get("keep_lines")}
    if {"tokens", "tokenizer", "vocabulary_size"} & set(named):
        return lines
    if data.get("tokens") == "subwords":
        tokenizer = path.parent / "tokenizer.json"
        if "data" not in named and tokenizer.exists():
            return {**lines, "tokenizer": tokenizer}  # which may have been given
        if training.get("teacher") or training.get("start_from", NO_START) != NO_START:
            return lines  # another text is cut by the tokenizer of the teacher, or of what the training begins with
    return {**lines, "tokens": data.get("tokens"), "vocabulary_size": data.get("vocabulary_limit")}


def _text(path, data, named):
    """Returns the text of a run's settings, as `train` takes it; `None` if they name none."""
    place, name = data.get("location"), data.get("name")
    if place is not None and is_there(place):
        return place
    if name in (None, "ptb", "sample") or "data" in named:
        return name
    if place is None:
        raise RunError(f"The text of {path} cannot be read again: it came from no file. Name it with --data.")
    raise RunError(f"The text of {path} is no longer at {place}. Name it with --data.")
