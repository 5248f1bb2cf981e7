"""The progress of a training on a terminal: one line an epoch, which fits the terminal."""

import os
import re
import shutil
import sys
import time
from collections.abc import Iterable, Mapping
from typing import Any

from kerasptb.trainers.step_bar import StepBar
from kerasptb.utils.status_line import Stage

_BAR_WIDTH = 10
_SECONDS = 0.1  # between two updates
_COLOUR = re.compile(r"\x1b\[\d+m")
_FIGURES = {
    "perplexity": "perplexity {:.2f}",
    "val_perplexity": "valid {:.2f}",
    "words_per_second": "{:,.0f} words/s",
    "learning_rate": "rate {:.3g}",
}


class ProgressBar(StepBar):
    """Shows a bar that stays on its line, if on a terminal and not with `verbose=2`, and leaves the epoch's results.

    Args:
        stage: the `Stage` that is told how far an epoch is; `None` for none.
    """

    def __init__(self, stage: Stage | None = None) -> None:
        super().__init__()
        self._stage = stage
        self._epoch = 0
        self._begin = self._shown = self._validated = self._validation = 0.0
        self._width = 0  # of what the line has

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Begins a line."""
        self._epoch, self._begin, self._shown, self._width = epoch + 1, time.monotonic(), 0.0, 0

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Shows how far the epoch is, and how long the whole training takes yet."""
        done, now = self._done(batch), time.monotonic()
        if self._stage is not None:
            self._stage.what = f"Epoch {self._epoch}/{self.epochs}"
            self._stage.tell(done, self.target)
        if self.verbose == 1 and is_terminal() and now - self._shown >= _SECONDS:
            self._shown = now
            self._write([self._bar(done), self._left(done, now), *self._figures(logs or {})])

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Begins to time the validation."""
        self._validated = time.monotonic()

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        """Keeps how long the validation took."""
        self._validation = time.monotonic() - self._validated

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Leaves the epoch's results."""
        self._write([_duration(time.monotonic() - self._begin), *self._figures(logs or {})])
        sys.stdout.write("\n")
        sys.stdout.flush()

    def _left(self, done: int, now: float) -> str:
        """Returns how long the training takes yet, all epochs."""
        if not self.target:
            return ""
        step, epochs = (now - self._begin) / done, self.epochs - self._epoch
        seconds = step * (self.target - done) + epochs * step * self.target + (epochs + 1) * self._validation
        return f"{_duration(seconds)} left"

    def _bar(self, done: int) -> str:
        if not self.target:
            return f"step {done}"
        full = _BAR_WIDTH * done // self.target
        bar = "━" * full, "━" * (_BAR_WIDTH - full)
        # https://no-color.org
        if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
            bar = bar[0], "─" * len(bar[1])
        else:
            bar = f"\x1b[32m{bar[0]}\x1b[0m", f"\x1b[37m{bar[1]}\x1b[0m"
        return f"{''.join(bar)} {done}/{self.target}"

    def _figures(self, logs: Mapping[str, Any]) -> list[str]:
        return [text.format(float(logs[name])) for name, text in _FIGURES.items() if name in logs]

    def _write(self, parts: Iterable[str]) -> None:
        """Writes the line, in place of what it has, with as many of the parts as fit."""
        most = shutil.get_terminal_size().columns - 1 if is_terminal() else 10**6
        line = f"Epoch {self._epoch:{len(str(self.epochs))}}/{self.epochs}"
        width = len(line)
        for part in filter(None, parts):
            visible = len(_COLOUR.sub("", part)) + 2
            if width + visible > most:
                break
            line, width = f"{line}  {part}", width + visible
        before = f"\r{' ' * self._width}\r" if self._width else ""
        self._width = width
        sys.stdout.write(before + line)
        sys.stdout.flush()


def is_terminal() -> bool:
    """Returns whether a bar is shown as it grows."""
    return sys.stdout is not None and (sys.stdout.isatty() or "ipykernel" in sys.modules)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02d}:{seconds:02d}"
    return f"{minutes}:{seconds:02d}" if minutes else f"{seconds} s"
