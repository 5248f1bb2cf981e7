from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasptb.data import Vocabulary
from kerasptb.data.typed_text import read_words
from kerasptb.data.word_cache import MAX_CHARACTERS, MAX_NEW, WINDOW, TypedWords, WordCache

VOCABULARY = Vocabulary(["the", "<unk>", "<eos>", "N", "a", "cat", "Anna", "on"])
MODEL = np.array([0.3, 0.2, 0.1, 0.05, 0.15, 0.1, 0.02, 0.08])


def after(text, cache=None):
    return (cache or WordCache(VOCABULARY)).extended(read_words(VOCABULARY, text))


def written(cache):
    return [cache.word(i) for i in cache.ids]


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


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from(["the", "a", "cat", "Anna", "on", "zebra", "gnu", "yak", "<eos>"]), max_size=40))
def test_probabilities_are_those_of_the_formula(words):
    cache = WordCache(VOCABULARY).extended((word, word) for word in words)
    result = cache.probabilities(MODEL)
    expected = by_the_formula(words, dict(zip(VOCABULARY.words, MODEL, strict=True)))
    assert len(result) == len(expected)
    for i, value in enumerate(result):
        assert value == pytest.approx(expected[cache.word(i)], rel=1e-12)
    assert result.sum() == pytest.approx(1, abs=1e-12)


@settings(deadline=None)
@given(st.lists(st.sampled_from(["the Zebra", "gnu\n", "Gnu on", "don't", "", "a\nYak yak, 5"]), max_size=12))
def test_a_text_in_pieces_is_the_text(pieces):
    cache = WordCache(VOCABULARY)
    for piece in pieces:
        cache = after(piece, cache)
    whole = after(" ".join(pieces))
    assert written(cache) == written(whole)
    assert cache.new_words == whole.new_words


def test_new_words_are_written_as_they_were_typed_last_within_a_line():
    assert after("Zebra on the cat\nGnu").new_words == ("zebra", "gnu")
    assert after("NASA\nMcKim\n\u0130ran").new_words == ("NASA", "McKim", "\u0130ran")
    assert after("Zebra on the Zebra").new_words == ("Zebra",)
    assert after("Zebra on the zebra").new_words == ("zebra",)
    assert after("the zebra\nZebra").new_words == ("zebra",)
    assert after("the zebra on ZeBra").new_words == ("ZeBra",)
    assert after("on Kim's e-mail, 1984").new_words == ("Kim", "'s", "e-mail")
    assert written(after("On Kim's 5 CAT")) == ["on", "Kim", "'s", "N", "cat"]


def test_the_last_words_are_remembered_and_no_more():
    cache = after("the zebra " + "a " * (WINDOW - 1))
    assert written(cache) == ["zebra"] + ["a"] * (WINDOW - 1)
    cache = after("gnu", cache)
    assert cache.new_words == ("gnu",)
    assert written(cache) == ["a"] * (WINDOW - 1) + ["gnu"]


def test_of_too_many_new_words_the_last_used_are_remembered():
    words = [f"x{i}y" for i in range(MAX_NEW + 3)]
    cache = after(" ".join([*words, words[0]]))
    assert set(cache.new_words) == {words[0], *words[4:]}
    assert written(cache) == [words[0], "<unk>", "<unk>", "<unk>", *words[4:], words[0]]


def test_long_words_are_not_remembered():
    assert after("z" * MAX_CHARACTERS).new_words == ("z" * MAX_CHARACTERS,)
    cache = after("z" * (MAX_CHARACTERS + 1))
    assert (written(cache), cache.new_words) == (["<unk>"], ())


def test_new_words_that_begin_with_letters():
    cache = after("on Zebra zeus gnu don't")
    assert [cache.word(i) for i in cache.beginning("ZE")] == ["Zebra", "zeus"]
    assert [cache.word(i) for i in cache.beginning("N’")] == ["n't"]
    assert [cache.word(i) for i in cache.beginning("")] == list(cache.new_words)
    assert cache.beginning("q").size == 0


def test_without_unk_nothing_new_is_remembered():
    vocabulary = Vocabulary(["the", "a"])
    cache = WordCache(vocabulary).extended(read_words(vocabulary, "the zebra\na the"))
    assert cache.ids.tolist() == [0, 1, 0]
    assert cache.probabilities([0.5, 0.5]).sum() == pytest.approx(1)


def test_a_cache_does_not_change():
    cache = after("the zebra")
    after("on Zebra gnu", cache)
    assert (written(cache), cache.new_words) == (["the", "zebra"], ("zebra",))


def test_shares_of_words_that_need_no_vocabulary():
    cache = TypedWords().extended(["The", "cat", "sat", "<eos>", "the", "cat"])
    assert cache.words == ("<eos>", "the", "cat", "sat", "<eos>", "the", "cat")
    of_model, shares = cache.shares()
    # All: 7 words, 4 different. After "cat": "sat" once. After "the cat": "sat" once.
    first, second = 20 * 4 / (7 + 20 * 4), 8 / 9
    assert of_model == pytest.approx(first * second**2)
    assert shares["cat"] == pytest.approx(2 / 87 * second**2)
    assert shares["sat"] == pytest.approx((1 / 87 * second + 1 / 9) * second + 1 / 9)
    assert shares["<eos>"] == pytest.approx(2 / 87 * second**2)
    assert set(shares) == {"the", "cat", "sat", "<eos>"}
    assert of_model + sum(shares.values()) == pytest.approx(1.0)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.sampled_from(["the", "a", "cat", "Anna", "on"]), max_size=40))
def test_words_without_a_vocabulary_have_the_same_probabilities(words):
    base = dict(zip(VOCABULARY.words, MODEL, strict=True))
    of_model, shares = TypedWords(words).shares()
    mixed = {word: of_model * value + shares.get(word, 0.0) for word, value in base.items()}
    assert mixed == pytest.approx(by_the_formula(words, base), rel=1e-12)


def test_of_words_without_a_vocabulary_the_last_are_remembered():
    cache = TypedWords(["gnu"]).extended(["a"] * WINDOW)
    assert cache.words == ("a",) * WINDOW
    assert set(cache.shares()[1]) == {"a"}
