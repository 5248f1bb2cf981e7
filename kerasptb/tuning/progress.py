"""Prints the progress of a search, which is read from its folder."""

import contextlib
import shutil
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self, TextIO

from kerasptb.tuning.records import TrialView, best_trial, read_trials
from kerasptb.utils.status_line import Stage, at_work

_INTERVAL = 2.0


class Progress:
    """Prints a line for each trial that ends and, on a terminal, a status line, while its body runs."""

    def __init__(self, folder: Path, trials: int, deadline: float | None = None, stream: TextIO | None = None) -> None:
        self._folder, self._trials, self._deadline = folder, trials, deadline
        self._stream = stream or sys.stdout
        self._reported = {trial.trial_id for trial in read_trials(folder) if trial.record.ended}
        self._over = threading.Event()
        self._at_work, self._stage = contextlib.ExitStack(), Stage("")
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        if not self._stream.isatty():
            self._stage = self._at_work.enter_context(at_work("Searching"))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._at_work.close()

    def _watch(self) -> None:
        # The reader of a pipe may have gone, as `head` does. The search gets the same error when it prints its results.
        with contextlib.suppress(BrokenPipeError):
            while not self._over.wait(_INTERVAL):
                self.update()
            self.update()
            if self._stream.isatty():
                self._stream.write("\r\x1b[K")
                self._stream.flush()

    def update(self) -> None:
        """Prints what is new."""
        trials = read_trials(self._folder)
        # KerasTuner writes its status a moment after the record. Only both together say how a trial ended.
        for trial in trials:
            if trial.record.ended and trial.status != "RUNNING" and trial.trial_id not in self._reported:
                self._reported.add(trial.trial_id)
                self._print(f"{describe_trial(trial)}; {self._summary(trials)}\n")
        running = ", ".join(describe_trial(trial) for trial in trials if trial.status == "RUNNING")
        self._stage.what = f"{running or 'starting'}; {self._summary(trials)}"
        if self._stream.isatty():
            # A longer line would wrap, and could not be written over.
            width = shutil.get_terminal_size().columns - 1
            self._print(self._stage.what[:width])

    def _print(self, text: str) -> None:
        self._stream.write(f"\r\x1b[K{text}" if self._stream.isatty() else text)
        self._stream.flush()

    def _summary(self, trials: Sequence[TrialView]) -> str:
        ended = sum(trial.record.ended for trial in trials)
        parts = [f"{ended} of {self._trials} ended"]
        if best := best_trial(trials):
            parts.append(f"best {best.figure} (trial {best.trial_id})")
        if (left := seconds_left(trials, self._trials, self._deadline)) is not None:
            parts.append(f"{duration(left)} left")
        return ", ".join(parts)


def describe_trial(trial: TrialView) -> str:
    """Returns the state of a trial, in a few words."""
    record = trial.record
    if trial.status == "RUNNING":
        perplexity = f", perplexity {record.curve[-1]:.1f}" if record.curve else ""
        return f"trial {trial.trial_id}: epoch {len(record.curve) + 1} of {record.planned_epochs or '?'}{perplexity}"
    if trial.score is None:
        return f"trial {trial.trial_id} failed: {record.reason}"
    size = f", {record.parameters:,} parameters" if record.parameters else ""
    stopped = f", stopped: {record.stopped}" if record.stopped else ""
    return f"trial {trial.trial_id}: perplexity {trial.figure}{size}, {duration(record.seconds)}{stopped}"


def seconds_left(trials: Sequence[TrialView], num_trials: int, deadline: float | None = None) -> float | None:
    """Returns an estimate of the seconds left, from ended trials and the deadline; `None` if there is neither."""
    seconds = [trial.record.seconds for trial in trials if trial.record.ended]
    limit = None if deadline is None else max(deadline - time.time(), 0.0)
    if not seconds:
        return limit
    mean = sum(seconds) / len(seconds)
    running = [trial.record.seconds for trial in trials if not trial.record.ended]
    work = max(num_trials - len(trials), 0) * mean + sum(max(mean - done, 0.0) for done in running)
    left = work / max(len(running), 1)
    return left if limit is None else min(left, limit)


def duration(seconds: float) -> str:
    """Returns a time in words: `48 s`, `12 min`, `3 h 05 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
