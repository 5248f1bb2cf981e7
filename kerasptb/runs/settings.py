"""The settings of a run: what its config.json holds, what a training is asked for, and each made of the other."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from kerasptb.arguments import (
    RECIPE_ARGUMENTS,
    BatchArguments,
    ModelArguments,
    TextRecord,
    TrainingArguments,
    as_json,
    read_part,
    shortened,
    with_changes,
)
from kerasptb.data.sources import is_there
from kerasptb.runs.damage import RunError
from kerasptb.utils.files import check_regular

CONFIG = "config.json"
NO_START = "none"  # as what a training begins with: nothing, whatever the text

# The parts that a training is asked for, and their arguments.
PARTS = {
    "model": ModelArguments.fields(),
    "batches": BatchArguments.fields(),
    "training": TrainingArguments.fields(),
    "recipe": RECIPE_ARGUMENTS,
}
_OF_CONFIG = (*PARTS, "data", "versions")


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """The settings of a run.

    Attributes:
        model: arguments of `LanguageModel`.
        batches: how the training text becomes batches.
        training: what any training has.
        recipe: dict of the settings of the preset's own training, see `Recipe.training_arguments`.
        data: the text.
        versions: dict of what the run began with: the packages' versions, and the "processors".
    """

    model: ModelArguments
    batches: BatchArguments
    training: TrainingArguments
    recipe: dict[str, Any]
    data: TextRecord
    versions: dict[str, str]

    @classmethod
    def from_config(cls, config: Any) -> Self:
        """Returns the settings that a config.json holds.

        Raises:
            ValueError: for an unknown key, one that is missing, or a value that its field does not take.
        """
        config = _with_known_parts(config)
        versions = config.get("versions", {})
        if not isinstance(versions, dict) or not all(isinstance(version, str) for version in versions.values()):
            raise ValueError(f"`versions` must be names with texts. Received: versions={shortened(versions)}")
        return cls(
            ModelArguments.from_config(config.get("model", {}), "model"),
            BatchArguments.from_config(config.get("batches", {}), "batches"),
            TrainingArguments.from_config(config.get("training", {}), "training"),
            read_part(RECIPE_ARGUMENTS, config.get("recipe", {}), "recipe"),
            TextRecord.from_config(config.get("data", {}), "data"),
            versions,
        )

    def to_config(self) -> dict[str, Any]:
        """Returns the settings as config.json holds them, a dict of dicts."""
        parts = {name: getattr(self, name) for name in _OF_CONFIG}
        return {name: dict(part) if isinstance(part, dict) else part.to_config() for name, part in parts.items()}

    def check_asked(self, asked: Mapping[str, Mapping[str, Any]]) -> None:
        """Raises ValueError if what is asked of a resumed training contradicts these settings.

        Args:
            asked: the result of `asked_settings`.
        """
        for part, values in asked.items():
            recorded = getattr(self, part)
            for name, value in values.items():
                kept = recorded.get(name) if isinstance(recorded, dict) else getattr(recorded, name)
                asks = None if name == "start_from" and value == NO_START else value
                if kept != asks and PARTS[part][name].fixed:
                    raise ValueError(f"{name}={as_json(kept)!r}. Received: {name}={as_json(value)!r}")


def asked_settings(values: Mapping[str, Any], further: Mapping[str, Mapping[str, Any] | None]) -> dict[str, dict]:
    """Returns the settings that a training is asked for, in canonical form: a dict for each of `PARTS`.

    Args:
        values: by name, `None` for those that are not named.
        further: by part, dicts of more of them.

    Raises:
        ValueError: for a name that no field has, one that is named twice, or a value that its field does not take.
    """
    asked: dict[str, dict] = {}
    for part, fields in PARTS.items():
        more = dict(further.get(part) or {})
        if unknown := sorted(set(more) - set(fields)):
            raise ValueError(f"Expected arguments of the {part} among {sorted(fields)}. Received: {unknown}")
        named = {name: values[name] for name in fields if values.get(name) is not None}
        asked[part] = {name: fields[name].read(value) for name, value in {**named, **more}.items()}
        for name in set(named) & set(more):
            if fields[name].read(named[name]) != asked[part][name]:
                raise ValueError(
                    f"{name} is named twice, as an argument and among those of the {part}. "
                    f"Received: {name}={named[name]!r} and {name}={more[name]!r}"
                )
    return asked


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
        parts = {name: read_part(fields, found.get(name, {}), name) for name, fields in PARTS.items()}
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
        for name in ("learning_rate", "weight_decay"):  # the optimizer's own are the defaults
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
    changes = {name: named[name] for name in PARTS["model"] if name in named}
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
    if place is None or is_there(place):
        return place or name
    if name in ("ptb", "sample") or "data" in named:
        return name
    raise RunError(f"The text of {path} is no longer at {place}. Name it with --data.")
