"""Lines of a file or of standard input, as they come, or all of them."""

import io
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from kerasptb.data import DataError

_BYTES = 2**18  # that are read at once: some thousand lines


def read_lines(name: str | None) -> Iterator[list[str]]:
    """Yields the lines of a file, or of standard input (`None` or "-"), in lists of those that have come."""
    file, called = _open(name)
    number, rest = 0, b""
    with file:
        while chunk := file.read1(_BYTES):  # waits for one byte, not for all
            *lines, rest = (rest + chunk).split(b"\n")
            yield from _texts(lines, number, called)
            number += len(lines)
    yield from _texts([rest] if rest else [], number, called)


def read_text(name: str | None) -> str:
    """Returns all of a file, or of standard input, character by character as it is."""
    file, called = _open(name)
    with file:
        try:
            return file.read().decode()
        except UnicodeDecodeError as error:
            raise DataError(f"Expected UTF-8. Received: byte {error.start + 1:,} of {called}") from None


def _texts(lines: Sequence[bytes], before: int, called: str) -> Iterator[list[str]]:
    """Yields the texts of lines, a list that is not empty; raises after those before a line that is no text."""
    texts, error = [], None
    for number, line in enumerate(lines, start=before + 1):
        try:
            texts.append(line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r"))
        except UnicodeDecodeError:
            error = DataError(f"Expected UTF-8. Received: line {number} of {called}")
            break
    if texts:
        yield texts
    if error is not None:
        raise error


def _open(name: str | None) -> tuple[io.BufferedReader, str]:
    """Returns a binary file, and what to call it."""
    if name is not None and name != "-":
        return Path(name).open("rb"), name
    if sys.stdin is None:
        raise OSError("Standard input is closed.")
    if sys.stdin.isatty():
        print("Type a text; Ctrl-D at the beginning of a line ends it.", file=sys.stderr)
    return open(sys.stdin.fileno(), "rb", closefd=False), "standard input"
