"""Plain text, whatever its name is."""

import re
from collections.abc import Iterator

from kerasptb.data.errors import DataError
from kerasptb.data.sources.encodings import encoding_of, marked_encoding
from kerasptb.data.sources.source import Source
from kerasptb.data.sources.text_file import TextFile, check_no_binary, with_newlines

_LONGEST_LINE = 1 << 26  # characters, of a table, a record or a chat
# Control characters that texts have: those of white space, backspace, DOS' end of a file, what terminals obey, and
# separators. Of the others random bytes have 8 in 100, and machine code more.
_CONTROLS = re.compile(r"[\x01-\x07\x0e-\x19\x7f]")
_MOST_CONTROLS = 0.01


def recognises(file: TextFile) -> bool:
    """Returns whether a file begins as a text does, in whatever encoding is found for it."""
    head = file.head()
    return is_text(head, marked_encoding(head) or "latin-1")  # all others have the control characters of ASCII


def is_text(head: bytes, encoding: str) -> bool:
    """Returns whether the beginning of a file in an encoding has no character of 0, and few others that no text has."""
    text = head.decode(encoding, "replace")
    return "\0" not in text and len(_CONTROLS.findall(text)) <= _MOST_CONTROLS * len(text)


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
