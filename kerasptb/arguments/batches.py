"""The arguments of a training's batches, besides their size, which is the model's."""

from __future__ import annotations

import dataclasses

from kerasptb.arguments.fields import Arguments, argument
from kerasptb.arguments.kinds import Flag, Whole


@dataclasses.dataclass(frozen=True)
class BatchArguments(Arguments):
    """How the training text becomes batches."""

    steps_per_epoch: int | None = argument(
        Whole(), "only the first N batches of each epoch", None, option=True, metavar="N"
    )
    jitter: bool = argument(Flag(), "whether batches have lengths around `num_steps`, see `make_dataset`", False)
    parts: int = argument(Whole(), "parts of the text, of which each epoch reads the next, see `make_dataset`", 1)
