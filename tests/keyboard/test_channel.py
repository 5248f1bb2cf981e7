import json

import numpy as np
import pytest

from kerasptb.data import DataError
from kerasptb.keyboard import Confusions, Errors, Keyboard, load_layout
from kerasptb.keyboard.channel import Taps, Writing, open_channel, width_of
from kerasptb.keyboard.taps import Trie

TRIE = Trie([" the", "The", "nao", "não", "it's", "it’s", "well-known", "q", "w", "p", "г", "e", "l"])


def _likelihoods(keyboard, text, points=None, whole=True):
    hits = keyboard.hits(TRIE, Taps(text, points), whole)
    return {symbol: hits.arrays[0][place] for symbol, place in TRIE.symbols.items()}, hits


@pytest.mark.parametrize("wrong", [0.0, 0.01, 0.069, 0.3])
def test_a_finger_leaves_its_key_as_often_as_asked(wrong):
    draws = np.random.default_rng(0).normal(size=(400_000, 2)) * width_of(wrong, 1.5)
    leaves = (np.abs(draws) > [0.5, 0.75]).any(axis=1).mean()
    assert leaves == pytest.approx(wrong, abs=1e-3)


def test_a_letter_is_likelier_for_a_nearer_key():
    likely, hits = _likelihoods(Keyboard(), "w")
    assert likely["w"] == 1
    assert likely["q"][0] == pytest.approx(likely["e"][0], rel=0.04)  # no key is beyond q
    assert 0.01 < likely["e"][0] < 0.1
    assert 0 < likely["p"][0] < 1e-4
    assert likely["г"] == 0
    assert hits.strays[0] == pytest.approx(Errors().stray / 26 / 0.95, rel=0.03)


def test_a_point_tells_more_than_its_key():
    at_edge, _ = _likelihoods(Keyboard(), "w", np.array([[1.02, 0.75]]))
    in_the_middle, _ = _likelihoods(Keyboard(), "w", np.array([[1.5, 0.75]]))
    assert in_the_middle["q"][0] < 0.01
    width = width_of(Errors().wrong, 1.5)
    expected = np.exp(-(0.52**2 - 0.48**2) / (2 * width**2))
    assert at_edge["q"][0] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("layout", ["azerty", "portuguese", "qwerty", "qwertz"])
def test_one_of_the_keys_is_hit(layout):
    """Taps beyond the edges are not lost: of those that are meant for q, all are on some key."""
    np.testing.assert_allclose(Keyboard(layout).of_keys.sum(axis=1), 1, rtol=1e-12)


def test_a_point_far_from_all_keys_tells_nothing():
    likely, hits = _likelihoods(Keyboard(), "w", np.array([[-80.0, 90.0]]))
    assert likely["w"] == likely["p"] == pytest.approx(1e-4)
    assert hits.strays[0] == Errors().stray


def test_accents_apostrophes_and_capitals_need_not_be_typed():
    likely, hits = _likelihoods(Keyboard(), "naT'")
    rates = Errors()
    assert likely["a"][1] == 1
    assert likely["ã"][1] == rates.plain
    assert (likely["T"][2], likely["t"][2]) == (1, rates.shifted)
    lower, _ = _likelihoods(Keyboard(), "t")
    assert (lower["T"][0], lower["t"][0]) == (rates.unshifted, 1)
    assert likely["'"][3] == likely["’"][3] == 1
    assert hits.arrays[1][TRIE.symbols["'"]] == hits.arrays[1][TRIE.symbols["’"]] > hits.arrays[1][TRIE.symbols["t"]]


def test_a_layout_with_a_key_for_a_letter_does_not_take_its_base_for_it():
    umlauts = Trie(["über", "uber", "vogel"])
    hits = Keyboard("qwertz").hits(umlauts, Taps("ü"), whole=True)
    assert hits.arrays[0][umlauts.symbols["ü"], 0] == 1
    assert hits.arrays[0][umlauts.symbols["u"], 0] < 1e-2


def test_a_space_among_taps_is_a_space_or_one_too_many():
    likely, hits = _likelihoods(Keyboard(), "t e")
    assert likely[" "].tolist() == [0, 1, 0]
    assert [values[1] for symbol, values in likely.items() if symbol != " "] == [0] * (len(likely) - 1)
    assert hits.strays[1] == Errors().spaced
    assert hits.arrays[1][-1] == Errors().unspaced


@pytest.mark.parametrize("layout", ["qwerty", "azerty", "qwertz", "portuguese"])
def test_nothing_is_likelier_than_one(layout):
    random = np.random.default_rng(0)
    text = "".join(random.choice(list("qwertzßãж'3-PÉ"), 30))
    for points in (None, random.normal(4, 6, (30, 2))):
        hits = Keyboard(layout, Errors(wrong=0.2)).hits(TRIE, Taps(text, points), whole=False)
        assert hits.arrays[0].max() <= 1
        assert hits.arrays[0].min() >= 0
    of_model = {text: Keyboard(layout).hits(TRIE, Taps(text), whole=False).may_be_words for text in ("qx-ãГ", "qж")}
    assert list(of_model.values()) == [True, False]  # it has no ж


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        (np.zeros((2, 2)), "a point x, y for each of 3 taps. Received: shape \\(2, 2\\)"),
        (np.zeros(3), "a point x, y for each of 3 taps"),
        (np.array([[0, 0], [0, np.nan], [0, 0]]), "two finite numbers"),
        (np.array([[0, 0], [0, np.inf], [0, 0]]), "two finite numbers"),
    ],
)
def test_points_that_are_none_are_refused(points, reason):
    with pytest.raises(DataError, match=reason):
        Taps("abc", points)


@pytest.mark.parametrize(
    ("rates", "reason"),
    [
        ({"wrong": -0.1}, r"a probability, between 0 and 1, of wrong\. Received: -0\.1"),
        ({"stray": float("nan")}, r"of stray\. Received: nan"),
        ({"doubled": 1.5}, r"of doubled\. Received: 1\.5"),
        ({"omitted": 0.6, "exchanged": 0.4}, r"sum is below 1\. Received: 0\.6 and 0\.4"),
        ({"wrong": 1.0}, r"a share of wrong keys in \[0, 1\)"),
    ],
)
def test_errors_are_probabilities(rates, reason):
    with pytest.raises(DataError, match=reason):
        Keyboard(errors=Errors(**rates))


def test_what_stands_in_a_text_is_rarer_and_spelt_too():
    writing, keyboard = Writing(), Keyboard()
    keys = writing.layout.keys
    share = dict(zip(keys, writing.of_keys[keys.index("e")], strict=True))
    assert writing.of_keys.sum(axis=1) == pytest.approx(1)
    assert share["e"] > 0.99 > keyboard.of_keys.max()
    assert share["a"] > 20 * share["z"] > 0  # a vowel, and any other letter
    assert share["w"] > share["a"]  # a neighbour's key
    few, many = (channel.errors.omitted for channel in (writing, keyboard))
    assert few < many / 2


def test_a_name_is_sooner_new_than_a_word():
    shares = [Writing().unknown(text) for text in ("goverment", "Zou", "ITT")]
    assert shares == pytest.approx([0.001, 0.15, 1.0])
    assert Keyboard().unknown("Zou") == 0.12


def test_channels_are_opened_by_name_or_file(tmp_path):
    assert open_channel("azerty").layout is load_layout("azerty")
    keyboard = Keyboard()
    assert open_channel(keyboard) is keyboard
    assert type(open_channel("qwerty", Writing)) is Writing
    path = tmp_path / "confusions.json"
    path.write_text(json.dumps({"confusions": [["e", "c", 0.1]], "errors": {"stray": 0.5}}))
    opened = open_channel(path)
    assert isinstance(opened, Confusions)
    assert (opened.shares, opened.errors.stray) == ({("e", "c"): 0.1}, 0.5)
    for wrong in ("dvorak", tmp_path / "missing.json"):
        with pytest.raises(DataError, match="Expected a layout"):
            open_channel(wrong)
