"""Chats as WhatsApp and exporters of Signal write them: the messages, without times and names.

Their lines are `30/11/2026, 21:09 - Ana: Hello` or `[30.11.26, 21:09:30] Ana: Hello`, in the order and with the signs
of a country; a line without that goes on with the message before.
"""

import re
from collections.abc import Iterable, Iterator

from kerasptb.data.errors import DataError
from kerasptb.data.sources.files import SplitFile
from kerasptb.data.sources.formats import plain
from kerasptb.data.sources.source import Source

_DATE = r"\d{1,4}[./-]\d{1,2}[./-]\d{1,4}"
_TIME = r"\d{1,2}[:.]\d{2}(?:[:.]\d{2})?(?:[\s\u202f]?[AaPp]\.?\s?[Mm]\.?)?"
_MESSAGE = re.compile(rf"\u200e?(?:\[{_DATE}, {_TIME}\]|{_DATE},? {_TIME} [-–]) (?:([^:\n]{{1,60}}): )?(.*)", re.DOTALL)
_LEVELS = {"DEBUG", "INFO", "NOTICE", "WARN", "WARNING", "ERROR", "CRITICAL", "FATAL", "TRACE"}  # of a log
_FEWEST, _SHARE = 3, 0.25  # lines that begin a message

# What stands for a picture or the like: `<Media omitted>`, `photo.jpg (file attached)`.
_NO_WORDS = re.compile(r"<[^<>\n]*>|\S+\.\w{2,4} \([^()\n]*\)")


def recognises(file: SplitFile) -> bool:
    """Returns whether many lines at a file's beginning begin a message of somebody."""
    lines = [line for line in file.head().decode(errors="replace").splitlines() if line.strip()]
    authors = [found[1] for found in map(_MESSAGE.match, lines) if found and found[1]]
    return len(authors) >= max(_FEWEST, _SHARE * len(lines)) and not _LEVELS.issuperset(map(str.upper, authors))


def texts(file: SplitFile, source: Source) -> Iterator[str]:
    """Yields the messages."""
    return messages_of(_messages(plain.lines(file, source)), file.path, source)


def _messages(lines):
    """Yields the author and the text of each message; `None` for what the program says."""
    author, text = None, ""
    for line in lines:
        if found := _MESSAGE.match(line):
            yield author, text
            author, text = found.groups()
        else:
            text += line
    yield author, text


def messages_of(messages: Iterable[tuple[str | None, str]], path: str, source: Source) -> Iterator[str]:
    """Yields the texts of messages, of the source's author if it names one.

    Raises:
        DataError: nothing is by that author.
    """
    authors: set[str] = set()
    for author, written in messages:
        if author is None:
            continue
        authors.add(author.strip())
        text = written.partition("\u200e")[0].strip()  # the mark comes before what the program says, not the author
        if source.author in (None, author.strip()) and text and not _NO_WORDS.fullmatch(text):
            yield f"{text}\n\n"
    if source.author is not None and source.author not in authors:
        names = ", ".join(sorted(authors)) or "nobody"
        raise DataError(f"Expected an author of {path}: {names}. Received: {source.author}")
