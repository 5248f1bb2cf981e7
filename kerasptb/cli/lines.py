"""Lines of a file or of standard input, as they come."""

import queue
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from kerasptb.data import DataError

_MOST_WAITING = 4096


def read_lines(name: str | None) -> Iterator[list[str]]:
    """Yields the lines of a file, or of standard input (`None` or "-"), in lists: those that wait, at least one."""
    file, called = _open(name)
    waiting: queue.Queue = queue.Queue(_MOST_WAITING)

    def read():
        try:
            with file:
                for line in file:
                    waiting.put(line)
            waiting.put(None)
        except BaseException as error:  # whatever it is, the reader must not wait for ever
            waiting.put(error)

    threading.Thread(target=read, daemon=True).start()
    number, end = 0, None
    while end is None:
        lines = [waiting.get()]
        while len(lines) < _MOST_WAITING and isinstance(lines[-1], bytes) and not waiting.empty():
            lines.append(waiting.get())
        # What came before the end, or before an error, is given first.
        end = None if isinstance(lines[-1], bytes) else (lines.pop() or True)
        texts = []
        for line in lines:
            number += 1
            try:
                texts.append(line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n"))
            except UnicodeDecodeError:
                end = DataError(f"Expected UTF-8. Received: line {number} of {called}")
                break
        if texts:
            yield texts
        if isinstance(end, BaseException):
            raise end


def _open(name):
    """Returns a binary file that the thread closes, and what to call it."""
    if name not in (None, "-"):
        return Path(name).open("rb"), name
    if sys.stdin is None:
        raise OSError("Standard input is closed.")
    # A file of its own: Python waits at its end for whoever reads `sys.stdin`.
    return open(sys.stdin.fileno(), "rb", closefd=False), "standard input"
