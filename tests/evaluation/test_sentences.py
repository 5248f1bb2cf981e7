import math
import re

import numpy as np
import pytest

from kerasptb.data import DataError, Subwords, UnknownWordError, Vocabulary
from kerasptb.data.text_format import TextFormat
from kerasptb.evaluation import score_document, score_sentences, sentences
from kerasptb.models import LanguageModel
from kerasptb.reading import counted_reader, counts
from kerasptb.reading.counted_reader import CountedReader, CountedText
from kerasptb.reading.reader import open_reader

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

    def read(model, tokens, targets, entropy):
        shapes.append(targets.shape)
        return np.zeros((*targets.shape, 1), "float32")

    monkeypatch.setattr(sentences, "_read", read)
    list(score_sentences(model, ["a b c"] * 40 + ["a " * 999]))
    assert sorted(shapes) == [(1, 1000), (40, 4)]


def test_what_cannot_be_scored_is_named(model):
    with pytest.raises(DataError, match="sentences without line ends"):
        list(score_sentences(model, ["a\nb"]))
    with pytest.raises(DataError, match="no <eos>"):
        list(score_sentences(model_of(Vocabulary([*WORDS[:5], "e"])), ["a"]))
    with pytest.raises(UnknownWordError, match="nobody"):
        list(score_sentences(model_of(Vocabulary([*WORDS[:4], "e", "<eos>"])), ["a nobody"]))


@pytest.fixture(scope="module")
def counted(model):
    """A reader of the model with the counts of a text, and weights far from even."""
    random = np.random.default_rng(0)
    tokens = np.concatenate([np.tile([5, 0, 1, 2, 3], 5), random.integers(0, 6, 40)]).astype("int32")
    weights = (counts.initial_weights() + random.normal(-2, 1, (3, counts.NUM_WEIGHTS))).astype("float32")
    return CountedReader(open_reader(model), CountedText(tokens, counts.sort_positions(tokens, 6), *weights))


def check_figures(scored, rows, ids):
    """Compares what is said of tokens with the log probabilities of all before each, natural logarithms, [T, V]."""
    rows = np.asarray(rows, "float64")
    np.testing.assert_allclose(np.exp(rows).sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(scored.surprisals, -rows[np.arange(len(ids)), ids] / np.log(2), rtol=1e-4)
    np.testing.assert_allclose(scored.entropies, -(np.exp(rows) * np.log2(np.exp(rows))).sum(axis=1), rtol=1e-4)
    assert scored.surprisals.sum() == pytest.approx(-scored.log10_probability / math.log10(2))


@pytest.mark.parametrize("with_counts", [False, True])
def test_surprisal_and_entropy_are_those_of_the_whole_distributions(model, counted, with_counts, monkeypatch):
    monkeypatch.setattr(sentences, "_ROWS", 7)  # and what is read together does not matter
    reader = counted if with_counts else open_reader(model)
    found = list(score_sentences(reader, ["b", "d a b c b b a b c d a", ""], entropy=True))
    plain = list(score_sentences(reader, ["b", "d a b c b b a b c d a", ""]))
    for scored, alone, ids in zip(found, plain, ([1, 5], [3, 0, 1, 2, 1, 1, 0, 1, 2, 3, 0, 5], [5]), strict=True):
        contexts = [reader.begin()]
        for token in ids[:-1]:
            contexts += reader.extend(contexts[-1:], [token])
        check_figures(scored, [context.log_probabilities for context in contexts], ids)
        np.testing.assert_array_equal(scored.token_log10_probabilities, alone.token_log10_probabilities)
        assert alone.entropies is alone.count_shares is None
        if not with_counts:
            assert not scored.count_shares.any()


def share_by_hand(found, history, weights):
    """The share of counts after the tokens of a history: what no order that has seen its end leaves to the network."""
    padded, left = np.array([-1] * counts.DEPTH + history, "int32")[-counts.DEPTH :], 1.0
    for order, longest, followers in found._orders(padded):
        total, distinct = sum(followers.values()), len(followers)
        size = (order * counts.SIZES + int(math.log2(total))) * counts.SHARES + 8 * distinct // total
        logit = weights[size] + weights[17 * counts.SIZES * counts.SHARES + order * 17 + longest]
        left /= 1 + math.exp(-logit)
    return 1 - left


def test_the_share_of_counts_is_what_the_weights_do_not_leave_to_the_network(counted):
    (scored,) = score_sentences(counted, ["b c d b b a"], entropy=True)
    text = counted._text_counts
    found = counts.NumpyCounts(text.tokens, text.order)
    history = [5, 1, 2, 3, 1, 1, 0]
    expected = [share_by_hand(found, history[: i + 1], text.weights) for i in range(len(history))]
    np.testing.assert_allclose(scored.count_shares, expected, rtol=1e-5)
    assert 0.1 < min(expected) < max(expected) < 1


def test_a_document_is_read_from_its_beginning_to_its_end(model, monkeypatch):
    monkeypatch.setattr(sentences, "_LONGEST", 4)  # and in pieces
    text = "a b\n\nb nobody\nc"
    ids = [5, 0, 1, 5, 5, 1, 4, 5, 2, 5]
    for entropy in False, True:
        scored = list(score_document(model, text, entropy))
        logs = np.concatenate([each.token_log10_probabilities for each in scored])
        np.testing.assert_allclose(logs, expected(model, ids[1:]), rtol=2e-5)
    assert [each.sentence for each in scored] == ["a b", "", "b nobody", "c"]
    assert [each.tokens for each in scored][1:3] == [("<eos>",), ("b", "<unk>", "<eos>")]
    reader, contexts = open_reader(model), []
    for i in range(1, len(ids)):
        contexts.append(reader.read_together([(reader.begin(), np.array(ids[1:i], "int32"))])[0])
    check_figures(scored[3], [context.log_probabilities for context in contexts[7:]], [2, 5])
    assert len(list(score_document(model, "a\n\n"))) == 2
    assert list(score_document(model, "")) == []


def test_the_counts_of_a_document_go_on_while_it_is_read(counted, monkeypatch):
    monkeypatch.setattr(counted_reader, "_TOGETHER", 5)
    text = "b d d b d\nd b d d b"
    ids = [5, 1, 3, 3, 1, 3, 5, 3, 1, 3, 3, 1, 5]
    scored = list(score_document(counted, text, entropy=True))
    plain = list(score_document(counted, text))
    last = lambda tokens: [each[-1] for *_, each in counted.score_going_on(np.array(tokens, "int32"))][-1]  # noqa: E731
    rows = [[last([*ids[:i], token]) for token in range(6)] for i in range(1, len(ids))]
    check_figures(scored[0], rows[:6], ids[1:7])
    check_figures(scored[1], rows[6:], ids[7:])
    for with_entropies, without in zip(scored, plain, strict=True):
        np.testing.assert_allclose(
            with_entropies.token_log10_probabilities, without.token_log10_probabilities, rtol=1e-5
        )


def test_the_share_of_counts_that_go_on_is_that_of_both(counted, monkeypatch):
    monkeypatch.setattr(counted_reader, "_GOING_ON", 0.0)  # the weights stay
    text, read, ids = counted._text_counts, counts.NumpyCounts(), [5, 1, 3, 3, 1, 3, 5]
    found, shares = counts.NumpyCounts(text.tokens, text.order), []
    for i, token in enumerate(ids[:-1], start=1):
        read.append(np.array([token], "int32"))
        of_both = share_by_hand(found, ids[:i], text.weights), share_by_hand(read, ids[:i], text.going_on)
        shares.append(1 - (1 - of_both[0]) * (1 - of_both[1]))
    (scored,) = score_document(counted, "b d d b d", entropy=True)
    np.testing.assert_allclose(scored.count_shares, shares, rtol=1e-5)
    assert of_both[1] > 0.1


def test_words_are_sums_of_their_tokens():
    subwords = Subwords.train(["the cat sat", "the cat ran"] * 3, 262)
    model = LanguageModel(len(subwords), 4, (5,), batch_size=1, num_steps=2, init_scale=1.0, seed=1, tokenizer=subwords)
    (scored,) = score_sentences(model, ["the  d\u00f6gs\u2003sat, a"], entropy=True)
    tokens, words = scored.by_token(), scored.by_word()
    assert [word["word"] for word in words] == ["the", "d\u00f6gs", "sat,", "a", "<eos>"]
    assert [word["word_number"] for word in words] == [1, 2, 3, 4, 5]
    for word in words:
        of_word = [token for token in tokens if token["word_number"] == word["word_number"]]
        written = "".join(token["token"] for token in of_word)
        whole = re.sub(r"(\\x..)+", lambda found: bytes.fromhex(found[0].replace("\\x", "")).decode(), written)
        assert whole.strip() == word["word"]
        for name in "log10_probability", "surprisal":
            assert word[name] == pytest.approx(math.fsum(token[name] for token in of_word))
        assert (word["entropy"], word["counts"]) == (of_word[0]["entropy"], 0)
    assert len(tokens) == len(scored.tokens) > 10
    assert math.fsum(word["surprisal"] for word in words) == pytest.approx(-scored.log10_probability / math.log10(2))


def test_words_that_are_unknown_are_named_and_an_end_among_them_is_read_with_the_next(model):
    first, other = score_sentences(model, ["a nobody", "a <eos> b"], entropy=True)
    assert [(row["token"], row["word"]) for row in first.by_token()] == [
        ("a", "a"),
        ("<unk>", "nobody"),
        ("<eos>", "<eos>"),
    ]
    assert [row["word"] for row in other.by_token()] == ["a", "b", "b", "<eos>"]
    with pytest.raises(ValueError, match="entropy=True"):
        next(score_sentences(model, "a")).by_word()


def test_the_lines_of_a_document_are_joined_as_those_of_a_training_text():
    prose = (
        "The lines of a text that is wrapped end where the next\nword would have crossed the margin, as here.\n\nOne.\n"
    )
    tokenizer = Subwords.characters()
    model = LanguageModel(256, 4, (5,), batch_size=1, num_steps=2, seed=1, tokenizer=tokenizer)
    joined = list(score_document(model, prose))
    assert [each.sentence for each in joined] == [" ".join(prose.split("\n")[:2]), "One."]
    model.tokenizer = TextFormat(tokenizer=tokenizer, keep_lines=True)
    assert [each.sentence for each in score_document(model, prose)] == [line for line in prose.split("\n") if line]


def test_the_surprisal_of_a_word_is_that_it_comes_and_ends_after_one_that_has_ended():
    subwords = Subwords.train(["the cat sat", "the cat ran"] * 3, 262)
    model = LanguageModel(len(subwords), 4, (5,), batch_size=1, num_steps=2, init_scale=1.0, seed=1, tokenizer=subwords)
    (scored,) = score_sentences(model, ["the cats, sat"], entropy=True)
    reader, ids = open_reader(model), subwords.encode("the cats, sat")
    spaces = [re.match(rb"[\s\x1c-\x1f]", piece) is not None for piece in subwords.pieces]
    contexts = [reader.read_together([(reader.begin(), ids[:i])])[0] for i in range(len(ids) + 1)]
    ended = [float(np.exp(context.log_probabilities[spaces], dtype="float64").sum()) for context in contexts]
    np.testing.assert_allclose(10**scored.end_log10_probabilities, ended, rtol=1e-4)
    begins = np.flatnonzero([subwords.pieces[i][:1] == b" " for i in ids]).tolist()
    words, begins = scored.by_word(), [*begins, len(ids)]
    assert len(words) == len(begins) == 4
    for word, first, last in zip(words, begins, begins[1:], strict=False):
        change = math.log2(ended[first]) - math.log2(ended[last])
        assert word["word_surprisal"] == pytest.approx(word["surprisal"] + change, rel=1e-4)
        assert abs(word["word_surprisal"] - word["surprisal"]) > 0.01
    assert words[-1]["word_surprisal"] == pytest.approx(words[-1]["surprisal"] + math.log2(ended[-1]), rel=1e-4)
    total = math.fsum(word["word_surprisal"] for word in words)
    assert total == pytest.approx(-scored.log10_probability / math.log10(2) + math.log2(ended[0]), rel=1e-5)


def test_a_first_word_without_a_space_is_given_nothing():
    tokenizer = Subwords.characters()
    model = LanguageModel(
        len(tokenizer), 4, (5,), batch_size=1, num_steps=2, init_scale=1.0, seed=1, tokenizer=tokenizer
    )
    (scored, empty) = score_sentences(model, ["ab c", ""], entropy=True)
    total = math.fsum(word["word_surprisal"] for word in scored.by_word())
    assert total == pytest.approx(-scored.log10_probability / math.log10(2))
    assert [word["word_surprisal"] for word in empty.by_word()] == pytest.approx(empty.surprisals.tolist())


def test_a_word_that_is_a_token_ends_at_once(model):
    (scored,) = score_sentences(model, ["b nobody a"], entropy=True)
    for word in scored.by_word():
        assert word["word_surprisal"] == pytest.approx(word["surprisal"], abs=1e-5)


def test_network_and_counts_stand_beside_both(model, counted):
    ids, texts = np.array([[5, 1, 3, 3]], "int32"), ["b d d", "c"]
    both, alone = (next(score_sentences(each, texts, entropy=True)) for each in (counted, model))
    np.testing.assert_array_equal(both.network_log10_probabilities, alone.token_log10_probabilities)
    np.testing.assert_array_equal(alone.network_log10_probabilities, alone.token_log10_probabilities)
    of_counts = counted.of_counts(ids, np.array([[1, 3, 3, 5]]), np.zeros((1, counted.state_size), "float32"))
    np.testing.assert_allclose(both.counts_log10_probabilities, of_counts[0] / math.log(10), rtol=1e-6)
    assert all(row["counts_surprisal"] is None for row in alone.by_word())
    for rows in both.by_token(), both.by_word():
        np.testing.assert_allclose([row["counts_surprisal"] for row in rows], -of_counts[0] / math.log(2), rtol=1e-6)
    (document,) = score_document(counted, "b d d", entropy=True)
    for name in "network_log10_probabilities", "counts_log10_probabilities":
        np.testing.assert_allclose(getattr(document, name), getattr(both, name), rtol=1e-5)
