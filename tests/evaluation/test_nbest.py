import itertools

import numpy as np
import pytest

from kerasptb.data import DataError
from kerasptb.evaluation import Hypothesis, Weights, by_utterance, tune_weights, word_errors


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("u1\tthe cat", Hypothesis("u1", "the cat")),
        ("u1\tthe cat\t-12.5", Hypothesis("u1", "the cat", -12.5)),
        ("3 ||| the cat ||| LM= -4 TM= -2 1 ||| -8.25", Hypothesis("3", "the cat", -8.25, "LM= -4 TM= -2 1")),
        ("u1\t\t-3", Hypothesis("u1", "", -3.0)),
    ],
)
def test_lines_come_back_with_the_total(line, expected):
    hypothesis = Hypothesis.from_line(line)
    assert hypothesis == expected
    again = Hypothesis.from_line(hypothesis.to_line(-1.5))
    assert (again.utterance, again.text, again.features, again.score) == (
        expected.utterance,
        expected.text,
        expected.features,
        -1.5,
    )


@pytest.mark.parametrize("line", ["the cat", "u\tthe cat\tgood", "u\ta\t1\t2", "1 ||| the cat", "u\ta\tnan"])
def test_other_lines_are_named(line):
    with pytest.raises(DataError, match="Expected ID<TAB>text"):
        Hypothesis.from_line(line)


def test_hypotheses_are_grouped_as_they_come():
    hypotheses = [Hypothesis(name, str(i)) for i, name in enumerate("aabca")]
    assert [[each.text for each in group] for group in by_utterance(iter(hypotheses))] == [
        ["0", "1"],
        ["2"],
        ["3"],
        ["4"],
    ]


def test_word_errors_are_the_fewest_edits():
    def by_search(reference, words):
        """All ways to keep words in order, by brute force."""
        best = len(reference) + len(words)
        for size in range(min(len(reference), len(words)) + 1):
            for kept in itertools.combinations(range(len(reference)), size):
                for found in itertools.combinations(range(len(words)), size):
                    # Between the pairs that are aligned, as many as possible replace each other: none here, so that
                    # the aligned ones may differ.
                    wrong = sum(reference[i] != words[j] for i, j in zip(kept, found, strict=True))
                    best = min(best, wrong + len(reference) + len(words) - 2 * size)
        return best

    random = np.random.default_rng(0)
    for _ in range(60):
        reference, words = (random.choice(list("abc"), random.integers(0, 5)).tolist() for _ in range(2))
        assert word_errors(reference, words) == by_search(reference, words)


def test_weights_that_make_the_fewest_errors_are_found():
    # The first score prefers the long, wrong hypothesis by 2; the model the right one by 1, and a short one even more.
    utterances = [
        [
            Hypothesis(f"u{i}", "the cat sat down", -10.0),
            Hypothesis(f"u{i}", "the cat sat", -12.0),
            Hypothesis(f"u{i}", "cat", -13.0),
        ]
        for i in range(4)
    ]
    logs = [[-9.0, -6.0, -2.9]] * 4
    references = {f"u{i}": "the cat sat" for i in range(4)}
    tuning = tune_weights(utterances, logs, references)
    assert (tuning.errors, tuning.errors_before, tuning.num_words) == (0, 4, 12)
    weights = tuning.weights
    for hypotheses, values in zip(utterances, logs, strict=True):
        totals = weights.totals(np.array([each.score for each in hypotheses]), np.array(values), np.array([4, 3, 1]))
        assert totals.argmax() == 1
        assert totals[0] == pytest.approx(-10 - 9 * weights.weight + 4 * weights.bonus)


def test_where_the_model_does_not_help_it_is_left_out():
    utterances = [[Hypothesis("u", "a b", -1.0), Hypothesis("u", "a c", -2.0)]]
    tuning = tune_weights(utterances, [[-5.0, -1.0]], {"u": "a b"})
    assert (tuning.weights, tuning.errors) == (Weights(0.0, 0.0), 0)
    with pytest.raises(DataError, match="none for 'u'"):
        tune_weights(utterances, [[-5.0, -1.0]], {"v": "a b"})
    with pytest.raises(DataError, match="Received: none"):
        tune_weights([], [], {})
