"""Mail in an mbox file: what its authors wrote, without headers, quotations, signatures and attachments.

Quotations are told by `>` and a line before that ends in a colon, in any language. The library quotequail, which is
maintained, knows that line in eight languages, and needs lxml.
"""

import email
import email.header
import email.policy
import email.utils
import re
from collections.abc import Iterator
from email.message import EmailMessage

from kerasptb.data.sources.formats.chat import messages_of
from kerasptb.data.sources.formats.html import page_text
from kerasptb.data.sources.source import Source
from kerasptb.data.sources.text_file import TextFile

_BEGIN = re.compile(rb"From \S+.*\d{4}")
_ESCAPED = re.compile(rb">+From ")
# What a signature comes after, or a whole mail that is answered: a line, and a header.
_END = re.compile(
    r"^(?:-- |(?:-{5,} ?(?!BEGIN)\w[^-\n]{0,40} ?-{5,}|_{30,})[ \t]*\n\s*\*?\w[\w ]{0,19}\*?:.*)$", re.MULTILINE
)
_QUOTED = "blockquote, .gmail_quote"
_DAMAGE = (AttributeError, LookupError, TypeError, ValueError)  # what Python's parser raises for a damaged mail
_OF_HEADER = re.compile(r"\b\d{4}\b|@")  # in the first line of what says whose a quotation is


def recognises(file: TextFile) -> bool:
    """Returns whether a file begins with an mbox's separator and a header."""
    first, _, others = file.head(4096).partition(b"\n")
    return bool(_BEGIN.match(first) and re.match(rb"[!-9;-~]+: ", others))


def texts(file: TextFile, source: Source) -> Iterator[str]:
    """Yields what was written in each message."""
    return messages_of(((_author(each), _written(each, file.path)) for each in _messages(file)), file.path, source)


def _messages(file: TextFile) -> Iterator[EmailMessage]:
    """Yields the messages of a mailbox: one begins at a separator after an empty line."""
    lines: list[bytes] = []
    part, is_after_empty = b"", True
    for chunk in file.chunks():
        *whole, part = (part + chunk).split(b"\n")
        for line in whole:
            if is_after_empty and _BEGIN.match(line):
                yield from _parsed(lines)
                lines = []
            else:
                lines.append(line[1:] if _ESCAPED.match(line) else line)
            is_after_empty = not line.strip()
    yield from _parsed([*lines, part])


def _parsed(lines: list[bytes]) -> Iterator[EmailMessage]:
    """Yields the message of some lines, if there is one that can be parsed."""
    if any(lines):
        try:
            message = email.message_from_bytes(b"\n".join(lines), EmailMessage, policy=email.policy.default)
        except _DAMAGE:
            return
        yield message


def _author(message: EmailMessage) -> str:
    # As it is spelt: Python's parser of such headers raises for damaged ones (IndexError, AttributeError).
    raw = next((value for name, value in message.raw_items() if name.lower() == "from"), "")
    try:
        decoded = str(email.header.make_header(email.header.decode_header(raw)))
    except (ValueError, LookupError):  # of an unknown encoding
        decoded = raw
    name, address = email.utils.parseaddr(decoded)
    return name or address


def _written(message: EmailMessage, path: str) -> str:
    try:
        body = message.get_body(("plain", "html"))
        content = None if body is None else body.get_payload(decode=True)
        charset = None if body is None else body.get_content_charset()
    except _DAMAGE:
        return ""
    if body is None or not isinstance(content, bytes):
        return ""
    is_page = body.get_content_subtype() == "html"
    if is_page and charset is None:  # which the page may say
        return page_text(content, path, main_content=False, left_out=_QUOTED)
    text = _decoded(content, charset or "utf-8")
    if is_page:
        return page_text(text.encode(errors="replace"), path, "utf-8", main_content=False, left_out=_QUOTED)
    return "\n".join(_unquoted(_END.split(text.replace("\r\n", "\n"), maxsplit=1)[0].split("\n")))


def _decoded(content: bytes, charset: str) -> str:
    try:
        return content.decode(charset, "replace")
    except (LookupError, ValueError):  # of an unknown encoding, or one of no text
        return content.decode(errors="replace")


def _unquoted(lines: list[str]) -> list[str]:
    """Returns lines without quotations and what says whose these are, which ends in a colon."""
    kept: list[str] = []
    is_quoted = False
    for line in lines:
        if line.startswith(">"):
            if not is_quoted:
                _drop_attribution(kept)
        else:
            kept.append(line)
        is_quoted = line.startswith(">")
    return kept


def _drop_attribution(lines: list[str]) -> None:
    last = len(lines) - (1 if lines and lines[-1].strip() else 2)
    if last >= 0 and lines[last].rstrip().endswith(":"):
        is_wrapped = last > 0 and not _OF_HEADER.search(lines[last]) and _OF_HEADER.search(lines[last - 1])
        del lines[last - bool(is_wrapped) :]
