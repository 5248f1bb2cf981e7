import numpy as np
import pytest
from small_readers import ConstantNetwork

from kerasptb.data import DataError, Subwords, Vocabulary
from kerasptb.data.text_format import TextFormat
from kerasptb.evaluation import Share
from kerasptb.keyboard import Keyboard, Simulator, evaluate_keyboard, evaluate_typos, load_layout
from kerasptb.keyboard.channel import Taps
from kerasptb.keyboard.measure import simulator
from kerasptb.models import LanguageModel
from kerasptb.reading import Reader

QWERTY = load_layout("qwerty")
LETTERS = ["the", "quick", "brown", "fox", "jumps", "over", "the", "lazy", "dog"]
PROBABILITIES = {"the": 0.4, "house": 0.3, "hose": 0.2, "<eos>": 0.06, "<unk>": 0.04 - 1e-7, "thr": 1e-7}


def constant(probabilities=PROBABILITIES):
    """Expects the same after any text: each word with its probability."""
    logs = np.log(list(probabilities.values())).astype("float32")
    return Reader(ConstantNetwork(logs), TextFormat(tokenizer=Vocabulary(probabilities)))


@pytest.mark.parametrize("rate", [0.0, 0.03, 0.069, 0.1, 0.5])
def test_as_many_keys_are_wrong_as_asked(rate, monkeypatch):
    monkeypatch.setattr(simulator, "_SLIPS", np.zeros(4))
    monkeypatch.setattr(simulator, "_UNSPACED", 0.0)
    typist, words = Simulator(QWERTY, rate), LETTERS * 40
    typed = typist.type(words)
    written = "".join(taps.text for _, taps in typed)
    wrong = sum(a != b for a, b in zip("".join(words), written, strict=True))
    assert typist.num_taps == sum(map(len, words)) == 1400
    assert typist.num_wrong == wrong == int(rate * 1400)
    points = np.concatenate([taps.points for _, taps in typed])
    assert "".join(QWERTY.keys[key] for key in QWERTY.nearest(points)) == written


def test_what_is_no_letter_of_the_layout_is_typed_right_and_capitals_stay(monkeypatch):
    monkeypatch.setattr(simulator, "_SLIPS", np.zeros(4))
    monkeypatch.setattr(simulator, "_UNSPACED", 0.0)
    ((_, taps),) = Simulator(QWERTY, 0.0).type(["Don't-É2"])
    assert taps.text == "Don't-E2"
    typed = "".join(taps.text for _, taps in Simulator(QWERTY, 0.5).type(["A'b"] * 99))
    assert typed.count("'") == 99 and sum(map(str.isupper, typed)) == 99


def test_errors_follow_from_their_seed():
    first, same, other = (
        [(number, taps.text) for number, taps in Simulator(QWERTY, 0.2, seed).type(LETTERS * 9)] for seed in (1, 1, 2)
    )
    assert first == same != other


@pytest.mark.parametrize(("slip", "typed"), [(0, {""}), (1, {"acb", "bac"}), (2, {"aabbcc"}), (3, {"a?b?c?"})])
def test_each_slip(slip, typed, monkeypatch):
    """Each happens to every letter, by a share that makes it sure."""
    monkeypatch.setattr(simulator, "_SLIPS", np.eye(4)[slip] * 1e9)
    monkeypatch.setattr(simulator, "_UNSPACED", 0.0)
    monkeypatch.setattr(Simulator, "_width", lambda *_: 0.0)
    ((number, taps),) = Simulator(QWERTY, 0.1).type(["abc"])
    assert (number, len(taps.points)) == (1, len(taps.text))
    if slip == 0:
        assert taps.text == "abc"  # a word has a letter at least
    elif slip == 3:
        assert taps.text[::2] == "abc" and set(taps.text[1::2]) <= set(QWERTY.keys)
    else:
        assert taps.text in typed


def test_two_words_without_their_space(monkeypatch):
    monkeypatch.setattr(simulator, "_UNSPACED", 1e9)
    typed = Simulator(QWERTY, 1e-9).type(["ab", "c", "de", "f", "g"])
    assert [(number, taps.text) for number, taps in typed] == [(2, "abc"), (2, "def"), (1, "g")]


@pytest.mark.parametrize("rate", [-0.1, 0.6, float("nan")])
def test_a_rate_out_of_range(rate):
    with pytest.raises(DataError, match=r"Expected a share of wrong keys in \[0, 0\.5\]\. Received"):
        Simulator(QWERTY, rate)


def type_as(monkeypatch, typed):
    """Lets the simulator type this, pairs of a number of words and letters."""
    monkeypatch.setattr(Simulator, "type", lambda self, words: [(number, Taps(letters)) for number, letters in typed])


def test_what_is_typed_counted_by_hand(monkeypatch):
    # One key: `the` before any letter, `house` after h, ho, hou; `hose` after hos. `thr` is never shown.
    type_as(monkeypatch, [(1, "the"), (1, "hpuse"), (1, "hise"), (1, "house"), (1, "thr")])
    steps = []
    result = evaluate_typos(
        constant(), "the house hose hose thr", 0.0, keys=1, progress=lambda *step: steps.append(step)
    )
    assert (result.num_words, result.num_characters) == (5, 4 + 6 + 5 + 5 + 4)
    assert result.taps_until_shown == (0 + 1 + 3 + 5 + 3) / 5
    # The last two take all taps and a space, a key that deletes what is wrong, and all letters and the space again.
    assert result.num_keystrokes == 1 + 2 + 4 + (5 + 1 + 1 + 5) + (3 + 1 + 1 + 4)
    assert result.keystroke_savings == pytest.approx(1 - 28 / 24)
    assert result.savings_without_errors == pytest.approx(1 - (1 + 2 + 4 + 4 + 4) / 24)
    assert result.right_as_typed == Share.of(2, 5)  # the first and the last
    assert result.right == Share.of(3, 5)
    assert result.changed == Share.of(1, 2)  # `thr`
    assert steps[-1] == (5, 5) and len(steps) == 5


def test_two_words_at_once_counted_by_hand(monkeypatch):
    type_as(monkeypatch, [(2, "thehouse"), (1, "hose")])
    result = evaluate_typos(constant(), "the house hose", 0.0, keys=1)
    assert (result.num_words, result.num_characters) == (3, 15)
    assert result.right == Share.of(3, 3)
    assert result.right_as_typed == Share.of(1, 3)
    assert result.savings_without_errors == pytest.approx(1 - (1 + 2 + 4) / 15)


@pytest.mark.parametrize("learn", [False, True])
def test_without_errors_the_same_keystrokes_as_exact_typing(learn):
    text = "the the hose house thr\nhose the house the house hose the thr thr"
    exact = evaluate_keyboard(constant(), text, keys=1, learn=learn)
    result = evaluate_typos(constant(), text, 0.0, keys=1, learn=learn)
    assert result.savings_without_errors == pytest.approx(exact.keystroke_savings)
    assert result.num_characters == exact.num_characters


def test_words_of_subwords_and_ids(native_library):
    lines = ["The cat sat on the mat, and (the cat's) hat."] * 3
    subwords = Subwords.train(lines, 280)
    model = LanguageModel(len(subwords), 6, (6,), batch_size=1, num_steps=5, init_scale=2.0, seed=3, tokenizer=subwords)
    text = "\n".join(lines)
    result = evaluate_typos(model, text, 0.1, learn=True)
    assert result == evaluate_typos(model, text, 0.1, Keyboard("qwerty"), learn=True)
    assert result != evaluate_typos(model, text, 0.1, Keyboard("qwertz"), learn=True, seed=2)
    assert evaluate_typos(model, text, 0.1, num_words=7).num_words == 7
    assert 0.05 <= result.wrong_keys <= 0.1
    assert evaluate_typos(model, subwords.encode(text), 0.0).num_words == result.num_words - 1  # no line ends before


def test_a_text_without_words():
    for text in ("", "1 2 3", "<unk> N"):
        with pytest.raises(DataError, match="at least one word to type"):
            evaluate_typos(constant(), text)
