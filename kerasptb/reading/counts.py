"""What followed each context of a text, and distributions of tokens that are refined by it.

A context is the last k tokens, k up to `DEPTH`. With p a distribution of the next token, and for each k at which the
context has been seen, from the lowest on, C followers, D of them different, c(w) of them w:

    p(w) <- (1 - lambda) max(c(w) - d, 0) / (C - d D) + lambda p(w),   d = 0.8, or 0.5 where C = 1
    lambda = sigmoid(a[k, floor log2 C, floor 8 D / C] + b[k, longest k])

Counts of lower orders are interpolated with those of higher ones as by Jelinek and Mercer (1980, "Interpolated
estimation of Markov source parameters from sparse data"); the weights a and b are learned. Several k with the same
followers are one, with the highest k. The followers of a context that came more than 128 times are counted once for
each context that is longer by one, as in Kneser-Ney smoothing (1995, "Improved backing-off for m-gram language
modeling"). If p sums to one, so does the result.

The positions of a text, sorted by the tokens before them, the nearest first, hold all orders in four bytes a token: the
positions after a context are an interval. The native library walks it (`native/src/counts/`). KenLM and its like hold
the probability of one token after another; here those of all are asked for, of texts that grow.
"""

from __future__ import annotations

import bisect
import functools
import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from kerasptb.native import count_calls as native
from kerasptb.native import status

DEPTH = 16
SIZES, SHARES = 12, 9
_OF_COUNTS = (DEPTH + 1) * SIZES * SHARES
NUM_WEIGHTS = _OF_COUNTS + (DEPTH + 1) ** 2
# What an order knows of one token: the places of its weights, and its probability.
PART = np.dtype([("of_counts", "int32"), ("of_orders", "int32"), ("probability", "float32")])
_MANY = 128  # followers of a context, of which more are counted as above
_KEPT = 1 << 19  # tokens of a text that grows; it is cut to them when it has twice as many
_OF_UNIGRAMS = 1 << 22  # tokens that are sorted for them: a second
_OF_LONGEST = 0.15  # what texts of 0.2 to 7 million tokens learned, about
_STEEPEST, _LEAST = 20.0, 1e-300


def initial_weights() -> np.ndarray:
    """Returns the weights before any are learned: 0.88 of the lower orders is kept, less if a long context matches."""
    of_orders = np.diag(-_OF_LONGEST * np.arange(DEPTH + 1))
    return np.concatenate([np.full(_OF_COUNTS, 2.0), of_orders.ravel()]).astype("float32")


def sort_positions(tokens: np.ndarray, vocabulary_size: int) -> np.ndarray:
    """Returns the positions of tokens, int32 [N], sorted by the tokens before them, the nearest first, int32 [N]."""
    if status().available:
        return native.sort(tokens, vocabulary_size)
    padded = np.concatenate([np.full(DEPTH, -1), tokens])
    return np.lexsort([padded[DEPTH - j : len(padded) - j] for j in range(DEPTH, 0, -1)]).astype("int32")


def log_unigrams(tokens: np.ndarray, vocabulary_size: int) -> np.ndarray:
    """Returns log probabilities of all V tokens by after how many others each came in a text, int32 [N], float32 [V].

    It is where the counts begin without a network (Kneser and Ney, 1995), with one more for each token. Of a long text
    its end will do.
    """
    tokens = tokens[-_OF_UNIGRAMS:]
    pairs = np.unique(tokens[:-1].astype("int64") * vocabulary_size + tokens[1:])
    numbers = np.bincount(pairs % vocabulary_size, minlength=vocabulary_size) + 1.0
    return np.log(numbers / numbers.sum()).astype("float32")


def open_counts(tokens: np.ndarray | None = None, order: np.ndarray | None = None) -> NumpyCounts | native.NativeCounts:
    """Returns the counts of a text, int32 [N], in the order of `sort_positions`; or of one that is appended to it."""
    return (native.NativeCounts if status().available else NumpyCounts)(tokens, order)


def find_parts(
    counts: NumpyCounts | native.NativeCounts, context: np.ndarray, tokens: np.ndarray, append: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Returns what the orders know of tokens.

    Args:
        counts: what `open_counts` returns.
        context: int32 [T - 1 + DEPTH], the tokens before each; -1 where there is none.
        tokens: int32 [T].
        append: whether each is appended to the text of the counts before the next.

    Returns:
        parts: `PART` [T, DEPTH], of each token those of the highest order first.
        numbers: int8 [T], how many there are.
    """
    parts, numbers = np.zeros((len(tokens), DEPTH), PART), np.zeros(len(tokens), "int8")
    counts.find_parts(context, tokens, parts, numbers, append)
    return parts, numbers


def mix_parts(
    weights: np.ndarray, rate: float, parts: np.ndarray, numbers: np.ndarray, log_probabilities: np.ndarray
) -> None:
    """Refines the log probabilities of tokens, float32 [T], by their parts, in place.

    After each token the weights go a step of `rate` along the gradient of its log probability.
    """
    if status().available:
        native.mix_parts(weights, rate, parts, numbers, log_probabilities)
        return
    for i, number in enumerate(numbers):
        log_probabilities[i] = _mix_one(weights, rate, parts[i, :number], log_probabilities[i])


def kept_shares(weights: np.ndarray, parts: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Returns the shares of distributions in what they are refined to, float64 [T]: the products of lambda.

    The parts are those of any tokens after the same contexts, as `find_parts` returns them.
    """
    kept = 1 / (1 + np.exp(-(weights[parts["of_counts"]] + weights[parts["of_orders"]]), dtype="float64"))
    return np.where(np.arange(DEPTH) < numbers[:, np.newaxis], kept, 1.0).prod(axis=1)


def _mix_one(weights: np.ndarray, rate: float, parts: np.ndarray, log_probability: float) -> float:
    """Returns the log probability of one token, refined, and lets the weights go a step."""
    p, below, kept = math.exp(log_probability), list[float](), list[float]()
    for part in parts[::-1]:
        below.insert(0, p)
        kept.insert(0, _kept(weights, part["of_counts"], part["of_orders"]))
        p = (1 - kept[0]) * float(part["probability"]) + kept[0] * p
    p = max(p, _LEAST)
    slope = 1 / p
    for part, lower, share in zip(parts, below, kept, strict=True) if rate else ():
        by_share = min(max(slope * (lower - float(part["probability"])), -_STEEPEST), _STEEPEST)
        weights[[part["of_counts"], part["of_orders"]]] += np.float32(rate * by_share * share * (1 - share))
        slope *= share
    return math.log(p)


def _kept(weights: np.ndarray, of_counts: int, of_orders: int) -> float:
    return 1 / (1 + math.exp(-float(weights[of_counts] + weights[of_orders])))


class NumpyCounts:
    """The counts of a text, where there is no native library; its arguments as `open_counts` takes them."""

    def __init__(self, tokens: np.ndarray | None = None, order: np.ndarray | None = None) -> None:
        self._tokens: Any = [] if tokens is None else tokens
        self._order: Any = [] if order is None else order
        # A text that grows has other followers after each token.
        self._many = functools.lru_cache(10_000)(self._followers_of_many) if tokens is not None else None

    def append(self, tokens: np.ndarray) -> None:
        """Adds tokens, int32 [T]."""
        for token in tokens.tolist():
            if len(self._tokens) == 2 * _KEPT:
                kept, self._tokens, self._order = self._tokens[-_KEPT:], [], []
                self.append(np.array(kept, "int32"))
            before = [self._before(len(self._tokens), j) for j in range(1, DEPTH + 1)]
            place = bisect.bisect_left(
                self._order, before, key=lambda position: [self._before(position, j) for j in range(1, DEPTH + 1)]
            )
            self._order.insert(place, len(self._tokens))
            self._tokens.append(token)

    def mix(self, weights: np.ndarray, histories: np.ndarray, log_probabilities: np.ndarray) -> None:
        """Refines log probabilities, float32 [N, V], after histories, int32 [N, DEPTH], in place."""
        for history, row in zip(histories, log_probabilities, strict=True):
            added, left = np.zeros(len(row)), 1.0
            for order, longest, followers in self._orders(history):
                kept = _kept(weights, *_places(order, longest, followers))
                for token in followers:
                    added[token] += left * (1 - kept) * _probability(followers, token)
                left *= kept
            if left < 1:
                row[:] = np.log(np.maximum(added + left * np.exp(row, dtype="float64"), _LEAST))

    def find_parts(
        self, context: np.ndarray, tokens: np.ndarray, parts: np.ndarray, numbers: np.ndarray, append: bool = False
    ) -> None:
        """Writes what `find_parts` returns."""
        for i, token in enumerate(tokens.tolist()):
            orders = list(self._orders(context[i : i + DEPTH]))
            for j, (order, longest, followers) in enumerate(orders):
                parts[i, j] = (*_places(order, longest, followers), _probability(followers, token))
            numbers[i] = len(orders)
            if append:
                self.append(tokens[i : i + 1])

    def _orders(self, history: np.ndarray) -> Iterator[tuple[int, int, Counter]]:
        """Yields each order at which a context has been seen, the longest one, and its followers, the highest first."""
        begin, end, intervals = 0, len(self._order), []
        for order in range(1, DEPTH + 1):
            token = history[-order]
            bounds = range(begin, end)
            key = functools.partial(self._token_before, order)
            begin = bounds.start + bisect.bisect_left(bounds, token, key=key)
            end = bounds.start + bisect.bisect_right(bounds, token, key=key)
            if begin == end or token < 0:
                break
            intervals.append((order, begin, end))
        for i, (order, begin, end) in reversed(list(enumerate(intervals))):
            if end - begin > _MANY:
                yield order, len(intervals), (self._many or self._followers_of_many)(order, begin, end)
            elif i + 1 == len(intervals) or intervals[i + 1][1:] != (begin, end):
                yield order, len(intervals), Counter(int(self._tokens[p]) for p in self._order[begin:end])

    def _followers_of_many(self, order: int, begin: int, end: int) -> Counter[int]:
        """Returns the followers of a context, each counted once for a context that is longer by one."""
        longer = order + 1 if order < DEPTH else None
        seen = {
            (self._before(position, longer) if longer else position, int(self._tokens[position]))
            for position in map(int, self._order[begin:end])
        }
        return Counter(token for _, token in seen)

    def _token_before(self, order: int, i: int) -> int:
        return self._before(int(self._order[i]), order)

    def _before(self, position: int, j: int) -> int:
        return int(self._tokens[position - j]) if position >= j else -1


def _places(order: int, longest: int, followers: Counter[int]) -> tuple[int, int]:
    """Returns the places of the weights of an order."""
    total = followers.total()
    size = min(total.bit_length() - 1, SIZES - 1)
    return (order * SIZES + size) * SHARES + 8 * len(followers) // total, _OF_COUNTS + order * (DEPTH + 1) + longest


def _probability(followers: Counter[int], token: int) -> float:
    total = followers.total()
    discount = 0.5 if total == 1 else 0.8
    return max(followers[token] - discount, 0.0) / (total - discount * len(followers))
