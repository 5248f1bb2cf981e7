"""Counts of a text: the native library and NumPy against each other and against counts made by hand."""

import collections

import numpy as np
import pytest

from kerasptb.native import count_calls as native
from kerasptb.native import loader
from kerasptb.reading import counts


@pytest.fixture
def numpy_alone(monkeypatch):
    monkeypatch.setattr(counts, "status", lambda: loader.Status(False, "", None))


def _text(size=3000, vocabulary=12, seed=0):
    """Tokens that repeat: some follow almost anything, some a long way of others."""
    random = np.random.default_rng(seed)
    text = random.geometric(0.3, size).clip(max=vocabulary) - 1
    for _ in range(20):
        start, end, length = *random.integers(0, size - 60, 2), random.integers(5, 50)
        text[end : end + length] = text[start : start + length]
    return text.astype("int32")


def _weights(seed=1):
    random = np.random.default_rng(seed)
    return (counts.initial_weights() + random.normal(0, 1, counts.NUM_WEIGHTS)).astype("float32")


def _histories(text):
    padded = np.concatenate([np.full(counts.DEPTH, -1, "int32"), text])
    return np.lib.stride_tricks.sliding_window_view(padded, counts.DEPTH)[: len(text)]


def _both(tokens=None):
    order = None if tokens is None else counts.sort_positions(tokens, 12)
    return native.NativeCounts(tokens, order), counts.NumpyCounts(tokens, order)


def test_sizes_are_those_of_the_library(native_library):
    assert loader.function("kerasptb_counts_depth")() == counts.DEPTH
    assert loader.function("kerasptb_counts_weights")() == counts.NUM_WEIGHTS


def test_positions_are_sorted_by_the_tokens_before_them(native_library, numpy_alone):
    text = _text()
    order = native.sort(text, 12)
    np.testing.assert_array_equal(order, counts.sort_positions(text, 12))
    keys = [tuple(history[::-1]) for history in _histories(text)[order]]
    assert keys == sorted(keys)


def test_orders_count_what_followed():
    """A text of 10 tokens, whose counts are in the comments."""
    text = np.array([1, 2, 3, 1, 2, 4, 1, 2, 3, 5], "int32")
    found = counts.NumpyCounts(text, np.lexsort([_histories(text)[:, -j] for j in range(counts.DEPTH, 0, -1)]))
    history = np.full(counts.DEPTH, -1, "int32")
    history[-3:] = 9, 1, 2
    # After "1 2", and after "2", which is the same: 3, 4, 3.
    context = [history]
    parts, numbers = np.zeros((1, counts.DEPTH), counts.PART), np.zeros(1, "int8")
    found.find_parts(context[0], np.array([3], "int32"), parts, numbers)
    assert numbers[0] == 1
    assert parts[0, 0]["probability"] == pytest.approx((2 - 0.8) / (3 - 2 * 0.8))
    assert parts[0, 0]["of_counts"] == (2 * counts.SIZES + 1) * counts.SHARES + 8 * 2 // 3
    history[-3:] = 3, 1, 2  # once, then 4; and after "1 2"
    found.find_parts(history, np.array([4], "int32"), parts, numbers)
    assert numbers[0] == 2
    assert parts[0]["probability"][:2] == pytest.approx([1.0, (1 - 0.8) / (3 - 2 * 0.8)])


def test_a_context_that_came_often_counts_longer_ones_once():
    """After 0 comes 1 or 2 two hundred times; 1 always after the same longer context, 2 after ten."""
    random = np.random.default_rng(0)
    pairs = [(3, 0, 1) if random.random() < 0.5 else (3 + random.integers(10), 0, 2) for _ in range(200)]
    text = np.array(pairs, "int32").ravel()
    found = counts.NumpyCounts(text, counts.sort_positions(text, 13))
    followers = {order: counter for order, _, counter in found._orders(np.array([-1] * 15 + [0], "int32"))}
    assert followers[1] == {1: 1, 2: 10}


@pytest.mark.parametrize("appended", [False, True])
def test_native_counts_are_those_of_numpy(native_library, appended):
    text, other = _text(), _text(700, seed=2)
    of_library, of_numpy = _both(None if appended else text)
    for found in of_library, of_numpy:
        if appended:
            found.append(text)
    context, results = np.concatenate([text[-counts.DEPTH :], other[:-1]]), []
    for found in of_library, of_numpy:
        results.append(counts.find_parts(found, context, other, append=appended))
    np.testing.assert_array_equal(results[0][1], results[1][1])
    assert results[0][1].max() > 3
    for name in counts.PART.names:
        np.testing.assert_allclose(results[0][0][name], results[1][0][name], rtol=1e-6)


def test_mixtures_are_those_of_numpy_and_sum_to_one(native_library):
    text, weights = _text(), _weights()
    random = np.random.default_rng(3)
    logits = random.normal(0, 2, (len(text[:300]), 12))
    rows = (logits - np.log(np.exp(logits).sum(1, keepdims=True))).astype("float32")
    histories, mixed = np.ascontiguousarray(_histories(_text(seed=4))[:300]), []
    for found in _both(text):
        mixed.append(rows.copy())
        found.mix(weights, histories, mixed[-1])
    np.testing.assert_allclose(mixed[0], mixed[1], atol=2e-6)
    np.testing.assert_allclose(np.exp(mixed[0], dtype="float64").sum(axis=1), 1, atol=1e-5)
    assert np.abs(mixed[0] - rows).max() > 1


def test_one_token_has_the_probability_that_it_has_among_all(native_library):
    text, weights, other = _text(), _weights(), _text(300, seed=4)
    found = counts.open_counts(text, counts.sort_positions(text, 12))
    rows = np.full((300, 12), -np.log(12), "float32")
    found.mix(weights, np.ascontiguousarray(_histories(other)), rows)
    context = np.concatenate([np.full(counts.DEPTH, -1, "int32"), other[:-1]])
    values = np.full(300, -np.log(12), "float32")
    counts.mix_parts(weights, 0.0, *counts.find_parts(found, context, other), values)
    np.testing.assert_allclose(values, rows[np.arange(300), other], atol=1e-6)


def test_weights_learn_as_numpy_does_and_by_the_gradient(native_library, monkeypatch):
    text, other = _text(), _text(400, seed=5)
    found = counts.open_counts(text, counts.sort_positions(text, 12))
    context = np.concatenate([np.full(counts.DEPTH, -1, "int32"), other[:-1]])
    parts = counts.find_parts(found, context, other)
    results = []
    for available in True, False:
        monkeypatch.setattr(counts, "status", lambda available=available: loader.Status(available, "", None))
        weights, values = _weights(), np.full(400, -np.log(12), "float32")
        counts.mix_parts(weights, 0.02, *parts, values)
        results.append((weights, values))
    np.testing.assert_allclose(results[0][0], results[1][0], atol=1e-5)
    np.testing.assert_allclose(results[0][1], results[1][1], atol=1e-5)
    # One token's step is along the numeric derivative of its log probability.
    i = int(np.argmax(parts[1]))
    one = parts[0][i : i + 1], parts[1][i : i + 1]

    def value(weights):
        log = np.full(1, -np.log(12), "float32")
        counts.mix_parts(weights, 0.0, *one, log)
        return float(log[0])

    stepped = _weights()
    counts.mix_parts(stepped, 1e-2, *one, np.full(1, -np.log(12), "float32"))
    for place in {*one[0]["of_counts"][0, : one[1][0]].tolist()}:
        up, down = _weights(), _weights()
        up[place] += 1e-2
        down[place] -= 1e-2
        slope = (value(up) - value(down)) / 2e-2
        assert (stepped - _weights())[place] == pytest.approx(1e-2 * slope, abs=2e-5)


def test_one_token_again_and_again(native_library):
    text = np.zeros(100_000, "int32")
    found = counts.open_counts(text, counts.sort_positions(text, 2))
    growing = counts.open_counts()
    context = np.zeros(counts.DEPTH - 1 + 1000, "int32")
    tokens = np.zeros(1000, "int32")
    growing.append(text)
    for each in found, growing:
        parts, numbers = counts.find_parts(each, context, tokens)
        assert set(numbers) == {counts.DEPTH}
        np.testing.assert_allclose(parts["probability"], 1)


def test_a_long_text_that_grows_is_cut(native_library, monkeypatch):
    monkeypatch.setattr(counts, "_KEPT", 50)
    found = counts.NumpyCounts()
    found.append(np.arange(120, dtype="int32"))
    assert found._tokens == [*range(50, 120)]
    assert collections.Counter(found._order) == collections.Counter(range(70))
