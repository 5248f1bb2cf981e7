"""The settings of a run, which its config.json holds, and whether they are what a training is asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
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
)
from kerasptb.data import Tokenizer
from kerasptb.runs.request import Request
from kerasptb.runs.text import TextRecord

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
        recipe: dict of the settings of the preset's own training, see `Recipe.settings`.
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
        config = with_known_parts(config)
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


def check_divides(batch_size: int, workers: int) -> None:
    """Raises ValueError unless so many workers can each have rows of a batch, the same number."""
    if batch_size % workers:
        raise ValueError(f"Expected a batch whose rows {workers} workers divide. Received: batch_size={batch_size}")


def _texts(config: Mapping[str, Any], part: str) -> dict[str, str]:
    values = config.get(part, {})
    if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
        raise ValueError(f"`{part}` must be names with texts. Received: {part}={shortened(values)}")
    return values


def with_known_parts(config: Any) -> dict[str, Any]:
    """Returns a config; raises ValueError if it is no dict of the parts that one has."""
    if not isinstance(config, dict):
        raise ValueError(f"settings must be an object. Received: {shortened(config)}")
    if unknown := sorted(set(config) - set(_OF_CONFIG)):
        raise ValueError(f"there is no part {', '.join(unknown)}: expected some of {', '.join(_OF_CONFIG)}")
    return config
