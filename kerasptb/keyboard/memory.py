"""The words that a writer used last: they become more probable, those that the model does not know included.

A model's probabilities are mixed with those of the words in the memory, then with those of the words that came there
after the same last word, then after the same last two. With c words in such a context, d of them different, c(w) of
them w, and a number k:

    p'(w) = (c(w) + k d p(w)) / (c + k d)

So a word that may be followed by anything changes little, and one that was always followed by the same much. It is
method C of Witten and Bell (1991, "The zero-frequency problem", where k = 1), for the cache of Kuhn and De Mori (1990,
"A cache-based natural language model for speech recognition").

Words that the model cannot write share its probability of `<unk>` in the same way: with n of them in the memory, c(new)
times in all, the new word w gets c(w) / (c(new) + n) of it. `<unk>` keeps the rest, for words that are still to come.
"""

from __future__ import annotations

import bisect
import functools
from collections.abc import Iterable, Mapping

import numpy as np

from kerasptb.data import EOS, UNK
from kerasptb.data.tokenizers.prefixes import fold_case
from kerasptb.native import core

# The last words that are remembered, of so many characters.
WINDOW = 2000
MAX_CHARACTERS = 40
# k for all words in the memory, for those after the same word, for those after the same two: chosen on parts of *Emma*,
# of the *Debian Reference* and of PTB's validation text; half or twice as much changes little.
_WORTH = (20, 8, 8)
_AFTER_ANY = "\U0010ffff"


class Memory:
    """The words that a writer used last. It never changes; `extended` gives another.

    Args:
        words: the words in their order, `<eos>` for a line's end among them.

    Attributes:
        lexicon: list of N different words, those that are remembered among them.
    """

    def __init__(self, words: Iterable[str] = (EOS,)) -> None:
        self._lexicon = _Lexicon()
        self._used = np.array([self._lexicon.place(word) for word in list(words)[-WINDOW:]], int)

    @property
    def lexicon(self) -> list[str]:
        """The words by their places."""
        return self._lexicon.words

    @property
    def words(self) -> list[str]:
        """The words in their order."""
        return [self.lexicon[place] for place in self._used]

    def __contains__(self, word: object) -> bool:
        place = self._lexicon.places.get(word) if isinstance(word, str) else None
        return place is not None and place < len(self.counts) and bool(self.counts[place])

    def extended(self, words: Iterable[str]) -> Memory:
        """Returns the memory after more words.

        At the beginning of a line, where any word has a capital, one is written as it was remembered before, or small.
        """
        last, added = self.lexicon[self._used[-1]] if len(self._used) else EOS, list[str]()
        for word in words:
            last = UNK if len(word) > MAX_CHARACTERS else self._within_a_line(word, added) if last == EOS else word
            added.append(last)
        places = np.array([self._lexicon.place(word) for word in added], int)
        after = Memory(())
        after._lexicon, after._used = self._lexicon, np.concatenate([self._used, places])[-WINDOW:]
        return after if len(after.lexicon) <= 2 * WINDOW else Memory(after.words)

    def _within_a_line(self, word: str, added: list[str]) -> str:
        """Returns a line's first word as it was written before, or small if that changes no more than its capital."""
        small = word.lower()
        if len(small) != len(word) or small[1:] != word[1:]:  # "İ" has two characters in lower case
            return word
        is_known, is_small_known = (each in self or each in added for each in (word, small))
        return word if is_known and not is_small_known else small

    @functools.cached_property
    def counts(self) -> np.ndarray:
        """How often each word of the lexicon is remembered, int [N]."""
        return np.bincount(self._used, minlength=len(self.lexicon))

    @functools.cached_property
    def shares(self) -> tuple[float, np.ndarray]:
        """What makes the probabilities of the module's formula: p'(w) = shares[w] + of_model * p(w).

        Returns:
            of_model: what remains for the model's probabilities.
            shares: float64 [N], of the words of the lexicon.
        """
        of_model, shares, used = 1.0, np.zeros(len(self.counts)), self._used
        follows = np.ones(len(used), bool)
        for order, k in enumerate(_WORTH):
            if order:  # those after the same `order` words
                follows[:order] = False
                follows[order:] &= used[:-order] == used[-order] if len(used) >= order else False
            counts = np.bincount(used[follows], minlength=len(shares))
            total, different = counts.sum(), np.count_nonzero(counts)
            if not total:
                break
            left = k * different / (total + k * different)
            of_model, shares = of_model * left, shares * left + counts / (total + k * different)
        return of_model, shares

    @functools.cached_property
    def texts(self) -> core.Texts:
        """The words of the lexicon, for the core."""
        return core.Texts(self.lexicon[: len(self.counts)])

    @functools.cached_property
    def hashes(self) -> np.ndarray:
        """The `hashes` of the remembered words."""
        return core.Texts(self.lexicon[place] for place in np.flatnonzero(self.counts)).hashes

    def beginning(self, prefix: str, whole: bool = False) -> np.ndarray:
        """Returns the places of the remembered words that begin with a prefix, whatever the case, int [M].

        Args:
            prefix: a word's beginning.
            whole: whether it is all of the word.
        """
        if not prefix:
            return np.flatnonzero(self.counts)
        places = self._lexicon.beginning(fold_case(prefix), "" if whole else _AFTER_ANY)
        places = places[places < len(self.counts)]
        return places[self.counts[places] > 0]

    def places_of(self, words: Iterable[str]) -> list[int]:
        """Returns the places of those of some words that are in the lexicon."""
        return [self._lexicon.places[word] for word in words if word in self._lexicon.places]

    def ids(self, token_to_id: Mapping[str, int]) -> np.ndarray:
        """Returns the ids of the remembered words in the vocabulary that they are used with, -1 for others, int [N]."""
        return np.where(self.counts > 0, self._lexicon.ids(token_to_id)[: len(self.counts)], -1)


class _Lexicon:
    """Words by their places. It only grows, so memories of which one goes on from another share it."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.places: dict[str, int] = {}
        self._sorted: list[tuple[str, int]] = []
        self._ids: list[int] = []

    def place(self, word: str) -> int:
        """Returns the place of a word, a new one if it has none."""
        place = self.places.setdefault(word, len(self.words))
        if place == len(self.words):
            self.words.append(word)
            bisect.insort(self._sorted, (fold_case(word), place))
        return place

    def beginning(self, folded: str, last: str) -> np.ndarray:
        """Returns the places of the words between a beginning and that which goes on with `last`."""
        low = bisect.bisect_left(self._sorted, (folded,))
        high = bisect.bisect_right(self._sorted, (folded + last, len(self.words)), lo=low)
        return np.sort(np.array([place for _, place in self._sorted[low:high]], int))

    def ids(self, token_to_id: Mapping[str, int]) -> np.ndarray:
        self._ids += [token_to_id.get(word, -1) for word in self.words[len(self._ids) :]]
        return np.array(self._ids, int)
