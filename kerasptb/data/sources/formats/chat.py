"""Chats as WhatsApp and exporters of Signal write them: the messages, without times and names.

Their lines are `30/11/2026, 21:09 - Ana: Hello` or `[30.11.26, 21:09:30] Ana: Hello`, in the order and with the signs
of a country; a line without that goes on with the message before.
"""

import re
from collections.abc import Iterable, Iterator

from kerasptb.data.errors import UnreadError
from kerasptb.data.sources.encodings import marked_encoding
from kerasptb.data.sources.formats import plain
from kerasptb.data.sources.source import Source
from kerasptb.data.sources.text_file import TextFile

_DIRECTIONS = "\u200e\u200f\u202a-\u202e\u2066-\u2069"  # marks of right-to-left text
_DATE = r"\d{1,4}S\d{1,2}S\d{1,4}".replace("S", r"(?:[^\w\n:]{1,3}|[\u5e74\u6708\ub144\uc6d4] ?)")  # years, months
_TIME = r"\d{1,2}[:.]\d{2}(?:[:.]\d{2})?"
_HALF = r"(?:\s?(?:[AaPp]\.?\s?[Mm]\.?|[^\x00-\x7f\d][^\s\d:\[\]A-Za-z]{0,12}))?"  # of the day
_STAMP = rf"(?:{_DATE}[^\d\n:\[\]]{{1,12}}{_TIME}{_HALF}|{_TIME}, {_DATE})"
_KOREAN = rf"{_DATE}\uc77c [^\d\n:]{{1,4}}{_TIME},"
_MESSAGE = re.compile(
    rf"[{_DIRECTIONS}]*(?:\[{_STAMP}\]|{_STAMP} [-\u2013]|{_KOREAN}) (?:([^:\n]{{1,60}}): )?(.*)", re.DOTALL
)
_LEVELS = {"DEBUG", "INFO", "NOTICE", "WARN", "WARNING", "ERROR", "CRITICAL", "FATAL", "TRACE"}  # of a log
# The least shares of messages of somebody: in all lines, and in those that begin with a time.
_IN_LINES, _IN_STAMPED = 0.1, 0.25

# What the program says: after a mark, what stands for a picture before its caption, and that a message was edited.
_OF_PROGRAM = re.compile(
    r"\u200e.*|\A(?:<[^<>\n]*>|\S+\.\w{2,4} \([^()\n]*\))(?=\s*$)|\s<\w[^<>\n]{0,40} [^<>\n]{1,40}>\s*\Z", re.MULTILINE
)


def recognises(file: TextFile) -> bool:
    """Returns whether many lines at a file's beginning begin a message of somebody."""
    head = file.head()
    text = head.decode(marked_encoding(head) or "utf-8", "replace")
    lines = [line for line in text.splitlines() if line.strip()]
    stamped = [found[1] for found in map(_MESSAGE.match, lines) if found]
    authors = list(filter(None, stamped))
    is_log = all(_LEVELS.intersection(re.findall(r"[A-Z]+", author.upper())) for author in authors)
    return len(authors) >= max(_IN_LINES * len(lines), _IN_STAMPED * len(stamped)) and not is_log


def texts(file: TextFile, source: Source) -> Iterator[str]:
    """Yields the messages."""
    return messages_of(with_lines(_messages(plain.lines(file, source))), file.path, source)


def _messages(lines: Iterable[str]) -> Iterator[tuple[str | None, str]]:
    """Yields the author and the text of each message; `None` for what the program says."""
    author, text = None, ""
    for line in lines:
        if found := _MESSAGE.match(line):
            yield author, _OF_PROGRAM.sub("", text)
            author, text = found.groups()
        else:
            text += line
    yield author, _OF_PROGRAM.sub("", text)


def with_lines(messages: Iterable[tuple[str | None, str]]) -> Iterator[tuple[str | None, str]]:
    """Yields messages in which each line is a paragraph: people who chat end one because they mean to."""
    return ((author, text.replace("\n", "\n\n")) for author, text in messages)


def messages_of(messages: Iterable[tuple[str | None, str]], path: str, source: Source) -> Iterator[str]:
    """Yields the texts of messages, of the source's author if it names one.

    Raises:
        UnreadError: nothing is by that author.
    """
    authors: set[str] = set()
    for named, written in messages:
        if named is None:
            continue
        author = re.sub(f"[{_DIRECTIONS}]", "", named).strip()
        authors.add(author)
        if source.author in (None, author) and (text := written.strip()):
            yield f"{text}\n\n"
    if source.author is not None and source.author not in authors:
        names = ", ".join(sorted(filter(None, authors))) or "nobody"
        raise UnreadError(path, f"by {names}, and not by --author {source.author}")
