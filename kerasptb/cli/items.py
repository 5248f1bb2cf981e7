"""A table with a word in each row, as those of reading times are, and its rows with what a model says of the words."""

import csv
import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

from kerasptb.cli.lines import read_text
from kerasptb.data import DataError
from kerasptb.evaluation import SentenceScore

_SUMS = ("log10_probability", "surprisal", "word_surprisal", "network_surprisal", "counts_surprisal")
FIGURES = ("log10_probability", "surprisal", "word_surprisal", "entropy", "counts", *_SUMS[3:])


@dataclasses.dataclass(frozen=True)
class Items:
    """Rows of words.

    Attributes:
        columns: what they have.
        texts: the rows of each text.
    """

    columns: list[str]
    texts: list[list[dict[str, str]]]

    def sentences(self) -> Iterator[str]:
        """Yields the texts, with a space between words."""
        for rows in self.texts:
            yield " ".join(row["word"] for row in rows)

    def with_figures(self, number: int, scored: SentenceScore) -> Iterator[dict[str, Any]]:
        """Yields the rows of a text, counted from 1, with what a model says of their words."""
        words = iter(scored.by_word())
        rows = self.texts[number - 1]
        if len(scored.words) - 1 != sum(len(row["word"].split()) for row in rows):
            raise DataError(f"Expected words as the model parts them. Received: {' '.join(scored.words)[:60]!r}")
        for row in rows:
            of_row = list(itertools.islice(words, len(row["word"].split())))
            sums = {name: None if of_row[0][name] is None else sum(each[name] for each in of_row) for name in _SUMS}
            yield row | {name: {**of_row[0], **sums}[name] for name in FIGURES}


def read_items(name: str | None, column: str) -> Items:
    """Returns the rows of a table; those that follow each other with one value in a column are a text.

    Args:
        name: its file, with commas or tabs; `None` or "-" for standard input.
        column: the name of that column; words are in `word`.

    Raises:
        DataError: it has no such columns, those of the figures, or a row without a word.
    """
    lines = read_text(name).removeprefix("\ufeff").splitlines(keepends=True)
    with_tabs = bool(lines) and "\t" in lines[0]  # where quotes are words
    table = csv.DictReader(
        lines, delimiter="\t" if with_tabs else ",", quoting=csv.QUOTE_NONE if with_tabs else csv.QUOTE_MINIMAL
    )
    columns = list(table.fieldnames or [])
    if not {"word", column} <= {*columns} or not {*FIGURES}.isdisjoint(columns):
        raise DataError(f"Expected the columns word and {column}, and none of the figures. Received: {columns}")
    try:
        rows = list(table)
    except csv.Error as error:
        raise DataError(f"Expected a table. Received: line {table.line_num + 1}: {error}") from None
    for i, row in enumerate(rows, start=1):
        if None in row or None in row.values() or not row["word"].split():
            raise DataError(f"Expected a word and {len(columns)} columns. Received: row {i} of the table")
    return Items(columns, [list(of_text) for _, of_text in itertools.groupby(rows, key=lambda row: row[column])])
