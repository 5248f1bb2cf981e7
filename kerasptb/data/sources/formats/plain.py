"""Plain text, whatever its name is."""

from collections.abc import Iterator

from kerasptb.data.errors import DataError
from kerasptb.data.sources.encodings import MARKS, encoding_of
from kerasptb.data.sources.source import Source
from kerasptb.data.sources.text_file import TextFile, check_no_binary, with_newlines

_LONGEST_LINE = 1 << 26  # characters, of a table, a record or a chat


def recognises(file: TextFile) -> bool:
    """Returns whether a file has no byte of 0, which no text has but in UTF-16 and UTF-32."""
    head = file.head()
    return b"\0" not in head or head.startswith(MARKS)


def texts(file: TextFile, source: Source) -> Iterator[str]:
    """Yields the text as it is."""
    for piece in file.text(encoding_of(file, source.encoding)):
        check_no_binary(piece, file.path)
        yield piece


def lines(file: TextFile, source: Source) -> Iterator[str]:
    r"""Yields the lines of a plain text, with their ends as `\n`."""
    part = ""
    for piece in with_newlines(texts(file, source)):
        *whole, part = (part + piece).split("\n")
        yield from (f"{line}\n" for line in whole)
        if len(part) > _LONGEST_LINE:
            raise DataError(f"Expected lines of {_LONGEST_LINE:,} characters at most. {file.path} has a longer one.")
    if part:
        yield part
