"""Mail in an mbox file: what its authors wrote, without headers, quotations, signatures and attachments."""

import email
import email.header
import email.policy
import email.utils
import itertools
import re
from collections.abc import Iterator
from email.message import EmailMessage

from kerasptb.data.sources.files import SplitFile
from kerasptb.data.sources.formats.chat import messages_of
from kerasptb.data.sources.formats.html import page_text
from kerasptb.data.sources.source import Source

_BEGIN = re.compile(rb"From \S+.*\d{4}")
_SIGNATURE = "-- "  # the line before it


def recognises(file: SplitFile) -> bool:
    """Returns whether a file begins with an mbox's separator and a header."""
    first, _, others = file.head(4096).partition(b"\n")
    return bool(_BEGIN.match(first) and re.match(rb"[!-9;-~]+: ", others))


def texts(file: SplitFile, source: Source) -> Iterator[str]:
    """Yields what was written in each message."""
    return messages_of(((_author(each), _written(each, file.path)) for each in _messages(file)), file.path, source)


def _messages(file):
    """Yields the messages of a mailbox: one begins at a separator after an empty line."""
    lines, part, is_after_empty = [], b"", True
    for chunk in file.chunks():
        *whole, part = (part + chunk).split(b"\n")
        for line in whole:
            if is_after_empty and _BEGIN.match(line):
                yield from _parsed(lines)
                lines = []
            else:
                lines.append(line)
            is_after_empty = not line.strip()
    yield from _parsed([*lines, part])


def _parsed(lines):
    if any(lines):
        yield email.message_from_bytes(b"\n".join(lines), EmailMessage, policy=email.policy.default)


def _author(message):
    # As it is spelt: Python's parser of such headers raises for damaged ones (IndexError, AttributeError).
    raw = next((value for name, value in message.raw_items() if name.lower() == "from"), "")
    try:
        decoded = str(email.header.make_header(email.header.decode_header(raw)))
    except (ValueError, LookupError):  # of an unknown encoding
        decoded = raw
    name, address = email.utils.parseaddr(decoded)
    return name or address


def _written(message, path):
    body = message.get_body(("plain", "html"))
    if body is None:
        return ""
    if body.get_content_subtype() == "html":
        return page_text(body.get_payload(decode=True), path, main_content=False)
    content = body.get_payload(decode=True).decode(_charset(body), "replace").replace("\r\n", "\n")
    lines = content.partition(f"\n{_SIGNATURE}\n")[0].split("\n")
    return "\n".join(line for line, after in itertools.zip_longest(lines, lines[1:]) if not _is_quoted(line, after))


def _is_quoted(line, after):
    """Returns whether a line is a quotation, or says whose the next line is."""
    return line.startswith(">") or (line.rstrip().endswith(":") and (after or "").startswith(">"))


def _charset(body):
    charset = body.get_content_charset("utf-8")
    try:
        "".encode(charset)
    except LookupError:
        return "utf-8"
    return charset
