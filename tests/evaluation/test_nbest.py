import itertools

import numpy as np
import pytest

from kerasptb.data import DataError
from kerasptb.evaluation import Hypothesis, Weights, tune_weights, word_errors
from kerasptb.evaluation.nbest import _crossings, _Lists, by_utterance


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
    groups = by_utterance(Hypothesis(name, str(i)) for i, name in enumerate("aabca"))
    assert [[each.text for each in next(groups)] for _ in range(3)] == [["0", "1"], ["2"], ["3"]]
    with pytest.raises(DataError, match=r"one after the other\. Received: 'a' again, after others"):
        next(groups)


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


def random_lists(seed, num_utterances=40, most=15):
    """Lists in which score and model both prefer fewer errors, and the model fewer words."""
    random = np.random.default_rng(seed)
    utterances, logs, references = [], [], {}
    for name in map(str, range(num_utterances)):
        said = random.integers(0, 50, random.integers(4, 12)).tolist()
        references[name] = " ".join(map(str, said))
        hypotheses, of_model = [], []
        for _ in range(random.integers(1, most + 1)):
            kept = [word for word in said if random.random() > 0.15]
            heard = kept + random.integers(0, 50, random.integers(0, 3)).tolist()
            errors = word_errors(said, heard)
            hypotheses.append(Hypothesis(name, " ".join(map(str, heard)), float(random.normal(-errors, 3))))
            of_model.append(float(random.normal(-2.5 * len(heard) - errors, 1.5)))
        utterances.append(hypotheses)
        logs.append(of_model)
    return utterances, logs, references


def errors_by_weights(utterances, logs, references):
    """Returns a function of weights: the word errors that they make, by the words of whom is chosen."""
    rows = []
    for hypotheses, values in zip(utterances, logs, strict=True):
        heard = [each.text.split() for each in hypotheses]
        said = references[hypotheses[0].utterance].split()
        arrays = [each.score for each in hypotheses], values, list(map(len, heard))
        rows.append((*map(np.array, arrays), [word_errors(said, words) for words in heard]))
    return lambda weights: sum(errors[weights.totals(*arrays).argmax()] for *arrays, errors in rows)


@pytest.mark.parametrize("seed", [0, 3])
def test_a_fine_grid_has_no_fewer_errors(seed):
    lists = random_lists(seed)
    tuning, errors_of = tune_weights(*lists), errors_by_weights(*lists)
    assert tuning.errors == errors_of(tuning.weights)
    assert tuning.errors_before == errors_of(Weights(0.0, 0.0))
    grid = [Weights(weight, bonus) for weight in np.linspace(0, 8, 41) for bonus in np.linspace(-4, 24, 57)]
    assert tuning.errors <= min(map(errors_of, grid)) < tuning.errors_before


@pytest.mark.parametrize("seed", range(8))
def test_of_two_hypotheses_the_better_one_is_found(seed):
    """Their log10 P is a function of their numbers of words, but for rounding."""
    random = np.random.default_rng(seed)
    logs = [[-2.5565731972208465 + 1e-9 * random.standard_normal(), -5.340361413280763]]
    utterances = [[Hypothesis("u1", "one two", -3.0), Hypothesis("u1", "one two three four one", -1.0)]]
    found = tune_weights(utterances, logs, {"u1": "one two"})
    assert (found.errors, found.errors_before) == (0, 3)
    assert 0 < found.weights.weight < 100
    assert abs(found.weights.bonus) < 100


def test_on_a_line_errors_are_known_everywhere():
    utterances, logs, references = random_lists(5)
    lists = _Lists(utterances, logs, [references[hypotheses[0].utterance].split() for hypotheses in utterances])
    errors_of = errors_by_weights(utterances, logs, references)
    for start, step, least in (((0, 0), (1, 2.5), 0.0), ((0.7, 1.5), (0.2, -1), -3.5)):
        base = Weights(*start).totals(*lists._arrays)
        lengths, errors = _crossings(base, Weights(*step).totals(0.0, *lists._arrays[1:]), lists._errors, least)
        assert len(lengths) > 20
        for length in np.linspace(least + 1e-3, 6, 500):
            weights = Weights(start[0] + length * step[0], start[1] + length * step[1])
            known = errors[np.searchsorted(lengths, length, side="right") - 1]
            assert known == errors_of(weights)


def test_the_middle_of_what_is_equally_good_is_taken():
    # Only from a weight of 1 to one of 3 the right hypothesis is chosen; words are as many in each.
    utterances = [[Hypothesis("u", "a b", 0.0), Hypothesis("u", "a c", -1.0), Hypothesis("u", "b c", -4.0)]]
    weights = tune_weights(utterances, [[-3.0, -2.0, -1.0]], {"u": "a c"}).weights
    assert weights.bonus == 0
    assert 1.5 < weights.weight < 2.5


def test_where_the_model_does_not_help_it_is_left_out():
    utterances = [[Hypothesis("u", "a b", -1.0), Hypothesis("u", "a c", -2.0)]]
    tuning = tune_weights(utterances, [[-5.0, -1.0]], {"u": "a b"})
    assert (tuning.weights, tuning.errors) == (Weights(0.0, 0.0), 0)
    with pytest.raises(DataError, match="none for 'u'"):
        tune_weights(utterances, [[-5.0, -1.0]], {"v": "a b"})
    with pytest.raises(DataError, match="Received: none"):
        tune_weights([], [], {})
    with pytest.raises(DataError, match=r"with words\. Received: none with a word"):
        tune_weights(utterances, [[-5.0, -1.0]], {"u": " "})
