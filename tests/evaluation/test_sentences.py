import math

import numpy as np
import pytest

from kerasptb.data import DataError, Subwords, UnknownWordError, Vocabulary
from kerasptb.data.text_format import TextFormat
from kerasptb.evaluation import score_sentences, sentences
from kerasptb.models import LanguageModel

WORDS = ["a", "b", "c", "d", "<unk>", "<eos>"]


@pytest.fixture(scope="module")
def model():
    return model_of(Vocabulary(WORDS))


def model_of(vocabulary):
    return LanguageModel(len(WORDS), 5, (7, 4), batch_size=2, num_steps=3, init_scale=1.0, seed=0, tokenizer=vocabulary)


def expected(model, ids):
    """log10 of the probability of each token after an end and the tokens before, by single steps."""
    state, values, before = None, [], [WORDS.index("<eos>"), *ids]
    for i, token in enumerate(ids):
        (row,), state = model.stateless_next_word_probabilities(np.array([[before[i]]]), state)
        values.append(math.log10(row[token]))
    return values


def test_each_sentence_is_read_by_itself(model):
    (scored, empty) = score_sentences(model, ["a b nobody  d", ""])
    ids = [0, 1, 4, 3, 5]
    np.testing.assert_allclose(scored.token_log10_probabilities, expected(model, ids), rtol=2e-5)
    assert (scored.num_words, scored.num_unknown) == (4, 1)
    assert scored.tokens == ("a", "b", "<unk>", "d", "<eos>")
    assert scored.log10_probability == pytest.approx(sum(expected(model, ids)), rel=1e-5)
    assert scored.perplexity == pytest.approx(10 ** (-sum(expected(model, ids)) / 5), rel=1e-4)
    assert (empty.num_words, empty.tokens) == (0, ("<eos>",))
    np.testing.assert_allclose(empty.token_log10_probabilities, expected(model, [5]), rtol=2e-5)


def test_one_sentence_is_not_read_letter_by_letter(model):
    (scored,) = score_sentences(model, "a b")
    assert scored.sentence == "a b"


def test_a_sentence_without_spaces_between_words_has_no_perplexity_of_a_word(model):
    written, *others = score_sentences(model, ["吾輩は猫である。", "吾輩 は 猫", "", "a" * 50])
    assert math.isnan(written.perplexity)
    for scored, number in zip(others, (4, 1, 2), strict=True):
        assert scored.perplexity == pytest.approx(10 ** (-scored.log10_probability / number))


@pytest.mark.parametrize("limits", [{}, {"_BLOCK": 3}, {"_TOGETHER": 20}, {"_LONGEST": 8, "_TOGETHER": 16}], ids=str)
def test_results_do_not_depend_on_what_is_read_together(model, monkeypatch, limits):
    random = np.random.default_rng(0)
    texts = [" ".join(random.choice(WORDS[:4], length)) for length in (3, 1, 40, 0, 7, 8, 9, 15, 16, 17, 2, 26)]
    alone = [next(score_sentences(model, [text])) for text in texts]
    for name, value in limits.items():
        monkeypatch.setattr(sentences, name, value)
    for found, wanted in zip(score_sentences(model, iter(texts)), alone, strict=True):
        assert (found.sentence, found.tokens) == (wanted.sentence, wanted.tokens)
        np.testing.assert_allclose(
            found.token_log10_probabilities, wanted.token_log10_probabilities, rtol=1e-5, atol=1e-6
        )


def test_all_sentences_of_a_length_have_the_probability_one():
    # With a vocabulary of three tokens: the sum over all sentences of at most two words, and of those that are longer.
    words = ["a", "b", "<eos>"]
    model = LanguageModel(3, 4, (5,), batch_size=1, num_steps=2, init_scale=1.0, seed=1, tokenizer=Vocabulary(words))
    texts = ["", "a", "b", "a a", "a b", "b a", "b b"]
    scored = list(score_sentences(model, texts))
    ended = sum(10**each.log10_probability for each in scored)
    unended = sum(10 ** each.token_log10_probabilities[:2].sum() for each in scored[3:])
    ended_at_last = sum(10**each.log10_probability for each in scored[3:])
    assert ended - ended_at_last + unended == pytest.approx(1.0, abs=1e-5)


def test_subwords_are_counted_as_words():
    subwords = Subwords.train(["the cat sat", "the cat ran"] * 3, 262)
    model = LanguageModel(len(subwords), 4, (5,), batch_size=1, num_steps=2, seed=1, tokenizer=subwords)
    (scored,) = score_sentences(model, ["the dog sat"])
    assert (scored.num_words, scored.num_unknown) == (3, 0)
    assert subwords.decode(subwords.encode("the dog sat\n")) == "the dog sat\n"
    assert len(scored.tokens) == len(subwords.encode("the dog sat")) + 1
    assert scored.perplexity == pytest.approx(10 ** (-scored.log10_probability / 4))


def test_sentences_of_words_have_one_space_between_two():
    tokenizer = Subwords.characters()
    model = LanguageModel(len(tokenizer), 4, (5,), batch_size=1, num_steps=2, seed=1, tokenizer=tokenizer)
    (as_written,) = score_sentences(model, [" a  b "])
    model.tokenizer = TextFormat(tokenizer=tokenizer, of_words=True)
    (spaced, plain) = score_sentences(model, [" a  b ", "a b"])
    assert (spaced.sentence, spaced.tokens) == (" a  b ", plain.tokens)
    assert spaced.log10_probability == plain.log10_probability
    assert len(as_written.tokens) == len(plain.tokens) + 2


def test_one_long_sentence_leaves_the_others_short(model, monkeypatch):
    shapes = []

    def read(model, tokens, targets):
        shapes.append(targets.shape)
        return np.zeros(targets.shape, "float32")

    monkeypatch.setattr(sentences, "_read", read)
    list(score_sentences(model, ["a b c"] * 40 + ["a " * 999]))
    assert sorted(shapes) == [(1, 1000), (64, 8)]


def test_what_cannot_be_scored_is_named(model):
    with pytest.raises(DataError, match="sentences without line ends"):
        list(score_sentences(model, ["a\nb"]))
    with pytest.raises(DataError, match="no <eos>"):
        list(score_sentences(model_of(Vocabulary([*WORDS[:5], "e"])), ["a"]))
    with pytest.raises(UnknownWordError, match="nobody"):
        list(score_sentences(model_of(Vocabulary([*WORDS[:4], "e", "<eos>"])), ["a nobody"]))
