"""Documents of word processors, DOCX and ODT: paragraphs and notes, without headers, comments and what is deleted.

Both are zips with XML in them, of which a text is a small part. The libraries for it, python-docx and odfpy, hold all
of a document in memory; the first needs lxml, the second has had no release since 2020.
"""

import contextlib
import dataclasses
import re
import zipfile
from collections.abc import Iterator
from typing import NoReturn
from xml.etree import ElementTree

from kerasptb.data.errors import DataError, UnreadError
from kerasptb.data.sources.archives import OFFICE_MEMBERS, Zip, archive_errors, open_zip
from kerasptb.data.sources.source import Source
from kerasptb.data.sources.text_file import TextFile

_LONGEST = 1 << 22  # characters of a paragraph
_LINE_END = "\u2028"  # one that is meant, as in verse
_DOCX = re.compile(r"word/(?:document\d*|endnotes|footnotes)\.xml")  # in this order
_ODT = b"application/vnd.oasis.opendocument.text"


@dataclasses.dataclass(frozen=True)
class _Names:
    """What the elements of a kind of documents are, by their names."""

    paragraphs: frozenset[str]
    left_out: frozenset[str]
    signs: dict[str, str]  # what stands for a sign
    texts: frozenset[str] | None  # what text stands in; None for all that is in a paragraph


_OF_DOCX = _Names(
    frozenset(["p"]),
    frozenset(["pPr", "del", "moveFrom", "Fallback"]),  # a fallback says what stands beside it again
    {"tab": " ", "br": _LINE_END, "cr": _LINE_END, "noBreakHyphen": "\u2011"},
    frozenset(["t"]),
)
_OF_ODT = _Names(
    frozenset(["p", "h"]),
    frozenset(["annotation", "tracked-changes", "note-citation", "table-of-content", "ruby-text", "title", "desc"]),
    {"s": " ", "tab": " ", "line-break": _LINE_END},
    None,
)


def recognises(file: TextFile) -> bool:
    """Returns whether a file is a zip with what programs of an office put into each of theirs."""
    if file.head(2) != b"PK":
        return False
    with contextlib.suppress(zipfile.BadZipFile), open_zip(file) as document:
        return bool(OFFICE_MEMBERS.intersection(document.namelist()))
    return False


def texts(file: TextFile, source: Source) -> Iterator[str]:
    """Yields the paragraphs of a document."""
    with archive_errors(file.path), open_zip(file) as document:
        names, kind = sorted(filter(_DOCX.fullmatch, document.namelist())), _OF_DOCX
        if not names and _mimetype(document).startswith(_ODT):
            names, kind = ["content.xml"], _OF_ODT
        if not names:
            raise UnreadError(file.path, "a document of an office program: save it as a text, or HTML")
        try:
            for name in names:
                yield from _parsed(document.pieces(name), kind, file.path)
        except (KeyError, ElementTree.ParseError) as error:
            raise UnreadError(file.path, f"a damaged document ({error})") from None


def _parsed(pieces: Iterator[bytes], kind: _Names, path: str) -> Iterator[str]:
    target = _Paragraphs(kind)
    parser = ElementTree.XMLParser(target=target)
    for piece in pieces:
        parser.feed(piece)
        yield from target.take()
        if target.held > _LONGEST:
            raise DataError(f"Expected paragraphs. {path} has one of more than {_LONGEST:,} characters.")
    parser.close()
    yield from target.take()


def _mimetype(document: Zip) -> bytes:
    return document.content("mimetype")[: len(_ODT)] if "mimetype" in document.namelist() else b""


class _Paragraphs:
    """What a parser of XML tells of a document; it holds the paragraphs that are open, and no tree."""

    def __init__(self, names: _Names) -> None:
        self.held = 0  # characters of paragraphs that have not ended
        self._names = names
        self._open: list[list[str]] = []  # a note, or a box with text, lies in another paragraph
        self._ended: list[str] = []
        self._left_out = self._in_text = 0  # how many such elements are open
        self._is_contents = False  # whether what comes next is a table of contents, in DOCX

    def take(self) -> Iterator[str]:
        """Yields the paragraphs that have ended."""
        ended, self._ended = self._ended, []
        for paragraph in ended:
            if text := re.sub(r"[ \t\r\n]+", " ", paragraph).strip():
                yield "\n\n".join(text.split(_LINE_END)) + "\n\n"

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        name = tag.rpartition("}")[2]
        if self._left_out or name in self._names.left_out or (self._is_contents and name == "sdtContent"):
            self._left_out += 1
            self._is_contents = False
        elif name == "docPartGallery":
            self._is_contents = "Table of Contents" in attributes.values()
        elif name in self._names.paragraphs:
            self._open.append([])
        elif self._names.texts and name in self._names.texts:
            self._in_text += 1
        elif sign := self._names.signs.get(name):
            self._add(sign)

    def end(self, tag: str) -> None:
        name = tag.rpartition("}")[2]
        if self._left_out:
            self._left_out -= 1
        elif name in self._names.paragraphs:
            self._ended.append("".join(self._open.pop()))
            self.held -= len(self._ended[-1])
        elif self._names.texts and name in self._names.texts:
            self._in_text -= 1

    def data(self, text: str) -> None:
        if not self._left_out and (self._in_text or self._names.texts is None):
            self._add(text)

    def doctype(self, *_: str | None) -> NoReturn:
        """Refuses what may name entities, which no such document has, and which can be made to fill the memory."""
        raise ElementTree.ParseError("it declares a DOCTYPE")

    def close(self) -> None:
        """Is asked for by the parser."""

    def _add(self, text: str) -> None:
        if self._open:
            self._open[-1].append(text)
            self.held += len(text)
