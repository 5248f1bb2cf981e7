"""A network with the counts of a text: one distribution, however a text is read, and that of the formula."""

import collections
import dataclasses
import itertools
import math
import threading

import numpy as np
import pytest
from small_readers import WORDS, ConstantNetwork

from kerasptb.evaluation import score_sentences
from kerasptb.evaluation.counted_perplexity import evaluate_counts
from kerasptb.keyboard import evaluate_keyboard
from kerasptb.native import loader
from kerasptb.reading import Reader, counted_reader, counts, generate, suggest
from kerasptb.reading.context import Context
from kerasptb.reading.counted_reader import CountedReader, learn_weights
from kerasptb.reading.reader import open_reader

SIZE = len(WORDS.split())
TEXT = "the cat sat on the mat\nthe the a brown fox cat sat on"


def by_hand(reader, ids):
    """The log probabilities after ids, of the network's and all that followed their ends in the counted text."""
    text, history = reader._text_counts.tokens.tolist(), list(map(int, ids))
    weights = reader._text_counts.weights.astype("float64")
    p = np.exp(reader.alone.read(_zero(reader.alone), np.array(ids, "int32")).log_probabilities.astype("float64"))
    places, k = {}, 1
    while k <= min(16, len(history)) and (
        found := [i for i in range(k, len(text)) if text[i - k : i] == history[len(history) - k :]]
    ):
        places[k], k = found, k + 1
    for k, found in places.items():
        if len(found) > 128:
            longer = {(text[i - k - 1] if k < 16 and i > k else -1, text[i]) for i in found}
            followers = collections.Counter(token for _, token in longer)
        elif found == places.get(k + 1):
            continue
        else:
            followers = collections.Counter(text[i] for i in found)
        total, distinct = followers.total(), len(followers)
        size = min(int(math.log2(total)), 11)
        logit = weights[(k * 12 + size) * 9 + 8 * distinct // total] + weights[17 * 12 * 9 + k * 17 + max(places)]
        kept, d = 1 / (1 + math.exp(-logit)), 0.5 if total == 1 else 0.8
        p *= kept
        for token, count in followers.items():
            p[token] += (1 - kept) * (count - d) / (total - d * distinct)
    return np.log(p)


def _zero(reader):
    return Context(np.zeros(reader.state_size, "float32"), None)


def _ids(reader, text=TEXT):
    return np.array(reader.tokenizer.encode_typed(text), "int32")


def test_the_distribution_is_that_of_the_formula_and_far_from_the_networks(counted):
    ids = _ids(counted)
    for end in range(1, len(ids) + 1):
        context = counted.read(_zero(counted), ids[:end])
        np.testing.assert_allclose(context.log_probabilities, by_hand(counted, ids[:end]), atol=1e-4)
        assert np.exp(context.log_probabilities, dtype="float64").sum() == pytest.approx(1, abs=1e-5)
    alone = counted.alone.read(_zero(counted.alone), ids).log_probabilities
    assert np.abs(context.log_probabilities - alone).max() > 1


def test_however_a_text_is_read_the_next_token_has_the_same_distribution(counted):
    ids, start = _ids(counted)[1:], counted.begin()
    whole = counted.read(start, ids)
    token_by_token = start
    for token in ids:
        (token_by_token,) = counted.extend([token_by_token], [token])
    in_pieces = counted.read(counted.read(start, ids[:7]), ids[7:])
    others = [
        counted.read_together([(start, ids[:3]), (start, ids), (start, ids[:0])])[1],
        *counted.resume([whole.state]),
    ]
    for context in (token_by_token, in_pieces, counted.read_typed(TEXT), *others):
        np.testing.assert_allclose(context.log_probabilities, whole.log_probabilities, atol=1e-5)
        np.testing.assert_allclose(context.state, whole.state, atol=1e-5)
    np.testing.assert_array_equal(whole.state[-counts.DEPTH :], _ids(counted)[-counts.DEPTH :] + 1)


def test_scores_are_those_of_one_token_after_the_other(counted, monkeypatch):
    monkeypatch.setattr("kerasptb.reading.reader._SCORED_TOGETHER", 4)
    ids, context, expected = _ids(counted)[1:], counted.begin(), []
    for token in ids:
        expected.append(context.log_probabilities[token])
        (context,) = counted.extend([context], [token])
    np.testing.assert_allclose(counted.score(counted.begin(), ids), expected, atol=1e-5)
    pieces = list(counted.score_in_pieces(counted.begin(), ids))
    assert [*map(len, pieces)] == [1, 4, 4, 4, len(ids) - 13]
    assert math.isnan(counted.score(_zero(counted), ids)[0])
    assert counted.score(counted.begin(), ids[:0]).shape == (0,)
    (static,) = (with_counts for _, with_counts, _ in counted.score_going_on(_ids(counted)))
    np.testing.assert_allclose(static, expected, atol=1e-5)


def test_suggestions_samples_and_scores_of_sentences_are_those_of_the_distribution(counted):
    context = counted.read_typed("the cat sat on the")
    best = np.argsort(-context.log_probabilities)
    shown = suggest(counted, "the cat sat on the", 3)
    assert shown[0].word == counted.tokenizer.tokens[best[0]] == "mat"
    assert shown[0].probability == pytest.approx(math.exp(context.log_probabilities.max()), rel=1e-5)
    assert generate(counted, "the cat sat", 3, temperature=0) == ["on", "the", "mat"]
    (scored,) = score_sentences(counted, ["the cat sat on the mat"])
    ids = np.append(_ids(counted, "the cat sat on the mat")[1:], counted.tokenizer.eos_id)
    np.testing.assert_allclose(
        np.array(scored.token_log10_probabilities) * math.log(10), counted.score(counted.begin(), ids), atol=1e-5
    )
    network = counted.alone
    assert suggest(network, "the cat sat on the", 1)[0].word != "mat"
    ids = np.tile(_ids(counted, "the cat sat on the mat\n"), 3)
    saved = [evaluate_keyboard(each, ids).keystroke_savings for each in (counted, network)]
    assert saved[0] > saved[1] + 0.2


def test_counts_change_the_fingerprint(counted, reader):
    text = counted._text_counts
    other = CountedReader(reader, dataclasses.replace(text, weights=text.weights + 1))
    same = CountedReader(reader, dataclasses.replace(text, tokens=text.tokens.copy(), alone=text.alone.copy()))
    assert counted.fingerprint == same.fingerprint
    assert len({counted.fingerprint, other.fingerprint, reader.fingerprint}) == 3


def test_counts_alone_are_a_distribution_without_the_network(counted):
    """That of the formula, over how many others each token came after."""
    text, V, ids = counted._text_counts.tokens.tolist(), SIZE, _ids(counted)[:9]
    after = [{a for a, b in itertools.pairwise(text) if b == token} for token in range(V)]
    base = np.array([len(each) + 1.0 for each in after])
    np.testing.assert_allclose(np.exp(counts.log_unigrams(np.array(text, "int32"), V)), base / base.sum(), rtol=1e-5)
    rows = np.tile(ids, (V, 1)).astype("int32")
    targets = np.repeat(np.arange(V)[:, np.newaxis], len(ids), axis=1).astype("int32")
    found = counted.of_counts(rows, targets, np.zeros((V, counted.state_size), "float32"))
    np.testing.assert_allclose(np.exp(found, dtype="float64").sum(axis=0), 1, rtol=1e-5)
    alone = dataclasses.replace(counted._text_counts, weights=counted._text_counts.alone)
    network = ConstantNetwork(np.log(base / base.sum()).astype("float32"))
    by_hand = CountedReader(Reader(network, counted.text_format), alone)
    for i in range(len(ids)):
        zero = Context(np.zeros(by_hand.state_size, "float32"), None)
        np.testing.assert_allclose(by_hand.read(zero, ids[: i + 1]).log_probabilities, found[:, i], atol=1e-4)


def test_a_model_and_its_export_read_alike_with_counts(counted, model):
    of_model = CountedReader(open_reader(model), counted._text_counts)
    contexts = [each.read_typed(TEXT) for each in (of_model, counted)]
    np.testing.assert_allclose(*(each.log_probabilities for each in contexts), atol=1e-4)
    found = [evaluate_counts(each, _ids(counted)) for each in (of_model, counted)]
    for here, there in zip(*found, strict=True):
        assert here.perplexity == pytest.approx(there.perplexity, rel=1e-4)


def test_without_the_library_all_is_the_same(counted, native_library, monkeypatch):
    ids, network = np.tile(_ids(counted), 3), counted.alone
    results = []
    for native in True, False:
        monkeypatch.setattr(counts, "status", lambda native=native: loader.Status(native, "", None))
        text = counted._text_counts
        made, means = learn_weights(network, text.tokens, counts.sort_positions(text.tokens, SIZE), ids)
        reader = CountedReader(network, made)
        assert type(reader._counts).__name__ == ("NativeCounts" if native else "NumpyCounts")
        going_on = [values for *_, values in reader.score_going_on(ids)]
        results.append(
            [means, made.weights, made.going_on, made.alone, reader.read_typed(TEXT).log_probabilities, *going_on]
        )
    for here, there in zip(*results, strict=True):
        np.testing.assert_allclose(here, there, atol=2e-4)


def test_counts_that_go_on_never_look_ahead(counted, monkeypatch):
    monkeypatch.setattr(counted_reader, "_TOGETHER", 10)
    ids = np.tile(_ids(counted), 3)
    changed = ids.copy()
    changed[-7:] = (changed[-7:] + 5) % SIZE
    results = []
    for tokens in ids, changed:
        scored = np.vstack([np.stack(piece, axis=1) for piece in counted.score_going_on(tokens)])
        results.append(np.hstack([scored, np.vstack(list(counted.describe_going_on(tokens)))]))
    here, there = results
    np.testing.assert_array_equal(here[:-7], there[:-7])
    assert (here[-7:, [0, 1, 2, 3]] != there[-7:, [0, 1, 2, 3]]).all()
    np.testing.assert_allclose(here[:, 2], here[:, 3], atol=1e-5)  # of one token and of all


@pytest.mark.parametrize("length", [2, 1023, 1024, 1025, 1026, 2049])
def test_pieces_of_a_text_are_the_whole(counted, monkeypatch, length):
    ids = np.resize(np.append(_ids(counted), np.random.default_rng(1).integers(0, SIZE, 300)), length).astype("int32")
    results = []
    for together in 1024, 5000:
        monkeypatch.setattr(counted_reader, "_TOGETHER", together)
        pieces = list(counted.score_going_on(ids))
        assert len(pieces) == math.ceil((length - 1) / together)
        results.append(np.concatenate([np.stack(piece) for piece in pieces], axis=1))
    assert results[0].shape == (3, length - 1)
    np.testing.assert_allclose(*results, atol=1e-5)


def test_a_text_with_gaps_in_memory_is_read(counted):
    apart, ids = np.repeat(_ids(counted), 2)[::2], _ids(counted)
    assert not apart.flags.c_contiguous
    assert evaluate_counts(counted, apart) == evaluate_counts(counted, ids)
    np.testing.assert_array_equal(*(counted.score(counted.begin(), each) for each in (apart, ids)))
    np.testing.assert_array_equal(*(np.vstack(list(counted.describe_going_on(each))) for each in (apart, ids)))


def test_threads_share_counts(counted, native_library):
    ids, random = counted._text_counts.tokens, np.random.default_rng(0)
    histories = np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(ids, counts.DEPTH))
    rows = np.log(random.dirichlet(np.ones(SIZE), len(histories))).astype("float32")
    expected, found = rows.copy(), [rows.copy() for _ in range(4)]
    weights = counted._text_counts.weights
    counted._counts.mix(weights, histories, expected)
    parts = counts.find_parts(counted._counts, ids[:-1], ids[counts.DEPTH :])

    def work(of_thread):
        for _ in range(5):
            of_thread[:] = rows
            counted._counts.mix(weights, histories, of_thread)
            for here, there in zip(
                counts.find_parts(counted._counts, ids[:-1], ids[counts.DEPTH :]), parts, strict=True
            ):
                np.testing.assert_array_equal(here, there)

    threads = [threading.Thread(target=work, args=(each,)) for each in found]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    for each in found:
        np.testing.assert_array_equal(each, expected)


@pytest.mark.parametrize("tokens", [[], [3], [3] * 100_000])
def test_odd_texts_are_counted(reader, tokens):
    text = np.array(tokens, "int32")
    counted, means = learn_weights(reader, text, counts.sort_positions(text, SIZE), _ids(reader))
    assert np.isfinite(means).all()
    assert np.isfinite([counted.weights, counted.going_on, counted.alone]).all()
    after = CountedReader(reader, counted).read(_zero_of(reader), np.full(20, 3, "int32")).log_probabilities
    assert np.exp(after, dtype="float64").sum() == pytest.approx(1, abs=1e-5)
    alone = reader.read(_zero(reader), np.full(20, 3, "int32")).log_probabilities
    assert (after[3] > alone[3]) == (len(tokens) > 1)
    if len(tokens) <= 1:  # nothing follows anything
        np.testing.assert_array_equal(after, alone)


def _zero_of(network):
    return Context(np.zeros(network.state_size + counts.DEPTH, "float32"), None)
