"""Lines on standard error that say how far something is."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Self, TypeVar

# Seconds until what a command does is told: at first, and at most, in a log; each time after twice as many.
_FIRST, _MOST = 1.2, 30.0
_ON_TERMINAL = 1.0

_stages: list[Stage] = []  # of what the process is doing, the last one within those before
_shown = threading.Event()  # a line that the next one takes the place of
_showing = threading.Lock()
_Item = TypeVar("_Item")


def show_status(line: str, *, is_last: bool = False, in_logs: bool = False) -> None:
    """Shows a line: on a terminal in place of the one before, unless that was the last; in a log if `in_logs`."""
    if sys.stderr.isatty():
        (_shown.clear if is_last or not line else _shown.set)()
        print(f"\r\x1b[K{line}", end="\n" if is_last else "", file=sys.stderr, flush=True)
    elif in_logs:
        print(line, file=sys.stderr, flush=True)


def clear_status() -> None:
    """Takes the line from a terminal, before something else is printed there."""
    if _shown.is_set():
        show_status("")


@dataclasses.dataclass(eq=False)
class Stage:
    """What a process is doing, and how much of it is done."""

    what: str
    share: float | None = None
    begin: float = dataclasses.field(default_factory=time.monotonic)

    def tell(self, done: float, total: float | None) -> None:
        """Says how much is done, of how much, if that is known."""
        self.share = min(done / total, 1.0) if total else None

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return time.monotonic() - self.begin

    def __str__(self) -> str:
        if self.share is None:
            return f"{self.what} ({self.seconds:.0f} s)"
        return f"{self.what}: {self.share:.0%}"


@contextlib.contextmanager
def at_work(what: str) -> Iterator[Stage]:
    """Lets who watches say what the body is doing, and how far it is if it tells the stage."""
    stage = Stage(what)
    _stages.append(stage)
    try:
        yield stage
    finally:
        with _showing:
            _stages.remove(stage)
            clear_status()


def tracked(what: str, items: Sequence[_Item]) -> Iterator[_Item]:
    """Yields items, and lets who watches say how many are done."""
    with at_work(what) as stage:
        for number, item in enumerate(items):
            stage.tell(number, len(items))
            yield item


class Watching:
    """While its body runs, says in a line what takes longer: from two seconds on, in a log less and less often."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        if os.environ.get("KERASPTB_PROGRESS") != "0":
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self) -> None:
        pause = _FIRST
        with contextlib.suppress(OSError, ValueError):  # the reader has gone, which the command is told too
            while not self._over.wait(pause):
                while not (long := [stage for stage in _stages if stage.seconds > _FIRST]):
                    if self._over.wait(0.1):
                        return
                told = next((stage for stage in reversed(long) if stage.share), long[-1])
                with _showing:
                    if told in _stages:
                        show_status(str(told), in_logs=True)
                pause = _ON_TERMINAL if sys.stderr.isatty() else min(2 * pause, _MOST)
