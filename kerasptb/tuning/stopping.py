"""Decides when a trial is not worth its remaining epochs."""

import math
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from kerasptb.tuning.records import Record, trial_folders

# A trial is compared with the others once so many have completed: the median of two says nothing.
MIN_TRIALS = 5
# A trial is judged after so many epochs at a falling learning rate, because these lower the perplexity most.
DECAYED_EPOCHS = 2
# A trial is on a plateau when the last `DECAYED_EPOCHS` epochs have lowered its perplexity by less than this share.
MIN_IMPROVEMENT = 0.001
# The `stopped` of a trial that the time limit ended. If it is taken up again with more time, its training goes on.
TIME_LIMIT = "time limit"


class TrialEarlyStopping(keras.callbacks.Callback):
    """Ends a trial that is no longer worth its time, and keeps the trial's record up to date, with why it stopped.

    It stops after its deadline, in seconds since 1970, and if it is to `judge`, when the trial is worse than the median
    of others or on a plateau. Such a trial counts as completed, with its best epoch.
    """

    def __init__(self, folder: Path, record: Record, judge: bool = True, deadline: float | None = None) -> None:
        super().__init__()
        self.folder, self.record, self.judge, self.deadline = folder, record, judge, deadline
        self._began = time.time() - record.seconds

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Writes the record, and stops the training if a rule says so."""
        logs = logs or {}
        perplexity = float(logs.get("val_perplexity", math.nan))
        self.record.curve.append(perplexity)
        self.record.seconds = time.time() - self._began
        rate = logs.get("learning_rate", self._scheduled_rate())
        self.record.rates.append(None if rate is None else float(rate))
        if epoch + 1 < self.record.planned_epochs:
            self.record.stopped = self._stop_reason(epoch + 1, rate is not None)
            self.model.stop_training = self.model.stop_training or self.record.stopped is not None
        self.record.save(self.folder)

    def _scheduled_rate(self) -> float | None:
        """Returns the present rate of a schedule, such as one cycle; `None` if there is none."""
        optimizer = getattr(self.model, "optimizer", None)  # a `fit` of one's own may train without
        if optimizer is None or not isinstance(optimizer.get_config().get("learning_rate"), dict):
            return None
        return optimizer.learning_rate

    def _stop_reason(self, epochs: int, has_rate: bool) -> str | None:
        if self.deadline and time.time() > self.deadline:
            return TIME_LIMIT
        if not self.judge or (has_rate and decayed_epochs(self.record.rates) < DECAYED_EPOCHS):
            return None  # with a constant rate a good model looks bad
        # The median stopping rule of Golovin et al., 2017, "Google Vizier", section 3.2.
        if epochs >= max(2, self.record.planned_epochs // 3):
            others = [lowest(curve, epochs) for curve in completed_curves(self.folder)]
            if len(others) >= MIN_TRIALS and lowest(self.record.curve, epochs) > statistics.median(others):
                return f"above the median at epoch {epochs}"
        if has_rate and has_plateaued(self.record.curve):
            return f"no better for {DECAYED_EPOCHS} epochs"
        return None


def decayed_epochs(rates: Sequence[float | None]) -> int:
    """Returns the number of epochs since the learning rate fell below the highest, which a warm-up leads to."""
    known = [math.inf if rate is None else rate for rate in rates]
    return known[::-1].index(max(known))


def lowest(curve: Sequence[float], epochs: int) -> float:
    """Returns the lowest perplexity of the first epochs; infinity if none is a number."""
    return min((value for value in curve[:epochs] if math.isfinite(value)), default=math.inf)


def has_plateaued(curve: Sequence[float]) -> bool:
    """Whether the last two epochs brought no improvement of 0.1% over the best before them."""
    before, last = curve[:-DECAYED_EPOCHS], curve[-DECAYED_EPOCHS:]
    return bool(before) and lowest(last, len(last)) > (1 - MIN_IMPROVEMENT) * lowest(before, len(before))


def completed_curves(of: Path) -> list[list[float]]:
    """Returns the curves of the trials that have completed beside that of a folder."""
    records = [Record.load(folder) for folder in trial_folders(of.parents[1]) if folder != of]
    return [record.curve for record in records if record.ended and record.reason is None and record.curve]
