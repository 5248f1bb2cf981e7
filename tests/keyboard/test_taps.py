"""Taps and letters: the core against a recursion from the other end."""

import functools

import numpy as np
import pytest

from kerasptb.keyboard import taps
from kerasptb.native import core

TEXTS = ["a", "b", "ab", "abc", "ac", "ba", "c", " a", " ab", " abc", " b", " bca", " ", "ab", None]
TRIE = taps.Trie(TEXTS)
RATES = {"hit": 0.7, "doubled": 0.05, "undoubled": 0.3, "exchanged": 0.06}


class Hits:
    """What n taps say of four symbols."""

    def __init__(self, n, whole, seed=0):
        random = np.random.default_rng(seed)
        self.likelihoods, self.strays = random.uniform(0.05, 1, (4, n)), random.uniform(0.01, 0.1, n)
        self.omitted, self.whole = random.uniform(0.02, 0.2, 4), whole
        self.hit, self.doubled, self.undoubled, self.exchanged = RATES.values()

    def align(self, *words):
        hits = core.hits_of(self.likelihoods, self.omitted, self.strays, is_whole=self.whole, **RATES)
        return core.Texts(words).align(core.Model(TRIE.fields), hits)


def _backwards(hits, letters):
    """The probability of all taps, by what may come next at each place."""
    n, of = len(hits.strays), hits.likelihoods

    @functools.cache
    def rest(i, j):  # what letters from i on make of the taps from j on
        if j == n and not hits.whole:
            return 1.0
        if i == len(letters):
            return float(j == n)
        same = i and letters[i - 1] == letters[i]
        total = (hits.undoubled if same else hits.omitted[letters[i]]) * further(i + 1, j)
        if j < n:
            total += hits.hit * of[letters[i], j] * further(i + 1, j + 1)
        if j + 1 < n and i + 1 < len(letters):
            crossed = of[letters[i + 1], j] * of[letters[i], j + 1]
            total += hits.exchanged * crossed * further(i + 2, j + 2)
        return total

    @functools.cache
    def further(i, j):  # any number of taps of no letter, or of the last once more, and then the rest
        if j == n:
            return rest(i, j)
        once_more = hits.doubled * of[letters[i - 1], j] if i else 0.0
        return rest(i, j) + (once_more + hits.strays[j]) * further(i, j + 1)

    return further(0, 0)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("word", ["a", "ab", "bb", "abc", "ccba", "ababc"])
def test_the_probability_of_taps_is_that_of_all_ways_to_make_them(word, whole):
    for n in (1, 2, 4):
        hits = Hits(n, whole, seed=n)
        (value,) = hits.align(word)
        assert value == pytest.approx(_backwards(hits, [TRIE.symbols[letter] for letter in word]), rel=1e-12)


def test_letters_that_no_piece_has_are_not_tapped():
    hits = Hits(2, True)
    values = hits.align("ab", "aß", "")
    assert values[0] > 0
    assert values[1] == 0
    assert values[2] == pytest.approx(hits.strays.prod())


def test_a_space_after_the_last_tap_ends_what_was_typed():
    hits = Hits(1, False)
    _, with_space = hits.align("ab", "a ")
    # The first letter was left out, and the space tapped in its place: what was reached before it is not.
    of_space, stray = hits.likelihoods[TRIE.symbols[" "], 0], hits.strays[0]
    expected = hits.omitted[0] * (hits.hit * of_space + (hits.doubled * of_space + stray) * hits.omitted[-1])
    assert with_space == pytest.approx(expected, rel=1e-12)


def test_a_trie_has_each_piece_once_also_those_that_write_the_same():
    symbols, ends, pieces = TRIE.nodes.T.tolist()
    assert sorted(piece for piece in pieces if piece >= 0) == [index for index, text in enumerate(TEXTS) if text]
    for node, piece in enumerate(pieces):
        path = [each for each in range(node + 1) if each <= node < ends[each]]
        letters = "".join(list(TRIE.symbols)[symbols[each]] for each in path)
        assert piece < 0 or letters == TEXTS[piece]
        assert (letters[0] == " ") == (node >= TRIE.space)
        assert " " not in letters[1:]


def test_a_trie_of_nothing_is_empty():
    trie = taps.Trie([None, None])
    assert (len(trie.nodes), trie.space, trie.symbols) == (0, 0, {" ": 0})
