"""Ctrl-C and SIGTERM: delayed while something must not be interrupted, and both exceptions."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any, Self


class Terminated(SystemExit):
    """SIGTERM came. Unless this is caught, the process ends with status 143."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)


class Signals:
    """Handles Ctrl-C and SIGTERM in its context, or between `install` and `uninstall`, and delays them while it holds.

    Otherwise they do what they did before, but SIGTERM raises `Terminated` where it would have killed the process. In
    another than Python's main thread this class does nothing.
    """

    def __init__(self) -> None:
        # The arguments of the handlers of what has come and is delayed.
        self.held: list[tuple[int, FrameType | None]] = []
        self._holds = self._lets_second_through = False
        self._installed = False
        self._before: dict[int, Any] = {}

    def install(self) -> None:
        """Takes the place of the present handlers."""
        if self._installed or threading.current_thread() is not threading.main_thread():
            return
        self._installed = True
        for number in (signal.SIGINT, signal.SIGTERM):
            handler = signal.getsignal(number)
            if callable(handler) or (number, handler) == (signal.SIGTERM, signal.SIG_DFL):
                self._before[number] = handler
                signal.signal(number, self._handle)

    def uninstall(self) -> None:
        """Puts the handlers back; what is held stays so."""
        if self._installed:
            for number, handler in self._before.items():
                signal.signal(number, handler)
        self._installed = False

    def hold(self, all_of_them: bool = True) -> None:
        """Delays signals from here on, until `deliver`; or only the first, where none may come to deliver it."""
        self._holds, self._lets_second_through = True, not all_of_them

    @property
    def number(self) -> int:
        """The number of the first of the held signals; 0 if there is none."""
        return self.held[0][0] if self.held else 0

    def deliver(self, number: int | None = None) -> None:
        """Does what a signal asks for, by its number; 0 is none, `None` the first that is held. The delay goes on."""
        number = self.number if number is None else int(number)
        if number:
            frame = self.held[0][1] if self.held else None
            self.held = []
            self._deliver(number, frame)

    def __enter__(self) -> Self:
        self.install()
        return self

    def __exit__(self, *error: object) -> None:
        self.uninstall()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._holds and not (self.held and self._lets_second_through):
            self.held.append((number, frame))
        else:
            self._deliver(number, frame)

    def _deliver(self, number: int, frame: FrameType | None) -> None:
        handler = self._before.get(number)
        if callable(handler):
            handler(number, frame)
        else:
            raise Terminated if number == signal.SIGTERM else KeyboardInterrupt


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Delays Ctrl-C and SIGTERM until the body has ended."""
    signals = Signals()
    try:
        with signals:
            signals.hold()
            yield
    finally:
        signals.deliver()
