"""The words of a run's training text: written where they help to correct what is typed, and read."""

from kerasptb.data.lexicon import Lexicon
from kerasptb.runs.files import WORDS
from kerasptb.utils.files import atomic_write

_TOKENS = 1 << 20  # of a text that are written out at once


def make_words(run, tokens):
    """Writes the words of a text of tokens, int32 [N], into a run; a vocabulary of words is its own list."""
    if not run.vocabulary.spells:
        return
    pieces = (run.vocabulary.decode(tokens[first : first + _TOKENS]) for first in range(0, len(tokens), _TOKENS))
    with atomic_write(run.folder / WORDS) as temporary:
        temporary.write_text("".join(f"{word}\n" for word in Lexicon.of(pieces).words), encoding="utf-8")


def remove_words(run):
    """Removes the words of a run, if it has some."""
    (run.folder / WORDS).unlink(missing_ok=True)


def load_words(run):
    """Returns the `Lexicon` of a run, a file of a word a line that people may add to; `None` if it has none."""
    if not run.vocabulary.spells:
        return Lexicon(run.vocabulary.tokens)
    try:
        return Lexicon((run.folder / WORDS).read_text(encoding="utf-8", errors="replace").split())
    except OSError:
        return None
