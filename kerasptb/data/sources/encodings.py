"""The encoding of a file: UTF-8, or what its mark says, or what it looks like."""

import codecs
import logging

from kerasptb.data.errors import DataError
from kerasptb.data.sources.text_file import TextFile
from kerasptb.utils.extras import install_command

logger = logging.getLogger(__name__)

_ENCODINGS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # begins as UTF-16's
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
MARKS = tuple(_ENCODINGS)
# What users mean by a name that stands for a part of it.
_WIDER = {"shift_jis": "cp932", "gb2312": "gb18030", "gbk": "gb18030"}
_SAMPLE = 1 << 16  # bytes that are judged
_MOSTLY = 5  # a text with so many times more characters of UTF-8 than others is a damaged one


def encoding_of(file: TextFile, named: str | None = None) -> str:
    """Returns the encoding of a text: what is named, or what a byte order mark says, else UTF-8, else what is found.

    What is found is said in the log. A text of which a few bytes are no UTF-8 is in UTF-8: reading it raises.
    """
    if found := named or marked_encoding(file.head(4)):
        return found
    if _is_utf8(file) or _is_damaged_utf8(sample := _sample(file)):
        return "utf-8"
    found = _found(sample, file.path)
    logger.warning("%s is read as %s, which was found; --encoding names another.", file.path, found)
    return found


def is_utf8(file: TextFile, named: str | None = None) -> bool:
    """Returns whether a text is, or is named, or marked to be, in UTF-8."""
    found = named or marked_encoding(file.head(4))
    return found.startswith("utf-8") if found else _is_utf8(file)


def marked_encoding(head: bytes) -> str | None:
    """Returns what the byte order mark says that a text begins with, if it has one."""
    return next((encoding for mark, encoding in _ENCODINGS.items() if head.startswith(mark)), None)


def _is_utf8(file: TextFile) -> bool:
    try:
        for _ in file.text():
            pass
    except DataError:
        return False
    return True


def _sample(file: TextFile) -> bytes:
    """Returns lines of a file that are not ASCII."""
    sample = b""
    for piece in file.chunks():
        sample += b"\n".join(line for line in piece.split(b"\n") if not line.isascii())
        if len(sample) > _SAMPLE:
            break
    return sample[:_SAMPLE]


def _is_damaged_utf8(sample: bytes) -> bool:
    letters = [letter for letter in sample.decode(errors="surrogateescape") if not letter.isascii()]
    wrong = sum("\udc80" <= letter <= "\udcff" for letter in letters)
    return len(letters) - wrong > _MOSTLY * wrong


def _found(sample: bytes, path: str) -> str:
    try:
        from resiliparse.parse.encoding import detect_encoding  # noqa: PLC0415  (an extra)
    except ImportError:
        raise DataError(
            f"Expected a text in UTF-8. {path} is not: name its encoding with --encoding, such as cp1252, or let it be "
            f"found: {install_command('texts')}"
        ) from None
    found = detect_encoding(sample, html5_compatible=False)
    if found is None:
        raise DataError(f"Expected a text. {path} is in no known encoding; --encoding names one.")
    return _WIDER.get(found.lower(), found.lower())
