"""What a training is asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from kerasptb.data import Corpus
from kerasptb.data.sources.source import TextSource
from kerasptb.data.text_format import USUAL, TextFormat


@dataclasses.dataclass(frozen=True)
class Request:
    """What a training is asked for: what is named, in canonical form."""

    data: Corpus | TextSource | None = None  # None for "auto", or for the text of the run that is resumed
    format: TextFormat = USUAL  # how it is read
    model: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # arguments of `LanguageModel`
    batches: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # those of `BatchArguments`
    training: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # those of `TrainingArguments`
    recipe: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # settings of the recipe's training

    @property
    def named(self) -> frozenset[str]:
        """The names of all that is asked for."""
        return frozenset(self.format.named).union(self.model, self.batches, self.training, self.recipe)
