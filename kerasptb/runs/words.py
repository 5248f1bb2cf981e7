"""The words of a run's training text: written where they help to correct what is typed, and read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kerasptb.data.lexicon import Lexicon
from kerasptb.runs import files
from kerasptb.runs.damage import damage
from kerasptb.runs.files import WORDS
from kerasptb.runs.settings import NO_START
from kerasptb.utils.files import atomic_write, read_small

if TYPE_CHECKING:
    from kerasptb.runs.folder import RunFolder

_LARGEST = 1 << 26  # bytes of a file of words: a hundred times those of a large text
_TOKENS = 1 << 20  # of a text that are written out at once


def make_words(run: RunFolder, tokens: np.ndarray) -> None:
    """Writes the words of a text of tokens, int32 [N], into a run, with those of the run that it began with.

    What people have added to the file stays. A vocabulary of words is its own list.
    """
    if not run.vocabulary.spells:
        return
    pieces = (run.vocabulary.decode(tokens[first : first + _TOKENS]) for first in range(0, len(tokens), _TOKENS))
    others = *_words_of_start(run.settings.training.start_from), *_read(run.folder)
    words = dict.fromkeys([*Lexicon.of(pieces).words, *others])
    with atomic_write(run.folder / WORDS) as temporary:
        temporary.write_text("".join(f"{word}\n" for word in words), encoding="utf-8")


def load_words(run: RunFolder) -> Lexicon | None:
    """Returns the `Lexicon` of a run, a file of a word a line that people may add to; `None` if it has none."""
    if not run.vocabulary.spells:
        return Lexicon(run.vocabulary.tokens)
    words = _read(run.folder)
    return Lexicon(words) if words else None


def _words_of_start(name: str | None) -> list[str]:
    if name in (None, NO_START):
        return []
    return _read(files.IN_THE_PACKAGE if name == files.ENGLISH else Path(name))


def _read(folder: Path) -> list[str]:
    path = folder / WORDS
    with damage(path, "Remove it, or write it anew, a word a line, in UTF-8."):
        try:
            return read_small(path, _LARGEST).split()
        except OSError:
            return []
