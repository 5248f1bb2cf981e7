"""Taps and letters: the native library and Python against each other, and against a recursion from the other end."""

import functools

import numpy as np
import pytest

from kerasptb.keyboard import taps

TEXTS = ["a", "b", "ab", "abc", "ac", "ba", "c", " a", " ab", " abc", " b", " bca", " ", "ab", None]
TRIE = taps.Trie(TEXTS)


@pytest.fixture(params=["native", "python"])
def either(request, monkeypatch):
    if request.param == "native":
        request.getfixturevalue("native_library")
    else:
        monkeypatch.setattr(taps, "_library", lambda: None)


def _hits(n, whole, seed=0):
    random = np.random.default_rng(seed)
    return taps.Hits(
        likelihoods=random.uniform(0.05, 1, (4, n)),
        strays=random.uniform(0.01, 0.1, n),
        omitted=random.uniform(0.02, 0.2, 4),
        hit=0.7,
        doubled=0.05,
        undoubled=0.3,
        exchanged=0.06,
        whole=whole,
    )


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
@pytest.mark.parametrize("letters", [(0,), (0, 1), (1, 1), (0, 1, 2), (2, 2, 1, 0), (0, 1, 0, 1, 2)])
def test_the_probability_of_taps_is_that_of_all_ways_to_make_them(either, letters, whole):
    for n in (1, 2, 4):
        hits = _hits(n, whole, seed=n)
        (value,) = taps.align_all(hits, taps.first_row(hits), [np.array(letters, "int32")])
        assert value == pytest.approx(_backwards(hits, letters), rel=1e-12)


def test_letters_that_no_piece_has_are_not_tapped(either):
    hits = _hits(2, True)
    words = [TRIE.spell("ab"), TRIE.spell("aß"), TRIE.spell("")]
    values = taps.align_all(hits, taps.first_row(hits), words)
    assert values[0] > 0
    assert values[1] == 0
    assert values[2] == pytest.approx(hits.strays.prod())


def test_a_space_after_the_last_tap_ends_what_was_typed(either):
    hits, space = _hits(1, False), TRIE.symbols[" "]
    ends = taps.align_all(hits, taps.first_row(hits), [np.array([0, 1], "int32"), np.array([0, space], "int32")])
    assert ends[0] > 0.1
    assert ends[1] == pytest.approx(_of_space_alone(hits))


def _of_space_alone(hits):
    """The first letter was left out, and the space tapped in its place."""
    row = taps.add_letter(hits, taps.first_row(hits), 0)
    left = row.values[0].copy()
    left[-1] = 0  # what was reached before the space
    return taps.add_letter(hits, taps.Row(np.stack([left, row.values[1]]), 0, 1.0), len(TRIE.symbols) - 1).end


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("places", [(0, TRIE.space), (TRIE.space + 1, len(TRIE.letters)), (0, len(TRIE.letters))])
def test_pieces_are_found_with_the_change_of_the_bound(either, places, whole):
    hits = _hits(3, whole, seed=5)
    logs = np.log(np.random.default_rng(1).dirichlet(np.ones(len(TEXTS)))).astype("float32")
    before = taps.add_letter(hits, taps.first_row(hits), 1)
    ids, values, row_after = taps.follow(TRIE, *places, hits, before, logs, -6.0, 100)
    first = places[0] == TRIE.space + 1
    expected = {}
    for index, text in enumerate(TEXTS):
        if text is None or (places != (0, len(TRIE.letters)) and (text[0] == " ") != first) or (first and text == " "):
            continue
        after = taps.align(hits, before, TRIE.spell(text[1:] if first else text))
        expected[index] = (logs[index] + np.log(after.bound / before.bound), after)
    likely = sorted((index for index in expected if expected[index][0] > -6), key=lambda index: -expected[index][0])
    assert ids.tolist() == likely
    assert len(likely) > 1
    np.testing.assert_allclose(values, [expected[index][0] for index in likely], rtol=1e-6)
    for place, index in enumerate(likely):
        np.testing.assert_allclose(row_after(place).values, expected[index][1].values, rtol=1e-12)
        assert row_after(place).last == expected[index][1].last
        assert row_after(place).bound == pytest.approx(expected[index][1].bound, rel=1e-12)


def test_as_many_are_found_as_are_asked_for_and_none_that_is_too_unlikely(either):
    hits, logs = _hits(2, True), np.full(len(TEXTS), -2.0, "float32")
    row = taps.first_row(hits)
    ids, _, _ = taps.follow(TRIE, 0, TRIE.space, hits, row, logs, -20.0, 3)
    everything, of_all, _ = taps.follow(TRIE, 0, TRIE.space, hits, row, logs, -20.0, 100)
    assert ids.tolist() == everything[:3].tolist()
    assert (np.diff(of_all) <= 0).all()
    few, _, _ = taps.follow(TRIE, 0, TRIE.space, hits, row, logs, float(of_all[4]), 100)
    assert few.tolist() == everything[:4].tolist()
    none, _, _ = taps.follow(TRIE, 0, TRIE.space, hits, taps.Row(np.zeros((2, 3)), -1, 0.0), logs, -20.0, 3)
    assert not len(none)


def test_no_letters_that_follow_are_worth_more_than_the_bound():
    hits = _hits(4, False, seed=2)
    for seed in range(50):
        letters = np.random.default_rng(seed).integers(0, 3, 7)
        row, bounds = taps.first_row(hits), []
        for letter in letters:
            row = taps.add_letter(hits, row, int(letter))
            bounds.append(row.bound)
        assert row.end <= min(bounds) * (1 + 1e-12)


def test_a_trie_has_each_piece_once_also_those_that_write_the_same():
    assert sorted(TRIE.pieces[TRIE.pieces >= 0]) == [index for index, text in enumerate(TEXTS) if text]
    spelled = {}
    for node, piece in enumerate(TRIE.pieces.tolist()):
        letters, at = "", node
        while at >= 0:
            letters, at = list(TRIE.symbols)[TRIE.letters[at]] + letters, int(TRIE.parents[at])
        spelled[node] = letters
        assert piece < 0 or letters == TEXTS[piece]
        inside = range(node, int(TRIE.ends[node]))
        assert all(spelled.get(each, letters).startswith(letters) for each in inside)
    assert all(letters[0] == " " for node, letters in spelled.items() if node >= TRIE.space)
    assert all(" " not in letters for node, letters in spelled.items() if node < TRIE.space)


def test_a_trie_of_nothing_is_empty():
    trie = taps.Trie([None, None])
    assert (len(trie.letters), trie.space, trie.symbols) == (0, 0, {" ": 0})
