"""Probabilities of words after the words before them, from the counts of a text.

Interpolated Kneser-Ney smoothing with three discounts an order, which is Chen and Goodman's modification (1999, "An
empirical study of smoothing techniques for language modeling"). After a context h, which is h' without its first word:

    p(w | h) = max(a(h w) - D, 0) / A(h) + backoff(h) p(w | h')

a(h w) says how often the n-gram comes, of the highest order and of those that begin a sentence; of others, after how
many different words. A(h) is the sum of a(h w) over all w. D is D_1, D_2 or D_3 where a is 1, 2, or 3 and more, which
are estimated for each order from how many n-grams have a = 1, 2, 3 and 4. Below the shortest context all words are
alike. Of an n-gram that is not kept D is all of a. What is taken away is the backoff's, so the probabilities of all
words sum to one.
"""

from __future__ import annotations

import dataclasses

import numpy as np

# Where a text is too short to estimate them, those of KenLM.
_DISCOUNTS = (0.5, 1.0, 1.5)


@dataclasses.dataclass(frozen=True, eq=False)
class NGrams:
    """The n-grams of one order.

    Attributes:
        words: int [M, n].
        probabilities: float64 [M], of the last word after those before it.
        backoffs: float64 [M], of these words as a context; 1 where nothing that is kept follows.
    """

    words: np.ndarray
    probabilities: np.ndarray
    backoffs: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class _Counted:
    """All n-grams of one order; their contexts and suffixes are indices of those of the order below."""

    words: np.ndarray
    contexts: np.ndarray
    suffixes: np.ndarray
    counts: np.ndarray


def kneser_ney(words: np.ndarray, end: int, size: int, order: int, least: int, most: int) -> list[NGrams]:
    """Returns the n-grams of a text: those of one word, of two, and so on.

    Args:
        words: int [N], the words of sentences, each with its end.
        end: the word that ends a sentence.
        size: number of words V; the word V begins each sentence, and nothing predicts it.
        order: the most words of an n-gram, at least 2.
        least: how often an n-gram of several words comes at least that is kept. All single words are.
        most: the most n-grams of several words that are kept: those that come more often.
    """
    orders = _count(_with_begins(words, end, size), size, order)
    least = max(least, _least_of(np.concatenate([counted.counts for counted in orders[1:]]), most))
    kept = [np.ones(size + 1, bool), *(counted.counts >= least for counted in orders[1:])]
    adjusted = [*map(_num_before, orders, orders[1:]), orders[-1].counts]
    probabilities, backoffs = [np.array([1 / size])], []
    for counted, counts, of_kept in zip(orders, adjusted, kept, strict=True):
        backoff, probability = _estimate(counted, counts, of_kept, probabilities[-1])
        probabilities.append(probability)
        backoffs.append(backoff)
    backoffs.append(np.ones(len(kept[-1])))
    found = zip(orders, kept, probabilities[1:], backoffs[1:], strict=True)
    return [NGrams(counted.words[i], probability[i], backoff[i]) for counted, i, probability, backoff in found]


def _estimate(
    counted: _Counted, counts: np.ndarray, kept: np.ndarray, lower: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the backoffs of contexts, and the probabilities of n-grams, from those of an order below."""
    left = np.where(kept, counts - _discounts(counts)[np.minimum(counts, 3)], 0)
    of_all, of_left = (np.bincount(counted.contexts, each, len(lower)) for each in (counts, left))
    backoffs = 1 - of_left / np.maximum(of_all, 1)
    return backoffs, left / of_all[counted.contexts] + backoffs[counted.contexts] * lower[counted.suffixes]


def _with_begins(words: np.ndarray, end: int, size: int) -> np.ndarray:
    """Returns the words of sentences that begin with the word V."""
    return np.insert(words.astype(np.int64), np.append(0, np.flatnonzero(words[:-1] == end) + 1), size)


def _count(text: np.ndarray, size: int, order: int) -> list[_Counted]:
    """Returns the n-grams of each order within the sentences of a text."""
    places, alone, of_words = np.arange(len(text)), np.arange(size + 1), np.bincount(text, minlength=size + 1)
    since = places - np.maximum.accumulate(np.where(text == size, places, 0))
    of_words[size] = 0  # it is only ever a context
    orders = [_Counted(alone[:, np.newaxis], np.zeros_like(alone), np.zeros_like(alone), of_words)]
    indices = text  # of the n-grams that end at each place
    for n in range(1, order):
        last = np.flatnonzero(since >= n)
        keys = indices[last - 1] * (size + 1) + text[last]
        keys, first, inverse, counts = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
        contexts, words = np.divmod(keys, size + 1)
        words = np.column_stack([orders[-1].words[contexts], words])
        orders.append(_Counted(words, contexts, indices[last[first]], counts))
        indices = np.zeros_like(text)
        indices[last] = inverse
    return orders


def _num_before(counted: _Counted, longer: _Counted) -> np.ndarray:
    """Returns after how many different words n-grams come; of those that begin a sentence, how often they come."""
    before = np.bincount(longer.suffixes, minlength=len(counted.counts))
    return np.where(before, before, counted.counts)


def _discounts(counts: np.ndarray) -> np.ndarray:
    """Returns what is taken from a count of 0, 1, 2, and 3 or more, float64 [4]."""
    of_counts = np.bincount(counts, minlength=5)[1:5]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = of_counts[0] / (of_counts[0] + 2 * of_counts[1])
        discounts = np.arange(1, 4) - np.arange(2, 5) * share * of_counts[1:] / of_counts[:-1]
        fits = np.all((discounts > 0) & (discounts < np.arange(1, 4)))
    return np.append(0, discounts if fits else _DISCOUNTS)


def _least_of(counts: np.ndarray, most: int) -> int:
    """Returns how often n-grams must come so that no more than `most` are kept."""
    return 1 + np.partition(counts, -most - 1)[-most - 1] if len(counts) > most else 0
