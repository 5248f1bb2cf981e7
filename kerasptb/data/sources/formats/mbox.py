"""Mail in an mbox file: what its authors wrote, without headers, quotations, signatures and attachments.

Quotations are told by `>` and a line before that ends in a colon, in any language. The library quotequail, which is
maintained, knows that line in eight languages, and needs lxml.
"""

import email
import email.errors
import email.header
import email.policy
import email.utils
import io
import logging
import re
from collections.abc import Iterator
from email.message import EmailMessage
from typing import Any, cast

from kerasptb.data.errors import DataError
from kerasptb.data.sources.formats.chat import messages_of
from kerasptb.data.sources.formats.html import DeepPageError, page_text
from kerasptb.data.sources.source import Source
from kerasptb.data.sources.text_file import TextFile

logger = logging.getLogger(__name__)

_BEGIN = re.compile(rb"From \S.*\d{4}")
_ESCAPED = re.compile(rb">+From ")
# What a signature comes after, or a whole mail that is answered: a line, and a header.
_END = re.compile(
    r"^(?:-- |(?:-{5,} ?(?!BEGIN)\w[^-\n]{0,40} ?-{5,}|_{30,})[ \t]*\n\s*\*?\w[\w ]{0,19}\*?:.*)$", re.MULTILINE
)
_LONGEST_MAIL = 1 << 26  # bytes, with what is attached to it
_LONGEST_HEADER = 1 << 12  # characters of one that is read: Python takes time in the square of them
_PIECE = 1 << 16  # bytes of a line that are read at once
# What Python's parser raises for a damaged mail, or one with too many parts in one another, and what is raised here.
_DAMAGE = (
    AssertionError, AttributeError, LookupError, RecursionError, TypeError, ValueError, email.errors.MessageError
)  # fmt: skip
_OF_HEADER = re.compile(r"\b\d{4}\b|@")  # in the first line of what says whose a quotation is


def recognises(file: TextFile) -> bool:
    """Returns whether a file begins with an mbox's separator and a header."""
    first, _, others = file.head(4096).partition(b"\n")
    return bool(_BEGIN.match(first) and re.match(rb"[!-9;-~]+: ", others))


class _Policy(email.policy.EmailPolicy):
    """Python's own, which refuses headers that are read and would take too long."""

    def header_source_parse(self, sourcelines: list[str]) -> tuple[str, str]:
        is_read = sourcelines[0].lower().startswith(("from:", "content-"))
        if is_read and sum(map(len, sourcelines)) > _LONGEST_HEADER:
            raise ValueError("a header that is too long")
        return super().header_source_parse(sourcelines)


_POLICY = _Policy()


def texts(file: TextFile, source: Source) -> Iterator[str]:
    """Yields what was written in each mail."""
    return messages_of(_messages(file), file.path, source)


def _messages(file: TextFile) -> Iterator[tuple[str, str]]:
    """Yields the author of each mail, and what was written; one that cannot be read is left out, which is said."""
    num_mails = num_left_out = 0
    for mail in _mails(file):
        num_mails += 1
        try:
            message = _read(mail, file.path)
        except _DAMAGE as error:
            if isinstance(error, DataError) and not isinstance(error, DeepPageError):
                raise
            num_left_out += 1
        else:
            yield message
    if num_left_out:
        logger.warning(
            "Left out: %s of %s mails in %s (damaged, or too long to be read).",
            f"{num_left_out:,}", f"{num_mails:,}", file.path,
        )  # fmt: skip


def _mails(file: TextFile) -> Iterator[bytes]:
    """Yields the mails of a mailbox, of a long one a part: one begins at a separator after an empty line."""
    mail, begins, is_after_empty = bytearray(), True, True
    with io.BufferedReader(cast(io.RawIOBase, file.open()), _PIECE) as opened:
        while piece := opened.readline(_PIECE):  # a line, or a part of one
            if begins and is_after_empty and _BEGIN.match(piece):
                if mail and not mail.isspace():
                    yield bytes(mail)
                mail.clear()
            elif len(mail) <= _LONGEST_MAIL:
                mail += piece[1:] if begins and _ESCAPED.match(piece) else piece
            is_after_empty = begins and not piece.strip()
            begins = piece.endswith(b"\n")
    if mail and not mail.isspace():
        yield bytes(mail)


def _read(mail: bytes, path: str) -> tuple[str, str]:
    """Returns the author of a mail, and what was written; one of `_DAMAGE` if that cannot be read."""
    if len(mail) > _LONGEST_MAIL:
        raise ValueError("a mail that is too long")
    message = cast(EmailMessage, email.message_from_bytes(mail, EmailMessage, policy=_POLICY))
    written = _written(message, path)
    if "\0" in written:
        raise ValueError("a byte of 0")
    return _author(message), written


def _author(message: EmailMessage) -> str:
    # As it is spelt: Python's parser of such headers raises for damaged ones (IndexError, AttributeError).
    raw = next((value for name, value in message.raw_items() if name.lower() == "from"), "")
    try:
        decoded = str(email.header.make_header(email.header.decode_header(raw)))
    except (ValueError, LookupError, email.errors.HeaderParseError):  # of an unknown encoding, or damaged
        decoded = raw
    name, address = email.utils.parseaddr(decoded)
    return name or address


def _written(message: EmailMessage, path: str) -> str:
    body = message.get_body(("plain", "html"))
    content = None if body is None else body.get_payload(decode=True)
    if body is None or not isinstance(content, bytes):
        return ""
    charset, is_page = body.get_content_charset(), body.get_content_subtype() == "html"
    if is_page and charset is None:  # which the page may say
        return page_text(content, path, main_content=False, left_out=_is_quotation)
    text = _decoded(content, charset or "utf-8")
    if is_page:
        return page_text(text.encode(errors="replace"), path, "utf-8", main_content=False, left_out=_is_quotation)
    return "\n".join(_unquoted(_END.split(text.replace("\r\n", "\n"), maxsplit=1)[0].split("\n")))


def _is_quotation(element: Any) -> bool:
    return element.tag == "blockquote" or "gmail_quote" in element.class_list


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
        found = (_OF_HEADER.search(line, 0, _LONGEST_HEADER) for line in (lines[last], lines[last - 1]))
        is_wrapped = last > 0 and not next(found) and next(found)
        del lines[last - bool(is_wrapped) :]
