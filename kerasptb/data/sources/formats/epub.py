"""Books in EPUB: their chapters in the order of reading, without their tables of contents."""

import contextlib
import posixpath
import zipfile
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urldefrag
from xml.etree import ElementTree

from kerasptb.data.errors import DataError
from kerasptb.data.sources.archives import EPUB_CONTAINER, Zip, archive_errors, open_zip
from kerasptb.data.sources.formats.html import page_text
from kerasptb.data.sources.source import Source
from kerasptb.data.sources.text_file import TextFile


def recognises(file: TextFile) -> bool:
    """Returns whether a file is a zip with an EPUB's list of what is in it."""
    if file.head(2) != b"PK":
        return False
    with contextlib.suppress(zipfile.BadZipFile), open_zip(file) as book:
        return EPUB_CONTAINER in book.namelist()
    return False


def texts(file: TextFile, source: Source) -> Iterator[str]:
    """Yields the chapters of a book."""
    with archive_errors(file.path), open_zip(file) as book:
        try:
            chapters = _chapters(book)
        except (KeyError, AttributeError, TypeError, ElementTree.ParseError) as error:
            raise DataError(f"Expected an EPUB. {file.path} is damaged: {error}") from None
        for name in chapters:
            yield page_text(book.content(name), f"{file.path}/{name}", source.encoding, main_content=False) + "\n\n"


def _chapters(book: Zip) -> list[str]:
    """Returns the names of the pages of a book in the order of reading, each once."""
    place = _parsed(book, EPUB_CONTAINER).find(".//{*}rootfile").get("full-path")
    package = _parsed(book, place)
    pages = {
        item.get("id"): unquote(urldefrag(item.get("href", "")).url)
        for item in package.iterfind(".//{*}manifest/{*}item")
        if "html" in item.get("media-type", "") and "nav" not in (item.get("properties") or "").split()
    }
    order = [item.get("idref") for item in package.iterfind(".//{*}spine/{*}itemref")]
    folder, members = posixpath.dirname(place), set(book.namelist())
    names = [posixpath.normpath(posixpath.join(folder, pages[each])) for each in order if each in pages]
    return [name for name in dict.fromkeys(names) if name in members]


def _parsed(book: Zip, name: str) -> Any:
    return ElementTree.fromstring(book.content(name))
