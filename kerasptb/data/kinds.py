"""The tokenizer in a folder, of whichever kind it is, and how lines of its text are read."""

import json
from pathlib import Path

from kerasptb.data.subwords import Subwords
from kerasptb.data.text_format import TextFormat
from kerasptb.data.tokenizer import Tokenizer
from kerasptb.data.vocabulary import Vocabulary
from kerasptb.utils.files import write_json

_LINES = "lines.json"


def load_tokenizer(folder: Path) -> Tokenizer:
    """Reads the tokenizer that `save` wrote under its `FILE` in a folder.

    Raises:
        DataError: the file is damaged.
        FileNotFoundError: there is none.
    """
    subwords = folder / Subwords.FILE
    return Subwords.load(subwords) if subwords.exists() else Vocabulary.load(folder / Vocabulary.FILE)


def save_format(format: TextFormat | None, folder: Path) -> list[Path]:
    """Writes a format with a tokenizer into a folder, and returns the files: what is usual needs none but that."""
    if format is None or format.tokenizer is None:
        return []
    format.tokenizer.save(folder / format.tokenizer.FILE)
    lines = {name: True for name in ("keep_lines", "of_words") if getattr(format, name)}
    if lines:
        write_json(folder / _LINES, lines)
    return [folder / name for name in (format.tokenizer.FILE, *([_LINES] if lines else []))]


def load_format(folder: Path) -> TextFormat:
    """Reads what `save_format` wrote; raises as `load_tokenizer`."""
    tokenizer, path = load_tokenizer(folder), folder / _LINES
    return TextFormat(tokenizer=tokenizer, **(json.loads(path.read_text()) if path.exists() else {}))
