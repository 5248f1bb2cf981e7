"""What a training is asked for: the arguments of `train` and, where they say nothing, the settings of a file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kerasptb.arguments import (
    BatchArguments,
    ModelArguments,
    RecipeArguments,
    TrainingArguments,
    read_part,
    with_changes,
)
from kerasptb.data.sources.source import is_there
from kerasptb.data.text_format import TextFormat, open_tokenizer
from kerasptb.runs.damage import RunError
from kerasptb.runs.request import Request
from kerasptb.runs.settings import CONFIG, NO_START, PARTS, with_known_parts
from kerasptb.runs.text import TextRecord
from kerasptb.training.start import recorded_run, recorded_start
from kerasptb.utils.files import check_regular
from kerasptb.utils.types import Folder

# What an optimizer has defaults of its own for.
_OF_OPTIMIZER = ("learning_rate", "weight_decay", "beta_1")


def read_request(arguments: Mapping[str, Any]) -> Request:
    """Returns what is asked for by arguments of `kerasptb.train`, a dict; `None` for one that is not given.

    Raises:
        ValueError: if an argument is wrong, or named twice.
        RunError: if the config cannot be read, holds settings that nothing takes or those of another preset than is
            asked for, or if its text is no longer where it was.
    """
    given = _if_said(arguments)
    reading = {name: given.get(name) for name in ("tokens", "vocabulary_size", "keep_lines")}
    of_model = {**ModelArguments.named(given), "vocabulary_size": None}  # which is said of the text
    of_training = TrainingArguments.named(given)
    for name, recorded in {"start_from": recorded_start, "teacher": recorded_run, "freeze": _as_tuple}.items():
        if name in of_training:
            of_training[name] = recorded(of_training[name])
    named = Request(
        data=given.get("data"),
        format=TextFormat(tokenizer=open_tokenizer(given.get("tokenizer")), **reading),
        model=ModelArguments.asked(given.get("model_arguments"), **of_model),
        batches=BatchArguments.asked(given.get("batch_arguments"), **BatchArguments.named(given)),
        training=TrainingArguments.asked(**of_training),
        recipe=RecipeArguments.asked(given.get("training_arguments"), **RecipeArguments.named(given)),
    )
    return _after_config(named, given["config"]) if "config" in given else named


def _as_tuple(names: Any) -> Any:
    return names if isinstance(names, str) else tuple(names)


def _after_config(named: Request, config: Folder) -> Request:
    """Returns a request with the settings of a run, or of a file like its config.json, where it names none."""
    path, parts, text = _read_config(Path(config))
    model, batches, training, recipe = (parts[name] for name in PARTS)
    preset = training.get("preset")
    if preset is not None and named.training.get("preset", preset) != preset and (model or recipe):
        settings = f"{path} has the settings of another preset, {preset}."
        raise RunError(f"{settings} Received: preset={named.training['preset']}")
    left_out = {"vocabulary_size", "teacher_digest"}  # that of the text, and one that is taken anew
    if named.training.get("optimizer", training.get("optimizer")) != training.get("optimizer"):
        left_out.update(_OF_OPTIMIZER)
    if "minutes" in named.training:  # the epochs that fit are found anew
        left_out.update(("epochs", "parts"))
    elif "epochs" in {**training, **named.training}:
        left_out.add("minutes")
    if "start_from" in training:  # as that run began, whatever suits the text
        training["start_from"] = recorded_start(training["start_from"] or NO_START)
    for name in left_out:
        for part in parts.values():
            part.pop(name, None)
    return Request(
        data=_text(path, text) if named.data is None else named.data,
        format=_format(path, text, training, named),
        model=with_changes(model, named.model),
        batches={**_if_said(batches), **named.batches},
        training={**_if_said(training), **named.training},
        recipe={**recipe, **named.recipe},
    )


def _if_said(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _read_config(path: Path) -> tuple[Path, dict[str, dict[str, Any]], dict[str, Any]]:
    """Returns the file of a config, the parts of it that can be asked for, and what it says of the text."""
    try:
        if path.is_dir():
            path = path / CONFIG
            check_regular(path)  # what is named itself may be a pipe
        found = with_known_parts(json.loads(path.read_text(encoding="utf-8")))
        parts = {name: read_part(part.fields(), found.get(name, {}), name) for name, part in PARTS.items()}
        return path, parts, read_part(TextRecord.fields(), found.get("data", {}), "data")
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"Expected a JSON file in the form of a run's {CONFIG}. Received: {path} ({error})") from None


def _format(path: Path, text: Mapping[str, Any], training: Mapping[str, Any], named: Request) -> TextFormat:
    """Returns how a text is read: as is asked, or else as the run has read its own."""
    keep_lines = text.get("keep_lines") if named.format.keep_lines is None else named.format.keep_lines
    format = dataclasses.replace(named.format, keep_lines=keep_lines)
    if set(format.named) & {"tokens", "tokenizer"}:
        return format
    if format.vocabulary_size is not None:
        return dataclasses.replace(format, tokens=text.get("tokens"))
    if text.get("tokens") == "subwords":
        tokenizer = path.parent / "tokenizer.json"
        if named.data is None and tokenizer.exists():
            return dataclasses.replace(format, tokenizer=open_tokenizer(tokenizer))  # which may have been given
        if training.get("teacher") or training.get("start_from", NO_START) != NO_START:
            return format  # another text is cut by the tokenizer of the teacher, or of what the training begins with
    return dataclasses.replace(format, tokens=text.get("tokens"), vocabulary_size=text.get("vocabulary_limit"))


def _text(path: Path, text: Mapping[str, Any]) -> str | None:
    """Returns the text of a run, as `train` takes it; `None` if its settings name none."""
    place, name = text.get("location"), text.get("name")
    if place is not None and is_there(place):
        return place
    if name in (None, "ptb", "sample"):
        return name
    if place is None:
        raise RunError(f"The text of {path} cannot be read again: it came from no file. Name it with --data.")
    raise RunError(f"The text of {path} is no longer at {place}. Name it with --data.")
