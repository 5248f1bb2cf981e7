"""Tables and records: CSV, and JSON, an object a line or a list of objects; of each row the cell of one column."""

import collections
import csv
import itertools
import json
from collections.abc import Iterator
from typing import Any

from kerasptb.data.errors import DataError, UnreadError
from kerasptb.data.sources.formats import plain
from kerasptb.data.sources.source import Source
from kerasptb.data.sources.text_file import TextFile

_USUAL = "text"  # the column that is read if none is named
_DELIMITERS = ",;\t|"
_NO_DELIMITER = "\x1f"  # which no text has: a table of one column
_FIRST_LINES = 1000
_LONGEST_CELL = 1 << 24  # characters


def recognises(file: TextFile) -> bool:
    """Returns whether a file's name is that of a table or of records."""
    return file.suffix in (".csv", ".tsv", ".jsonl", ".ndjson", ".json")


def texts(file: TextFile, source: Source) -> Iterator[str]:
    """Yields the cells of the source's column that are not empty."""
    rows = _table(file, source) if file.suffix in (".csv", ".tsv") else _records(file, source)
    column = source.column or _USUAL
    first, has_column = None, False
    for row in rows:
        first, has_column = row if first is None else first, has_column or column in row
        if text := _cell(row.get(column)):
            yield f"{text}\n\n"
    if not has_column:
        names = ", ".join(map(str, first or ())) or "none"
        raise UnreadError(file.path, f"a table: --column names what to read of it, one of: {names}")


def _cell(value: object) -> str:
    """Returns a cell's text, without the sign that no text has; lists and objects have none."""
    return str(value).replace("\0", "").strip() if isinstance(value, str | int | float) else ""


def _table(file: TextFile, source: Source) -> Iterator[dict[str, Any]]:
    lines = plain.lines(file, source)
    head = next(filter(str.strip, lines), "")
    delimiter = "\t" if file.suffix == ".tsv" else max(_DELIMITERS, key=head.count)
    delimiter = delimiter if delimiter in head else _NO_DELIMITER
    first = [head, *itertools.islice(lines, _FIRST_LINES)]
    as_words = delimiter == "\t" and _are_quotes_words(first)
    rows = _long_cells(
        csv.reader(
            itertools.chain(first, lines),
            delimiter=delimiter,
            quoting=csv.QUOTE_NONE if as_words else csv.QUOTE_MINIMAL,
        )
    )
    column = source.column or _USUAL
    try:
        # The names first, and then of each row one cell: as many as there are columns may be missing in every row.
        yield dict.fromkeys(names := next(rows))
        if (place := {name: place for place, name in enumerate(names)}.get(column)) is not None:
            yield from ({column: row[place]} for row in rows if place < len(row))
    except csv.Error as error:
        raise DataError(f"Expected a table. {file.path} is damaged: {error}") from None


def _are_quotes_words(lines: list[str]) -> bool:
    """Whether quotation marks in the first lines of a table with tabs are of its texts, as not all close a cell."""
    try:
        collections.deque(_long_cells(csv.reader(lines, delimiter="\t", strict=True)), maxlen=0)
    except csv.Error as error:
        return len(lines) <= _FIRST_LINES or "end of data" not in str(error)  # a cell of several lines goes on
    return False


def _long_cells(rows: Iterator[list[str]]) -> Iterator[list[str]]:
    """Yields the rows whose cells may be texts; the limit is the process's, so that it stands back when others read."""
    row: list[str] | None = []
    while row is not None:
        before = csv.field_size_limit(_LONGEST_CELL)
        try:
            row = next(rows, None)
        finally:
            csv.field_size_limit(before)
        if row is not None:
            yield row


def _records(file: TextFile, source: Source) -> Iterator[dict[str, Any]]:
    is_list = file.head(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")
    parts = ["".join(plain.texts(file, source))] if is_list else plain.lines(file, source)
    try:
        for part in parts:
            records = json.loads(part) if part.strip() else []
            yield from (record for record in (records if is_list else [records]) if isinstance(record, dict))
    except (ValueError, RecursionError) as error:
        raise UnreadError(file.path, f"no JSON of an object a line, or of a list of objects ({error})") from None
