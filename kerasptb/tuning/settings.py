"""The arguments of a search, and its settings, which all its processes share."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, get_args

from kerasptb.arguments import (
    Argument,
    Arguments,
    BatchArguments,
    Choice,
    Flag,
    ModelArguments,
    Number,
    Text,
    TrainingArguments,
    Whole,
    argument,
)
from kerasptb.utils.types import Tokens

# The size of the notebook's model at 10,000 words, so that results are compared at equal size.
NOTEBOOK_PARAMETERS = 3_955_088

_MODEL, _BATCHES = ModelArguments.fields(), BatchArguments.fields()


@dataclasses.dataclass(frozen=True)
class SearchArguments(Arguments):
    """What a search is asked for. One that is resumed keeps what is `fixed`: its trials would not be comparable."""

    trials: int = argument(Whole(), "number of trials", 20, option=True, shown="20", fixed=False)
    epochs: int = argument(
        Whole(),
        "epochs of a trial that is not stopped early",
        15,
        option=True,
        shown="15, or as often as the recipe reads a text at most",
    )
    minutes: float | None = argument(
        Number(0, without_low=True),
        "trials of about N minutes on this machine, by the time of some steps, in place of --epochs",
        None,
        option=True,
        metavar="N",
    )
    parts: int = argument(Whole(), BatchArguments.fields()["parts"].help, 1)
    start_from: str | None = argument(Text(), TrainingArguments.fields()["start_from"].help, None)
    tuner: str = argument(
        Choice(("random", "bayesian", "hyperband")), "how trials are drawn", "bayesian", option=True, shown="bayesian"
    )
    max_parameters: int = argument(
        Whole(),
        "no model has more",
        NOTEBOOK_PARAMETERS,
        option=True,
        shown=f"{NOTEBOOK_PARAMETERS}, the notebook's number, or a larger preset's",
    )
    steps_per_epoch: int | None = argument(Whole(), _BATCHES["steps_per_epoch"].help, None, option=True, metavar="N")
    tokens: str | None = argument(Choice(get_args(Tokens)), "what the text is cut into", None)
    tokenizer: str | None = argument(Text(), "a tokenizer.json to cut it with", None)
    vocabulary_size: int | None = argument(Whole(), "the most tokens to keep", None)
    keep_lines: bool | None = argument(Flag(), "whether each of its lines is a paragraph", None)
    backend: str | None = argument(_MODEL["backend"].kind, _MODEL["backend"].help, None, option=True, shown="auto")
    precision: str | None = argument(
        _MODEL["precision"].kind, _MODEL["precision"].help, None, option=True, shown="the recipe's"
    )
    seed: int | None = argument(
        Whole(0), "of the draws and of every training", None, option=True, shown="drawn, and recorded"
    )
    early_stopping: bool = argument(Flag(), "whether hopeless trials end early", True, fixed=False)
    max_failures: int = argument(
        Whole(), "trials failing for one reason that end the search", 3, option=True, shown="3", fixed=False
    )


# Arguments of a start of the search.
START_ARGUMENTS = {
    "workers": Argument(
        "workers",
        Whole(),
        "a chief and N worker processes, each with its share of the cores",
        optional=True,
        metavar="N",
        shown="one trial after another here",
    ),
    "max_hours": Argument("max_hours", Number(0, without_low=True), "time limit, from this start on", optional=True),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchSettings(SearchArguments):
    """A search as search.json in its folder holds it, which all its processes share."""

    folder: Path
    preset: str | None  # the recipe that it is around; None for a space that was given
    data: str  # what reads its text
    text: dict[str, str]  # where the text came from, "source", for people to read, and its "digest"
    space: dict[str, Any]  # the "class" of the space, and the "config" of a `LanguageModelSpace`
    deadline: float | None  # when no further trial begins, in seconds since 1970

    def to_config(self) -> dict[str, Any]:
        """Returns the settings as search.json holds them, a dict."""
        names = ("deadline", "preset", "data", "text", "space")
        return {**super().to_config(), **{name: getattr(self, name) for name in names}}
