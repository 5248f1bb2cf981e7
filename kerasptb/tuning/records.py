"""The files that each trial leaves in its folder, and the view of a search that is read from them.

    FOLDER/                   the search
      search.json             its arguments
      trials/                 KerasTuner's project
        oracle.json           the state of the tuner
        trial_07/
          trial.json          KerasTuner's: settings, status, score
          record.json         ours: epoch by epoch, and why it stopped or failed
          run/                the run folder that `kerasptb.train` left
          hparams/            for TensorBoard
          error.txt           the traceback, if it failed

All files are complete on disk at any time. The progress, the stopping rule, the leaderboard and a resumed search read
nothing else, on any machine that shares the folder.
"""

import dataclasses
import math
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from kerasptb.utils.files import finite, read_json, write_json

SEARCH = "search.json"
PROJECT = "trials"
RECORD = "record.json"
RUN = "run"
OBJECTIVE = "val_perplexity"


@dataclasses.dataclass
class Record:
    """The record of a trial, beside KerasTuner's own file."""

    tuner: str = ""  # KerasTuner's id of the process that ran it last
    host: str = ""  # name of that process's machine
    attempts: int = 0  # how often this session of the search began the trial without ending it
    planned_epochs: int = 0  # number of epochs that it should train
    # Validation perplexity after each epoch, at the trial's own batch size.
    curve: list[float] = dataclasses.field(default_factory=list)
    rates: list[float | None] = dataclasses.field(default_factory=list)  # learning rate of each epoch, or None
    seconds: float = 0.0  # all attempts together
    parameters: int | None = None  # of its model; None if not known
    words_per_second: float | None = None  # median of its epochs
    train_perplexity: float | None = None  # of the best epoch
    bits_per_byte: float | None = None  # of the validation text, by the trial's score; None if not known
    stopped: str | None = None  # why it ended before its last epoch
    reason: str | None = None  # why it failed
    ended: bool = False  # whether it has completed or failed

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Returns the record in a trial's folder, a new one if there is none."""
        values = read_json(Path(folder) / RECORD) or {}
        curve = [math.nan if value is None else value for value in values.get("curve", [])]
        return cls(**{**values, "curve": curve})

    def save(self, folder: Path) -> None:
        """Writes the record into a trial's folder."""
        write_json(Path(folder) / RECORD, {**dataclasses.asdict(self), "curve": list(map(finite, self.curve))})


@dataclasses.dataclass(frozen=True)
class TrialView:
    """A trial as the people who look at a search see it."""

    trial_id: str  # KerasTuner's, digits
    folder: Path
    status: str  # "RUNNING", "COMPLETED", "FAILED" or "INVALID"
    values: dict[str, Any]  # its settings
    score: float | None  # validation perplexity; None unless it completed
    record: Record

    @property
    def figure(self) -> str:
        """The score for people to read; what is no perplexity, as a loss of a model of one's own, may be small."""
        if self.score is None:
            return ""
        return f"{self.score:.2f}" if self.score >= 1 else f"{self.score:.3g}"


def trial_folders(folder: Path) -> list[Path]:
    """Returns the trials' folders of a search, in the order of their ids."""
    found = [path.parent for path in (Path(folder) / PROJECT).glob("trial_*/trial.json")]
    return sorted(found, key=lambda path: (len(path.name), path.name))  # 9 before 10


def read_trials(folder: Path) -> list[TrialView]:
    """Returns the `TrialView` of each trial of a search, in the order of their ids."""
    views = []
    for path in trial_folders(folder):
        trial = read_json(path / "trial.json")
        if trial is None:
            continue
        values = settings_of(trial["hyperparameters"]["values"])
        score = trial["score"] if trial["status"] == "COMPLETED" else None
        views.append(TrialView(trial["trial_id"], path, trial["status"], values, score, Record.load(path)))
    return views


def settings_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a trial's settings, a dict, without Hyperband's bookkeeping among KerasTuner's values."""
    return {name: value for name, value in values.items() if not name.startswith("tuner/")}


def rank(views: Iterable[TrialView]) -> list[TrialView]:
    """Returns the trials in order: completed ones first, by rising perplexity, then by age."""
    return sorted(views, key=lambda view: (view.score is None, view.score, len(view.trial_id), view.trial_id))


def best_trial(views: Iterable[TrialView]) -> TrialView | None:
    """Returns the completed trial of lowest perplexity, or `None`."""
    return next((view for view in rank(views) if view.score is not None), None)


def copy_folder(source: Path, target: Path) -> None:
    """Copies a folder; only when the copy is complete does it replace what was there."""
    new, old = target.with_name(f".{target.name}.new"), target.with_name(f".{target.name}.old")
    for path in (new, old):
        shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(source, new)
    if target.exists():
        target.rename(old)
    new.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def reset_attempts(folder: Path) -> None:
    """Resets each trial's attempts to 0: how often an earlier session was killed says nothing about a trial."""
    for path in trial_folders(folder):
        if (path / RECORD).exists():
            record = Record.load(path)
            record.attempts = 0
            record.save(path)
