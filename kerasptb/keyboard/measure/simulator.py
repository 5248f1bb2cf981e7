"""Errors of people who type, at the rates that are asked for.

Taps come around the centre of each letter's key, from a Gaussian whose width makes the share of taps on other keys the
one that is asked for. What else goes wrong happens in shares of that rate: a letter is left out or exchanged with the
next (1 / 20 of the rate each), comes twice, or a further tap comes on any key (1 / 40 each); of words, the space after
one is left out (1 / 20). Signs, digits and capitals are typed right.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kerasptb.data import DataError
from kerasptb.keyboard import Layout
from kerasptb.keyboard.channel import Taps

_Tap = tuple[str, np.ndarray]  # the character that is hit, and the point

# Shares of the rate: of letters, those left out, exchanged with the next, that come twice, that a tap comes after.
_SLIPS = np.array([1 / 20, 1 / 20, 1 / 40, 1 / 40])
# Of words, those whose space is left out.
_UNSPACED = 1 / 20


class Simulator:
    """Types words with errors.

    Args:
        layout: a `Layout`.
        rate: the share of taps on letters that hit another key, in [0, 0.5].
        seed: of the generator.

    Attributes:
        num_taps: taps on letters so far, before a letter is left out or comes twice.
        num_wrong: those that hit another key.

    Raises:
        DataError: for a rate out of range.
    """

    def __init__(self, layout: Layout, rate: float, seed: int = 1) -> None:
        if not 0 <= rate <= 0.5:
            raise DataError(f"Expected a share of wrong keys in [0, 0.5]. Received: {rate}")
        self.layout, self.rate, self._random = layout, rate, np.random.default_rng(seed)
        self.num_taps = self.num_wrong = 0

    def type(self, words: Sequence[str]) -> list[tuple[int, Taps]]:
        """Returns what is typed for words, `Taps`, each with the number of words, one or two without their space."""
        taps, typed, place = self._taps("".join(words)), list[tuple[int, Taps]](), 0
        joined: list[list[tuple[str, np.ndarray]]] = []
        for i, word in enumerate(words):
            joined.append(self._with_slips(taps[place : place + len(word)]))
            place += len(word)
            if i + 1 < len(words) and len(joined) == 1 and self._random.random() < self.rate * _UNSPACED:
                continue
            characters, points = zip(*(tap for each in joined for tap in each), strict=True)
            typed.append((len(joined), Taps("".join(characters), np.array(points))))
            joined = []
        return typed

    def _taps(self, letters: str) -> list[_Tap]:
        """Returns a pair of the character that is hit and the point, for each letter."""
        keys = np.array([self.layout.key_of(letter) for letter in letters], int)
        # A sign or a digit, and a letter that has another's key, lies on no key of the layout: it is typed right.
        aims = np.where(keys[:, np.newaxis] >= 0, self.layout.centres[keys], 0.0)
        away = self._random.normal(size=(len(letters), 2))
        points = aims + away * self._width(keys, aims, away)
        hit = np.where(keys >= 0, self.layout.nearest(points), -1)
        self.num_taps += int((keys >= 0).sum())
        self.num_wrong += int((hit != keys).sum())
        return list(zip(map(self._written, letters, hit), points, strict=True))

    def _width(self, keys: np.ndarray, aims: np.ndarray, away: np.ndarray) -> float:
        """Returns the width with which as many of these taps as asked hit another key."""
        low, high, known = 0.0, 3.0, keys >= 0
        for _ in range(30 if self.rate else 0):
            middle = (low + high) / 2
            wrong = self.layout.nearest(aims[known] + middle * away[known]) != keys[known]
            low, high = (low, middle) if wrong.sum() > self.rate * len(wrong) else (middle, high)
        return low

    def _written(self, letter: str, hit: int) -> str:
        """Returns the character on the key that is hit, a capital where one is meant."""
        if hit < 0:
            return letter
        key = self.layout.keys[hit]
        return key.upper() if letter != letter.lower() else key

    def _with_slips(self, taps: list[_Tap]) -> list[_Tap]:
        """Returns the taps of a word with letters left out, exchanged, doubled, and with further taps."""
        typed, skip = [], False
        for i, (tap, draws) in enumerate(zip(taps, self._random.random((len(taps), 4)), strict=True)):
            omitted, exchanged, doubled, stray = draws < self.rate * _SLIPS
            if skip:
                skip = False
            elif exchanged and i + 1 < len(taps):
                typed += [taps[i + 1], tap]
                skip = True
            else:
                typed += [tap] * (int(not omitted) + int(doubled))
                if stray:
                    key = int(self._random.integers(len(self.layout.keys)))
                    typed.append((self.layout.keys[key], self.layout.centres[key]))
        return typed or taps
