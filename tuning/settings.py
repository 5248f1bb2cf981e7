"""The arguments that all processes of a search share."""

import dataclasses
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class SearchSettings:
    """The arguments of a search, with its defaults filled in.

    Attributes:
        folder: the search's folder.
        tuner: "random", "bayesian" or "hyperband".
        trials: number of trials in all.
        epochs: number of epochs of a whole training.
        max_parameters: the most parameters a model may have.
        seed: seed of the draws and of every training.
        steps_per_epoch: batches of an epoch; `None` for all.
        early_stopping: whether hopeless trials end early.
        max_failures: number of failures for one reason after which the search ends.
        deadline: time (seconds since 1970) at which it ends; `None` for none.
    """

    folder: Path
    tuner: str
    trials: int
    epochs: int
    max_parameters: int
    seed: int
    steps_per_epoch: int | None = None
    early_stopping: bool = True
    max_failures: int = 3
    deadline: float | None = None
