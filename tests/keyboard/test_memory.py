from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasptb.data import Subwords, Vocabulary
from kerasptb.keyboard import Memory, Writer
from kerasptb.keyboard.memory import MAX_CHARACTERS, WINDOW
from kerasptb.reading import Context, run_search

VOCABULARY = Vocabulary(["the", "<unk>", "<eos>", "N", "a", "cat", "Anna", "on"])
MODEL = np.array([0.3, 0.2, 0.1, 0.05, 0.15, 0.1, 0.02, 0.08])


def after(text, memory=None):
    return Writer(VOCABULARY).remember(text, memory)


def by_the_formula(words, base):
    """The formula of the module's docstring, word by word. `base` is the model's distribution."""
    new = Counter(word for word in words if word not in VOCABULARY)
    p = dict(base)
    if new:
        share = base["<unk>"] / (new.total() + len(new))
        p |= {word: share * count for word, count in new.items()} | {"<unk>": share * len(new)}
    for order, k in ((0, 20), (1, 8), (2, 8)):
        context = words[len(words) - order :]
        came = Counter(
            words[t] for t in range(order, len(words)) if len(context) == order and words[t - order : t] == context
        )
        total = came.total() + k * len(came)
        if total:
            p = {word: (came[word] + k * len(came) * value) / total for word, value in p.items()}
    return p


@settings(max_examples=60)
@given(st.lists(st.sampled_from(["the", "a", "cat", "Anna", "on", "zebra", "gnu", "yak", "<eos>"]), max_size=40))
def test_keys_have_the_probabilities_of_the_formula(words):
    context = Context(np.zeros(0, "float32"), np.log(MODEL))
    memory = Memory(words)
    found = run_search(Writer(VOCABULARY).keys(context, "", 99, memory=memory), None)
    expected = by_the_formula(words, dict(zip(VOCABULARY.words, MODEL, strict=True)))
    expected = {word: value for word, value in expected.items() if word not in ("<eos>", "<unk>", "N")}
    assert dict(found.words) == pytest.approx(expected, rel=1e-6)
    values = [value for _, value in found.words]
    assert values == sorted(values, reverse=True)
    assert found.prefix_probability == pytest.approx(sum(expected.values()), rel=1e-6)
    with_a = run_search(Writer(VOCABULARY).keys(context, " a", 2, memory=memory), None)
    begin = sorted((value for word, value in expected.items() if word[0] in "aA"), reverse=True)
    assert [value for _, value in with_a.words] == pytest.approx(begin[:2], rel=1e-6)
    assert with_a.prefix_probability == pytest.approx(sum(begin), rel=1e-6)


@settings(max_examples=40)
@given(st.lists(st.sampled_from(["the", "a", "cat", "Anna", "on"]), max_size=40))
def test_shares_are_those_of_the_formula(words):
    base = dict(zip(VOCABULARY.words, MODEL, strict=True))
    memory = Memory(words)
    of_model, shares = memory.shares
    shares = dict(zip(memory.lexicon, shares, strict=True))
    mixed = {word: of_model * value + shares.get(word, 0.0) for word, value in base.items()}
    assert mixed == pytest.approx(by_the_formula(words, base), rel=1e-12)


def test_shares_of_a_text():
    memory = Memory().extended(["The", "cat", "sat", "<eos>", "the", "cat"])
    assert memory.words == ["<eos>", "the", "cat", "sat", "<eos>", "the", "cat"]
    of_model, shares = memory.shares
    shares = dict(zip(memory.lexicon, shares, strict=True))
    # All: 7 words, 4 different. After "cat": "sat" once. After "the cat": "sat" once.
    first, second = 20 * 4 / (7 + 20 * 4), 8 / 9
    assert of_model == pytest.approx(first * second**2)
    assert shares["cat"] == pytest.approx(2 / 87 * second**2)
    assert shares["sat"] == pytest.approx((1 / 87 * second + 1 / 9) * second + 1 / 9)
    assert shares["<eos>"] == pytest.approx(2 / 87 * second**2)
    assert set(shares) == {"the", "cat", "sat", "<eos>"}
    assert of_model + sum(shares.values()) == pytest.approx(1.0)


@given(st.lists(st.sampled_from(["the Zebra", "gnu\n", "Gnu on", "don't", "", "a\nYak yak, 5"]), max_size=12))
def test_a_text_in_pieces_is_the_text(pieces):
    memory = Memory()
    for piece in pieces:
        memory = after(piece, memory)
    assert memory.words == after(" ".join(pieces)).words


def test_a_capital_at_the_beginning_of_a_line_says_nothing():
    def words(text):
        return after(text).words[1:]

    assert words("Zebra on the cat\nGnu") == ["zebra", "on", "the", "cat", "<eos>", "gnu"]
    assert words("NASA\nMcKim\n\u0130ran") == ["NASA", "<eos>", "McKim", "<eos>", "\u0130ran"]
    assert words("the Kim\nKim sat") == ["the", "Kim", "<eos>", "Kim", "sat"]  # as it was written before
    assert words("the kim Kim\nKim") == ["the", "kim", "Kim", "<eos>", "kim"]
    assert words("on Kim's e-mail, 1984 5 CAT") == ["on", "Kim", "'s", "e-mail", "N", "N", "cat"]


def test_the_last_words_are_remembered_and_no_more():
    memory = after("the zebra " + "a " * (WINDOW - 1))
    assert memory.words == ["zebra"] + ["a"] * (WINDOW - 1)
    memory = after("gnu", memory)
    assert memory.words == ["a"] * (WINDOW - 1) + ["gnu"]
    assert "zebra" not in memory
    assert [memory.lexicon[place] for place in memory.beginning("")] == ["a", "gnu"]


def test_many_different_words_are_forgotten_with_the_window():
    memory = Memory().extended(f"x{i}y" for i in range(3 * WINDOW))
    assert len(memory.lexicon) == len(memory.words) == WINDOW
    assert memory.words[-1] == f"x{3 * WINDOW - 1}y"


def test_long_words_are_not_remembered():
    assert after("z" * MAX_CHARACTERS).words[-1] == "z" * MAX_CHARACTERS
    assert after("z" * (MAX_CHARACTERS + 1)).words[-1] == "<unk>"


def test_words_that_begin_with_letters():
    memory = after("on Zebra zeus gnu don't")

    def beginning(prefix):
        return [memory.lexicon[place] for place in memory.beginning(prefix)]

    assert beginning("ZE") == ["Zebra", "zeus"]
    assert beginning("N\u2019") == ["n't"]
    assert beginning("q") == []


def test_words_that_are_written_so():
    memory = after("on Zebra zeus Zeus zeusy Ze")
    whole = [memory.lexicon[place] for place in memory.beginning("ZEUS", whole=True)]
    assert whole == ["zeus", "Zeus"]
    assert list(memory.beginning("zeu", whole=True)) == []


def test_of_pieces_words_and_signs_are_remembered():
    writer = Writer(Subwords.characters())
    assert writer.remember("The cat's, (zebra).\n").words == [
        "<eos>",
        "the",
        "cat's",
        ",",
        "(",
        "zebra",
        ")",
        ".",
        "<eos>",
    ]


def test_a_memory_does_not_change():
    memory = after("the zebra")
    after("on Zebra gnu", memory)
    assert memory.words == ["<eos>", "the", "zebra"]
    assert memory.extended(["<eos>", "Zebra", "Gnu"]).words[-2:] == ["zebra", "Gnu"]
    one = Memory()
    after("in Paris", one)  # another memory, which knows the name
    assert after("Paris", one).words == ["<eos>", "paris"]
    assert "gnu" not in memory
