"""What keys were hit where letters were meant: how likely each tap is for each letter.

A finger comes down around the centre of the key that it is for, as a Gaussian with one width in all directions (Azenkot
and Zhai, 2012, "Touch behavior with different postures on soft smartphone keyboards"); the width is that which leaves a
key as often as asked. What else goes wrong has a rate each: `Errors`. `kerasptb.keyboard.taps` sums over all that may
have happened.
"""

from __future__ import annotations

import abc
import dataclasses
import functools
import json
import math
import os
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kerasptb.data import DataError
from kerasptb.data.tokenizers.prefixes import fold_case
from kerasptb.keyboard.layout import Layout, load_layout
from kerasptb.keyboard.taps import Trie
from kerasptb.native import core
from kerasptb.utils.files import read_small

# Signs of words that many do not type.
_SILENT = "'’"
_CONFUSIONS = 'confusions such as {"confusions": [["e", "c", 0.01], ["rn", "m", 0.01]]}'
# The share of taps that may be anywhere, so that nothing is impossible.
_ANYWHERE = 1e-4


@dataclasses.dataclass(frozen=True)
class Errors:
    """How often a person errs; each a probability.

    The values were fitted, with `tapped.MARGIN`, on texts of four kinds that no figure in the documentation is of.

    Attributes:
        wrong: that a tap leaves its key.
        omitted: that a letter is left out.
        undoubled: that the second of two equal letters is.
        doubled: that a letter comes twice.
        stray: that a further tap comes, on any key.
        exchanged: that a letter and the one before it come in each other's place.
        unspaced: that the space between two words is left out.
        spaced: that a space comes within a word.
        silent: that an apostrophe is not typed.
        plain: that a letter with an accent is typed as without.
        unshifted: that a capital is typed as a small letter.
        shifted: that a small letter is typed as a capital.
        unknown: by how much a word is likelier that the training text has than one that it lacks, as its inverse.

    Raises:
        DataError: if one is no probability, or none is left for a letter that is tapped in its place.
    """

    wrong: float = 0.06
    omitted: float = 0.004
    undoubled: float = 0.01
    doubled: float = 0.002
    stray: float = 0.002
    exchanged: float = 0.003
    unspaced: float = 0.003
    spaced: float = 0.002
    silent: float = 0.01
    plain: float = 0.5
    unshifted: float = 0.01
    shifted: float = 1e-6
    unknown: float = 0.12

    def __post_init__(self) -> None:
        for name, rate in dataclasses.asdict(self).items():
            if not 0 <= rate <= 1:
                raise DataError(f"Expected a probability, between 0 and 1, of {name}. Received: {rate}")
        if self.hit <= 0:
            rates = f"{self.omitted} and {self.exchanged}"
            raise DataError(f"Expected letters left out and exchanged of which the sum is below 1. Received: {rates}")

    @property
    def hit(self) -> float:
        """That a letter has a tap of its own, in its place."""
        return 1 - self.omitted - self.exchanged


# What stands in texts that people typed, counted for each letter in 1,551 wrong words of 77,717 by people with an id
# below 4000 of Dhakal et al., 2018, "Observations on Typing from 136 Million Keystrokes". Of vowels and doubled letters
# there is more, for those who choose their words themselves; of missing spaces less than 0.001, since new words are
# often two that are known. `unknown` was chosen there.
_LEFT_STANDING = Errors(
    wrong=0.0009,
    omitted=0.0013,
    undoubled=0.01,
    doubled=0.001,
    stray=0.0012,
    exchanged=0.0007,
    unspaced=0.0002,
    spaced=0.0005,
    unknown=0.001,
)
# Of a letter, as another vowel if it is one, and as any other; and the share of wrong keys whose width slips have.
_VOWELS, _VOWEL, _ANY_LETTER, _WIDE = "aeiouy", 0.0004, 0.000012, 0.06
# By how much a word that is unknown is likelier with a capital, as a name has: the inverse of its `unknown` at most.
_NAME = 150.0


@dataclasses.dataclass(frozen=True, eq=False)
class Taps:
    """What was typed of a word, n taps.

    Attributes:
        text: n characters, those on the keys that were hit.
        points: float64 [n, 2], where they were hit, as a `Layout` has its keys; `None` if that is not known.
    """

    text: str
    points: np.ndarray | None = None

    @classmethod
    def at(cls, text: str, points: Sequence[Sequence[float]] | None) -> Taps:
        """Returns the taps of a text at points, n pairs of x and y, or at unknown ones.

        Raises:
            DataError: if they are no pairs of numbers, or not as many as there are characters.
        """
        try:
            places = None if points is None else np.array(points, "float64")
        except (TypeError, ValueError) as error:
            raise DataError(f"Expected a point x, y for each of {len(text)} taps. Received: {error}") from None
        return cls(text, places)

    def __post_init__(self) -> None:
        if self.points is not None:
            if self.points.shape != (len(self.text), 2):
                raise DataError(
                    f"Expected a point x, y for each of {len(self.text)} taps. Received: shape {self.points.shape}"
                )
            if not np.isfinite(self.points).all():
                raise DataError("Expected points of two finite numbers, x and y in widths of a key")


class Channel(abc.ABC):
    """What makes taps of letters.

    Args:
        errors: the `Errors`.
    """

    def __init__(self, errors: Errors) -> None:
        self.errors = errors
        self._tables: Any = weakref.WeakKeyDictionary()

    def hits(self, trie: Trie, taps: Taps, whole: bool) -> Any:
        """Returns what taps say of the letters of a `Trie`, as an `lm_hits`.

        Args:
            trie: the `Trie`.
            taps: the `Taps`.
            whole: whether they are all of a word.
        """
        if trie not in self._tables:
            self._tables[trie] = self.table_of(list(trie.symbols))
        errors, n = self.errors, len(taps.text)
        table = self._tables[trie]
        likelihoods, strays = np.zeros((n, len(trie.symbols))), np.zeros(n)
        for i, character in enumerate(taps.text):
            point = None if taps.points is None else taps.points[i]
            if character == " ":
                likelihoods[i, -1], strays[i] = 1.0, errors.spaced
            else:
                likelihoods[i], anywhere = self._likelihoods(table, character, point)
                strays[i] = errors.stray * anywhere
        omitted = np.full(len(trie.symbols), errors.omitted)
        omitted[[trie.symbols[sign] for sign in _SILENT if sign in trie.symbols]] = errors.silent
        omitted[-1] = errors.unspaced
        return core.hits_of(
            np.ascontiguousarray(likelihoods.T),
            omitted,
            strays,
            hit=errors.hit,
            doubled=errors.doubled,
            undoubled=errors.undoubled,
            exchanged=errors.exchanged,
            unknown=self.unknown(taps.text),
            is_whole=whole,
        )

    def unknown(self, text: str) -> float:
        """Returns how likely a text is for one that the training text lacks, in shares of one that it has."""
        return self.errors.unknown

    def rewritings(self, text: str) -> Iterator[tuple[str, float]]:
        """Yields texts that may have become another otherwise than letter by letter, each with how often that is."""
        return iter(())

    @abc.abstractmethod
    def table_of(self, symbols: list[str]) -> Any:
        """Returns what `_likelihoods` needs to know of S symbols, the last of which is the space."""

    @abc.abstractmethod
    def _likelihoods(self, table: Any, character: str, point: np.ndarray | None) -> tuple[np.ndarray, float]:
        """Returns P(tap | symbol), float64 [S], and P(tap | no letter), relative to the likeliest."""


class Keyboard(Channel):
    """Keys that are hit by fingers.

    Args:
        layout: a `Layout`, or what `load_layout` takes.
        errors: the `Errors`.

    Attributes:
        layout: the `Layout`.
        width: the standard deviation of taps, in widths of a key.
    """

    def __init__(self, layout: Layout | str | os.PathLike[str] = "qwerty", errors: Errors | None = None) -> None:
        super().__init__(Errors() if errors is None else errors)
        self.layout = layout if isinstance(layout, Layout) else load_layout(os.fspath(layout))
        self.width = width_of(self.errors.wrong, self.layout.height)

    @functools.cached_property
    def of_keys(self) -> np.ndarray:
        """P(key is hit | key is meant), float64 [K, K], the key that is meant first, if any is hit."""
        centres, half = self.layout.centres, np.array([0.5, self.layout.height / 2])
        away = centres[np.newaxis] - centres[:, np.newaxis]
        shares = (_normal((away + half) / self.width) - _normal((away - half) / self.width)).prod(axis=2)
        shares /= shares.sum(axis=1, keepdims=True)
        return (1 - _ANYWHERE) * shares + _ANYWHERE / len(centres)

    def table_of(self, symbols: list[str]) -> Any:
        """Returns of S symbols their keys, capitals, shares that are typed with their accent, and small letters."""
        keys = np.array([self.layout.key_of(symbol) for symbol in symbols])
        upper = np.array([symbol != symbol.lower() for symbol in symbols])
        # A letter that has no key of its own is typed as another; with one it may be too.
        own = [symbol.lower() == self.layout.keys[key] for symbol, key in zip(symbols, keys, strict=True)]
        plain = np.where(np.array(own) | (keys < 0), 1.0, self.errors.plain)
        return keys, upper, plain, np.array([fold_case(symbol) for symbol in symbols])

    def _likelihoods(self, table: Any, character: str, point: np.ndarray | None) -> tuple[np.ndarray, float]:
        keys, upper, plain, folded = table
        hit, same = self.layout.keys.find(character.lower()), folded == fold_case(character)
        if hit < 0 or not (character.isascii() or same.any()):  # a key of another page, or a letter of another language
            values, own = same.astype(float), 1.0
            anywhere = _ANYWHERE if values.any() else 0.0  # what the model lacks is meant
        else:
            of_key, anywhere = self._of_key(hit, point)
            values, own = np.where(keys >= 0, of_key[keys], 0.0) * plain, of_key[hit]
        wanted = character != character.lower()
        values = values * np.where(upper == wanted, 1.0, self.errors.shifted if wanted else self.errors.unshifted)
        most = max(values.max(initial=0.0), own, anywhere)  # the model may lack what is typed
        return values / most, anywhere / most

    def _of_key(self, hit: int, point: np.ndarray | None) -> tuple[np.ndarray, float]:
        """P(tap | key is meant), float64 [K], or a density, and that of a tap of no letter."""
        num_keys = len(self.layout.keys)
        if point is None:
            return self.of_keys[:, hit], 1 / num_keys
        squares = ((point - self.layout.centres) ** 2).sum(axis=1)
        density = np.exp(-squares / (2 * self.width**2)) / (2 * math.pi * self.width**2)
        anywhere = 1 / (num_keys * self.layout.height)
        return (1 - _ANYWHERE) * density + _ANYWHERE * anywhere, anywhere


class Writing(Keyboard):
    """What people leave standing: keys that were hit by others, and letters that were meant wrongly.

    Who types sees most slips of the fingers, and mends them; what stays is rarer, and as often of the head.

    Args:
        layout: as of a `Keyboard`.
        errors: the `Errors`; of those that leave a key, neighbours have as much as a `Keyboard`'s width gives them.
    """

    def __init__(self, layout: Layout | str | os.PathLike[str] = "qwerty", errors: Errors | None = None) -> None:
        super().__init__(layout, _LEFT_STANDING if errors is None else errors)
        self.width = width_of(_WIDE, self.layout.height)

    @functools.cached_property
    def of_keys(self) -> np.ndarray:
        """P(key stands there | key is meant), float64 [K, K]: a neighbour, a vowel for a vowel, or any."""
        slips = np.array(super().of_keys)
        np.fill_diagonal(slips, 0.0)
        vowels = np.array([letter in _VOWELS for letter in self.layout.keys])
        shares = self.errors.wrong * slips / max(slips.sum(axis=1).max(), 1e-9)
        shares += _VOWEL * np.outer(vowels, vowels) + _ANY_LETTER
        np.fill_diagonal(shares, 0.0)
        np.fill_diagonal(shares, 1.0 - shares.sum(axis=1))
        return shares

    def unknown(self, text: str) -> float:
        """Returns it for a word: more for one that may be a name, or is written in capitals as an abbreviation."""
        if len(text) > 1 and text.isupper():
            return 1.0
        return min(self.errors.unknown * _NAME, 1.0) if text[:1].isupper() else self.errors.unknown


class Confusions(Channel):
    """Characters that are taken for others, as by a program that reads printed text.

    Args:
        shares: mapping from what is meant, and what it is taken for, to how often that happens, in (0, 1): one
            character each, or a few.
        errors: the `Errors`, of which `wrong` and those of capitals and accents have no part.
    """

    def __init__(self, shares: Mapping[tuple[str, str], float], errors: Errors | None = None) -> None:
        super().__init__(Errors() if errors is None else errors)
        self.shares = shares

    def rewritings(self, text: str) -> Iterator[tuple[str, float]]:
        """Yields what may have been meant where several characters were taken for others, and how often that is."""
        for (meant, seen), share in self.shares.items():
            if len(meant + seen) > 2 and seen in text:
                *parts, last = text.split(seen)
                for i in range(len(parts)):
                    yield seen.join(parts[: i + 1]) + meant + seen.join([*parts[i + 1 :], last]), share
                if len(parts) > 1:
                    yield text.replace(seen, meant), share ** len(parts)

    def table_of(self, symbols: list[str]) -> Any:
        """Returns what each character is taken for, as a mapping, and what is of any other."""
        places = {symbol: place for place, symbol in enumerate(symbols)}
        seen = {character for _, character in self.shares if len(character) == 1} | set(symbols)
        values = {character: np.full(len(symbols), _ANYWHERE / len(symbols)) for character in seen}
        for (meant, character), share in self.shares.items():
            if meant in places and character in values:
                values[character][places[meant]] = share
        for character, place in places.items():
            values[character][place] = 1.0
        return values, np.full(len(symbols), _ANYWHERE / len(symbols))

    def _likelihoods(self, table: Any, character: str, point: np.ndarray | None) -> tuple[np.ndarray, float]:
        values, unknown = table
        return values.get(character, unknown), 1 / len(unknown)


def width_of(wrong: float, height: float) -> float:
    """Returns the standard deviation of taps, in widths of a key, of which a share leaves a key of 1 by `height`."""
    if not 0 <= wrong < 1:
        raise DataError(f"Expected a share of wrong keys in [0, 1). Received: {wrong}")
    low, high = 0.02, 10.0
    for _ in range(60):
        middle = math.sqrt(low * high)
        inside = math.erf(0.5 / middle / math.sqrt(2)) * math.erf(height / 2 / middle / math.sqrt(2))
        low, high = (middle, high) if inside > 1 - wrong else (low, middle)
    return low


def open_channel(channel: Channel | str | os.PathLike[str], of_keys: type[Keyboard] = Keyboard) -> Channel:
    """Returns a `Channel`: one that is given, `of_keys` of a layout, or `Confusions`, "ocr" or a file of them.

    A file of confusions is JSON, `{"confusions": [["e", "c", 0.01], ...]}`: what is printed, what is read, how often.

    Raises:
        DataError: if it is none of these.
    """
    if isinstance(channel, Channel):
        return channel
    path = Path(__file__).parent / "layouts" / "ocr.json" if channel == "ocr" else Path(channel)
    try:
        table = json.loads(read_small(path)) if path.suffix == ".json" else {}
    except (OSError, RecursionError, ValueError):
        return of_keys(channel)  # which says what is wrong
    if not isinstance(table, dict) or "confusions" not in table:
        return of_keys(channel)
    refused = DataError(f"Expected {_CONFUSIONS} in {path}, of characters, with probabilities between 0 and 1")
    try:
        shares = {(str(meant), str(seen)): float(share) for meant, seen, share in table["confusions"]}
        errors = Errors(**{name: float(value) for name, value in table.get("errors", {}).items()})
    except (AttributeError, TypeError, ValueError):
        raise refused from None
    if not all(0 < share < 1 for share in shares.values()) or not all(map(all, shares)):
        raise refused
    return Confusions(shares, errors)


def _normal(z: np.ndarray) -> np.ndarray:
    """The distribution function of the standard normal distribution, float64 of any shape."""
    return 0.5 * (1 + np.vectorize(math.erf, otypes=[float])(z / math.sqrt(2)))
