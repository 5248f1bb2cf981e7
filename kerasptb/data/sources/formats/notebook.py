"""Notebooks of Jupyter: their cells of Markdown, no code and no results."""

import json
from collections.abc import Iterator

from kerasptb.data.errors import UnreadError
from kerasptb.data.sources.formats.markdown import without_addresses
from kerasptb.data.sources.source import Source
from kerasptb.data.sources.text_file import TextFile


def recognises(file: TextFile) -> bool:
    """Returns whether a file's name is that of a notebook."""
    return file.suffix == ".ipynb"


def texts(file: TextFile, source: Source) -> Iterator[str]:
    """Yields the cells of Markdown."""
    try:
        notebook = json.loads(b"".join(file.chunks()))
        sheets = notebook.get("worksheets", [notebook])  # of notebooks before 2015
        cells = [cell for sheet in sheets for cell in sheet["cells"] if cell["cell_type"] == "markdown"]
        written = ["".join(cell["source"]) for cell in cells]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise UnreadError(file.path, "a damaged notebook") from None
    for text in written:
        yield from without_addresses(text.splitlines(keepends=True))
        yield "\n\n"
