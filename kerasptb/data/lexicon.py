"""The words of a text: what is a word, for those who correct what was typed."""

import functools
import re
from collections import Counter
from collections.abc import Iterable

from kerasptb.data.tokenizers.prefixes import fold_case
from kerasptb.data.tokenizers.ptb_words import letters_for_marks

# Of a text, so many words that it has more than once, the most frequent; of the longest letters that keys look for.
_MOST, _LEAST, _LONGEST = 100_000, 2, 40
WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
# Words between which a single hyphen or space stands.
_WORDS = re.compile(rf"{WORD.pattern}(?:[- ]{WORD.pattern})*")


def _words_in(text: str) -> list[str]:
    return [text[slice(*match.span())] for match in WORD.finditer(letters_for_marks(text))]


class Lexicon:
    """Words that are known, whatever the case.

    Args:
        words: the words.
    """

    def __init__(self, words: Iterable[str]) -> None:
        self.words = tuple(words)

    @functools.cached_property
    def _folded(self) -> frozenset[str]:
        """The words as they are looked for: made when the first is, since most who open a model ask for none."""
        return frozenset(map(fold_case, self.words))

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Lexicon":
        """Returns the words that texts have more than once, the most frequent first."""
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(_words_in(text))
        frequent = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
        return cls([word for word, count in frequent if count >= _LEAST and len(word) <= _LONGEST][:_MOST])

    def __contains__(self, text: object) -> bool:
        """Whether a text has no letters, or is known words, a hyphen or space between them; `'s` may follow each."""
        if not isinstance(text, str):
            return False
        if fold_case(text) in self._folded:
            return True
        words = [fold_case(word) for word in _words_in(text)]
        is_whole = not words or _WORDS.fullmatch(letters_for_marks(text))
        return bool(is_whole) and all(word in self._folded or word.removesuffix("'s") in self._folded for word in words)
