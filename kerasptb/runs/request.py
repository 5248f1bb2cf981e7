"""What a training is asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from kerasptb.data import Corpus
from kerasptb.data.sources import TextSource
from kerasptb.data.text_format import USUAL, TextFormat


@dataclasses.dataclass(frozen=True)
class Request:
    """What a training is asked for: what is named, in canonical form.

    Attributes:
        data: the text, as `load_corpus` takes it; `None` for "auto", or for that of the run that is resumed.
        format: how it is read.
        model: arguments of `LanguageModel`.
        batches: those of `BatchArguments`.
        training: those of `TrainingArguments`.
        recipe: settings of the recipe's training.
    """

    data: Corpus | TextSource | None = None
    format: TextFormat = USUAL
    model: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    batches: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    training: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    recipe: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def named(self) -> frozenset[str]:
        """The names of all that is asked for."""
        return frozenset(self.format.named).union(self.model, self.batches, self.training, self.recipe)
