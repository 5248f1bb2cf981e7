"""Interpolated Kneser-Ney with three discounts, against its formula word by word."""

import itertools
from collections import Counter

import numpy as np
import pytest

from kerasptb.export.kneser_ney import kneser_ney

END, SIZE = 0, 12


class Reference:
    """The formula of the module's docstring, with counts in dicts."""

    def __init__(self, words, order, least):
        sentences, sentence = [], [SIZE]
        for word in words:
            sentence.append(word)
            if word == END:
                sentences.append(tuple(sentence))
                sentence = [SIZE]
        self.counts = [
            Counter(line[i : i + n] for line in sentences for i in range(n == 1, len(line) - n + 1))
            for n in range(1, order + 1)
        ]
        self.adjusted = [
            Counter(
                {
                    gram: count if n == order or gram[0] == SIZE else sum(each[1:] == gram for each in self.counts[n])
                    for gram, count in of_order.items()
                }
            )
            for n, of_order in enumerate(self.counts, 1)
        ]
        self.least = [0, *[least] * (order - 1)]
        self.discounts = [self._discounts(Counter(adjusted.values())) for adjusted in self.adjusted]

    def _discounts(self, n):
        try:
            y = n[1] / (n[1] + 2 * n[2])
            found = [i - (i + 1) * y * n[i + 1] / n[i] for i in (1, 2, 3)]
        except ZeroDivisionError:
            found = [0, 0, 0]
        return [0, *(found if all(0 < d < i for i, d in enumerate(found, 1)) else (0.5, 1, 1.5))]

    def left(self, gram):
        """Returns what is left of an n-gram's count."""
        i = len(gram) - 1
        adjusted = self.adjusted[i][gram]
        return max(adjusted - self.discounts[i][min(adjusted, 3)], 0) if self.counts[i][gram] >= self.least[i] else 0

    def backoff(self, context):
        following = [(*context, word) for word in range(SIZE)]
        total = sum(self.adjusted[len(context)][gram] for gram in following)
        return 1 - sum(map(self.left, following)) / total if total else 1

    def probability(self, context, word):
        following = [(*context, other) for other in range(SIZE)]
        total = sum(self.adjusted[len(context)][gram] for gram in following)
        lower = self.probability(context[1:], word) if context else 1 / SIZE
        return (self.left((*context, word)) / total if total else 0) + self.backoff(context) * lower


def text(sentences=60, seed=0):
    """Sentences, an empty one among them; the last word of the vocabulary is in none."""
    rng = np.random.default_rng(seed)
    lines = [rng.zipf(1.6, length) % (SIZE - 2) + 1 for length in rng.integers(0, 9, sentences)]
    return np.concatenate([np.append(line, END) for line in lines])


@pytest.mark.parametrize(("order", "least"), [(2, 1), (3, 1), (3, 2), (4, 2)])
@pytest.mark.parametrize("sentences", [2, 60])
def test_probabilities_and_backoffs_are_those_of_the_formula(order, least, sentences):
    words = text(sentences)
    reference = Reference(words.tolist(), order, least)
    orders = kneser_ney(words, END, SIZE, order, least, most=10_000)
    assert len(orders) == order
    for n, grams in enumerate(orders, 1):
        kept = {gram for gram, count in reference.counts[n - 1].items() if count >= least} if n > 1 else range(SIZE + 1)
        assert len(grams.words) == len(kept)
        for gram, probability, backoff in zip(
            map(tuple, grams.words.tolist()), grams.probabilities, grams.backoffs, strict=True
        ):
            if gram[-1] != SIZE:
                assert probability == pytest.approx(reference.probability(gram[:-1], gram[-1]), rel=1e-9), gram
            if n < order:
                assert backoff == pytest.approx(reference.backoff(gram), rel=1e-9), gram


def test_the_probabilities_of_all_words_sum_to_one():
    (ones, *_) = kneser_ney(text(), END, SIZE, 3, 2, most=10_000)
    assert ones.probabilities[:SIZE].sum() == pytest.approx(1, abs=1e-12)
    assert ones.probabilities[SIZE - 1] > 0  # a word that is in no sentence


def test_an_n_gram_is_kept_with_its_context_and_without_its_first_word():
    orders = kneser_ney(text(200), END, SIZE, 4, 2, most=40)
    kept = [set(map(tuple, grams.words.tolist())) for grams in orders]
    assert 0 < sum(map(len, kept[1:])) <= 40
    assert kept[2]
    for shorter, longer in itertools.pairwise(kept):
        assert {gram[:-1] for gram in longer} | {gram[1:] for gram in longer} <= shorter


def test_a_sentence_does_not_go_on_after_its_end():
    two = kneser_ney(text(), END, SIZE, 2, 1, most=10_000)[1].words
    assert END not in two[:, 0]
    assert SIZE not in two[:, 1]
    assert SIZE in two[:, 0]
