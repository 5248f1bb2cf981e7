"""The kinds of files that have a text in them, a file each; the first that recognises a file reads it."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from kerasptb.data.errors import DataError, UnreadError
from kerasptb.data.sources.formats import (
    chat,
    epub,
    html,
    markdown,
    mbox,
    notebook,
    office,
    pdf,
    plain,
    rtf,
    subtitles,
    table,
    telegram,
)
from kerasptb.data.sources.formats.kinds import kind_of
from kerasptb.data.sources.source import Source
from kerasptb.data.sources.text_file import TextFile


class Format(Protocol):
    """A kind of files: a module of this package."""

    def recognises(self, file: TextFile) -> bool:
        """Returns whether a file is of this kind."""

    def texts(self, file: TextFile, source: Source) -> Iterator[str]:
        """Yields what is to be read of a file, in pieces; an empty line parts its paragraphs."""


FORMATS: tuple[Format, ...] = (
    epub, office, pdf, rtf, notebook, subtitles, mbox, telegram, table, html, chat, markdown, plain
)  # fmt: skip


def has_messages(file: TextFile) -> bool:
    """Returns whether a file is somebody's chat or mail, whose name may say whose."""
    return any(format.recognises(file) for format in (mbox, telegram, chat))


def check_column(files: Sequence[TextFile], source: Source) -> None:
    """Raises a `DataError` for a column, which is of tables, if there is none."""
    if source.column is not None and not any(map(table.recognises, files)):
        raise DataError(f"--column is of a table or of records. Received: {files[0].path}, which is none.")


def format_of(file: TextFile, source: Source) -> Format:
    """Returns what reads a file; raises an `UnreadError` if nothing does."""
    for format in FORMATS:
        if format.recognises(file):
            if format in (markdown, plain) and source.author is not None:
                raise UnreadError(file.path, "no chat and no mail that is known how to read, as --author asks")
            return format
    kind = kind_of(file.head())
    if kind is None and source.encoding is not None and plain.is_text(file.head(), source.encoding):
        return plain  # in one like UTF-16, without a mark
    raise UnreadError(file.path, f"no text, {kind or 'or none that is known how to read'}")
