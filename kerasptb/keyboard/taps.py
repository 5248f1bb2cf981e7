"""How likely it is that taps on keys come from letters, and the pieces of words that they may come from.

Whoever means the letters c_1 ... c_m hits the taps t_1 ... t_n: each letter once, or not at all, or in exchange with
the letter before it, and after each letter there may be further taps, on the same key or on any. Of a text, the row q
has the probability q[j] that its letters become the first j taps, r is the row of the text without its last letter b,
and that of the text and another letter c is

    p[j] = omitted(c) q[j] + hit P(t_j | c) q[j-1] + exchanged P(t_j-1 | c) P(t_j | b) r[j-2]
           + (doubled P(t_j | c) + stray(t_j)) p[j-1]

the forward algorithm of a pair hidden Markov model (Durbin et al., 1998, "Biological Sequence Analysis", chapter 4),
with the edits of Damerau (1964, "A technique for computer detection and correction of spelling errors"). If the taps
may be the beginning of a word only, letters after the last tap cost nothing.

P(t | c) is relative to the letter for which the tap is likeliest, so that no tap is worth more than one, and the sum of
a row bounds that of all texts that begin so. Pieces lie in a trie, which is walked as far as the bound allows.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from types import ModuleType

import numpy as np

from kerasptb.native import status, taps


@dataclasses.dataclass(frozen=True, eq=False)
class Hits:
    """What n taps say of S symbols; the names are those of the module's formula.

    Attributes:
        likelihoods: float64 [S, n], P(t | c), at most 1.
        strays: float64 [n], the probability that the tap is of no letter.
        omitted: float64 [S].
        hit: float, like `doubled` and `exchanged`.
        undoubled: instead of `omitted` where the letter before is the same.
        whole: whether they are all the taps of a word.
    """

    likelihoods: np.ndarray
    strays: np.ndarray
    omitted: np.ndarray
    hit: float
    doubled: float
    undoubled: float
    exchanged: float
    whole: bool

    @property
    def may_be_words(self) -> bool:
        """Whether each tap may be of a letter, or of none."""
        return bool(((self.likelihoods > 0).any(axis=0) | (self.strays > 0)).all())

    @functools.cached_property
    def rates(self) -> np.ndarray:
        """Those of its numbers that are no arrays, float64 [4], as the library takes them."""
        return np.array([self.hit, self.doubled, self.undoubled, self.exchanged])

    @functools.cached_property
    def addresses(self) -> tuple[int, ...]:
        """What the library takes of it."""
        arrays = self.likelihoods, self.strays, self.omitted, self.rates
        return *(each.ctypes.data for each in arrays), *self.likelihoods.shape, self.whole


@dataclasses.dataclass(frozen=True, eq=False)
class Row:
    """How the letters of a text align with taps.

    Attributes:
        values: float64 [2, n + 1], the rows q and r.
        last: the symbol of the last letter, -1 for none.
        bound: what the probability of the taps is at most, whatever letters follow.
    """

    values: np.ndarray
    last: int
    bound: float

    @property
    def end(self) -> float:
        """The probability of all taps."""
        return float(self.values[0, -1])


class Trie:
    """Pieces by their letters, in the order in which one walks them; those that begin with a space come last.

    Args:
        texts: what the pieces write, `None` for those that are left out.

    Attributes:
        symbols: mapping from a character to its number, S of them; that of the space is the last.
        letters: int32 [N], the symbol of each node.
        ends: int32 [N], the node after its last descendant.
        parents: int32 [N], the node of the letter before, -1 for none.
        pieces: int32 [N], the index of the piece that ends there, -1 for none.
        space: the node of the space, of which those of all later nodes are descendants; N for none.
    """

    def __init__(self, texts: Sequence[str | None]) -> None:
        characters = sorted(set().union(*filter(None, texts)) - {" "})
        self.symbols = {character: symbol for symbol, character in enumerate([*characters, " "])}
        spelled = sorted(
            ([self.symbols[character] for character in text], piece) for piece, text in enumerate(texts) if text
        )
        letters: list[int] = []
        pieces: list[int] = []
        ends: list[int] = []
        parents: list[int] = []
        path: list[int] = []
        for symbols, piece in spelled:
            same = 0
            while same < min(len(path), len(symbols) - 1) and letters[path[same]] == symbols[same]:
                same += 1
            for node in path[same:]:
                ends[node] = len(letters)
            del path[same:]
            for symbol in symbols[same:]:
                parents.append(path[-1] if path else -1)
                path.append(len(letters))
                letters.append(symbol)
                pieces.append(-1)
                ends.append(0)
            pieces[-1] = piece
        for node in path:
            ends[node] = len(letters)
        self.letters, self.ends, self.parents, self.pieces = (
            np.array(each, "int32") for each in (letters, ends, parents, pieces)
        )
        spaces = np.flatnonzero(self.letters == self.symbols[" "])
        self.space = int(spaces[0]) if len(spaces) else len(letters)

    @functools.cached_property
    def addresses(self) -> tuple[int, ...]:
        """What the library takes of it."""
        return tuple(each.ctypes.data for each in (self.letters, self.ends, self.parents, self.pieces))

    def spell(self, text: str) -> np.ndarray:
        """Returns the symbols of a text, int32 [M], -1 for characters that no piece has."""
        return np.array([self.symbols.get(character, -1) for character in text], "int32")


def first_row(hits: Hits, scale: float = 1.0) -> Row:
    """Returns the `Row` of no letter, times a scale."""
    values = np.zeros((2, len(hits.strays) + 1))
    values[0] = np.cumprod([scale, *hits.strays])
    return Row(values, -1, _bound(hits, *values))


def add_letter(hits: Hits, row: Row, symbol: int) -> Row:
    """Returns the `Row` after another letter; the module's formula."""
    (q, r), p = row.values, np.zeros(len(row.values[0]))
    n, likely = len(p) - 1, hits.likelihoods[symbol]
    omitted = hits.undoubled if symbol == row.last else hits.omitted[symbol]
    for j in range(n + 1):
        p[j] = omitted * q[j] if hits.whole or j < n else _open(hits, q[n], symbol)
        if j > 0:
            p[j] += hits.hit * likely[j - 1] * q[j - 1] + (hits.doubled * likely[j - 1] + hits.strays[j - 1]) * p[j - 1]
        if j > 1 and row.last >= 0:
            p[j] += hits.exchanged * likely[j - 2] * hits.likelihoods[row.last, j - 1] * r[j - 2]
    return Row(np.stack([p, q]), symbol, _bound(hits, p, q))


def align(hits: Hits, row: Row, symbols: np.ndarray) -> Row:
    """Returns the `Row` after further letters, int32 [M]; of -1 no tap is."""
    for symbol in symbols.tolist():
        row = add_letter(hits, row, symbol) if symbol >= 0 else Row(np.zeros_like(row.values), -1, 0.0)
    return row


def align_all(hits: Hits, row: Row, words: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the probability of all taps for each of some words, int32 [M] each, as `align` finds it; float64 [W]."""
    if (library := _library()) is None:
        return np.array([align(hits, row, word).end for word in words])
    return library.align_all(hits, row, words)


def follow(
    trie: Trie, first: int, last: int, hits: Hits, row: Row, log_probabilities: np.ndarray, log_least: float, most: int
) -> tuple[np.ndarray, np.ndarray, Callable[[int], Row]]:
    """Finds the pieces that may follow a text.

    Args:
        trie: their `Trie`.
        first: the first node that is walked; those before and after have no part in what is written.
        last: the node after the last.
        hits: the `Hits`.
        row: the `Row` of the text.
        log_probabilities: float32 [V], those of the pieces, natural logarithms.
        log_least: the least value that is looked for.
        most: how many are returned at most, the likeliest.

    Returns:
        ids: int32 [M], the pieces, the likeliest first.
        values: float64 [M], their log probabilities, with the logarithm of the change of the bound.
        row_after: function from a place among them to the `Row` after that piece.
    """
    if (library := _library()) is not None:
        ids, values, rows, symbols, bounds = library.follow(
            trie, first, last, hits, row, log_probabilities, log_least, most
        )
        return ids, values, lambda place: Row(rows[place], int(symbols[place]), float(bounds[place]))
    found = []
    at_most = float(log_probabilities.max(initial=-math.inf))
    path = [(last, row)]
    node = first
    while node < last and row.bound:
        while path[-1][0] <= node:
            path.pop()
        after = add_letter(hits, path[-1][1], int(trie.letters[node]))
        changed = _log(after.bound / row.bound)
        if changed + at_most <= log_least:
            node = int(trie.ends[node])
            continue
        piece = int(trie.pieces[node])
        if piece >= 0 and changed + log_probabilities[piece] > log_least:
            found.append((float(log_probabilities[piece]) + changed, piece, after))
        path.append((int(trie.ends[node]), after))
        node += 1
    found = sorted(found, key=lambda each: (-each[0], each[1]))[:most]
    return (
        np.array([piece for _, piece, _ in found], "int32"),
        np.array([value for value, _, _ in found]),
        lambda place: found[place][2],
    )


def _library() -> ModuleType | None:
    """Returns the module that calls the native library, `None` if that is not there."""
    return taps if status().available else None


def _bound(hits: Hits, q: np.ndarray, r: np.ndarray) -> float:
    """Each letter makes no more of a row than there is, but where it is exchanged with the one before."""
    return float(q.sum() + hits.exchanged * r.sum())


def _open(hits: Hits, reached: float, symbol: int) -> float:
    """What was reached with the last tap stays, but the next word is not of it: spaces are the last symbol."""
    return 0.0 if symbol == len(hits.omitted) - 1 else reached


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf
