"""Choice among hypotheses, as of a recogniser, by a first score and a language model's.

The total of a hypothesis is `first + weight * log10 P + bonus * words`, where P is the language model's probability of
it. Weight and bonus are those with the fewest word errors on hypotheses whose references are known.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from kerasptb.data import DataError

_MOSES = "|||"
# Tried in the first round: weights in units of the ratio of the first score's deviation to the model's; bonuses in
# units of the first score's deviation.
_WEIGHTS = (0.0, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 3.5, 5.0, 10.0)
_BONUSES = (-2.0, -1.0, -0.5, -0.25, -0.1, 0.0, 0.1, 0.25, 0.5, 1.0, 2.0)
_ROUNDS = 4  # of finer steps around the best


@dataclasses.dataclass(frozen=True)
class Hypothesis:
    """A line of an n-best list.

    Attributes:
        utterance: the name of what it is a hypothesis of.
        text: the hypothesis.
        score: its first score, a logarithm of any base; 0 if there is none.
        features: in a line of Moses' form, what stands between text and score.
    """

    utterance: str
    text: str
    score: float = 0.0
    features: str | None = None

    @classmethod
    def from_line(cls, line: str) -> Hypothesis:
        """Reads `ID<TAB>text`, `ID<TAB>text<TAB>score`, or Moses' `ID ||| text ||| features ||| score`.

        Raises:
            DataError: it is neither.
        """
        is_moses = _MOSES in line
        parts = [part.strip() for part in line.split(_MOSES if is_moses else "\t")]
        try:
            if is_moses:
                utterance, text, features, score = parts
                return cls(utterance, text, _number(score), features)
            utterance, text, score = parts if len(parts) == 3 else (*parts, "0")
            return cls(utterance, text, _number(score))
        except ValueError:
            raise DataError(
                "Expected ID<TAB>text, ID<TAB>text<TAB>score, or ID ||| text ||| features ||| score. "
                f"Received: {line[:80]!r}"
            ) from None

    def to_line(self, total: float) -> str:
        """Returns the line, in the form that it had, with a total in place of the score."""
        if self.features is not None:
            return f" {_MOSES} ".join([self.utterance, self.text, self.features, f"{total:.6f}"])
        return f"{self.utterance}\t{self.text}\t{total:.6f}"


def _number(text):
    number = float(text)
    if not np.isfinite(number):
        raise ValueError
    return number


def by_utterance(hypotheses: Iterable[Hypothesis]) -> Iterator[list[Hypothesis]]:
    """Yields lists of the hypotheses that follow each other and are of one utterance."""
    for _, group in itertools.groupby(hypotheses, key=lambda hypothesis: hypothesis.utterance):
        yield list(group)


@dataclasses.dataclass(frozen=True)
class Weights:
    """How much the language model counts.

    Attributes:
        weight: factor of log10 P.
        bonus: for each word.
    """

    weight: float = 1.0
    bonus: float = 0.0

    def totals(self, scores: np.ndarray, log10_probabilities: np.ndarray, num_words: np.ndarray) -> np.ndarray:
        """Returns the totals of hypotheses, float64 [N], from arrays [N]."""
        return scores + self.weight * log10_probabilities + self.bonus * num_words


@dataclasses.dataclass(frozen=True)
class Tuning:
    """What `tune_weights` found.

    Attributes:
        weights: the `Weights`.
        errors: word errors of the chosen hypotheses.
        errors_before: those of the hypotheses with the best first score.
        num_words: words of the references.
    """

    weights: Weights
    errors: int
    errors_before: int
    num_words: int


def tune_weights(
    utterances: Sequence[Sequence[Hypothesis]],
    log10_probabilities: Sequence[Sequence[float]],
    references: Mapping[str, str],
) -> Tuning:
    """Finds the weights with the fewest word errors.

    A grid, in units of the scores' deviations within an utterance, and then finer steps around the best. Of weights
    with equally many errors those in the middle are taken, or none if the model does not help.

    Args:
        utterances: lists of hypotheses.
        log10_probabilities: for each, those of the language model.
        references: what was said, by utterance.

    Raises:
        DataError: as `check_references`.
    """
    check_references(utterances, references)
    rows = []
    for hypotheses, logs in zip(utterances, log10_probabilities, strict=True):
        name = hypotheses[0].utterance
        words = [hypothesis.text.split() for hypothesis in hypotheses]
        errors = np.array([word_errors(references[name].split(), each) for each in words])
        scores = np.array([hypothesis.score for hypothesis in hypotheses])
        rows.append((scores, np.array(logs, "float64"), np.array(list(map(len, words))), errors))

    def errors_of(weights):
        return sum(int(errors[weights.totals(*arrays).argmax()]) for *arrays, errors in rows)

    def deviation(values):
        return float(np.sqrt(np.mean([np.var(each) for each in values]))) or 1.0

    of_score, of_model = deviation([row[0] for row in rows]), deviation([row[1] for row in rows])
    weights = [factor * of_score / of_model for factor in _WEIGHTS]
    bonuses = [factor * of_score for factor in _BONUSES]
    tried: dict[Weights, int] = {}
    step = 0.5
    for _ in range(_ROUNDS):
        for pair in itertools.product(weights, bonuses):
            if (each := Weights(*pair)) not in tried:
                tried[each] = errors_of(each)
        best = _middle([each for each in tried if tried[each] == min(tried.values())])
        weights = [max(best.weight + sign * step * of_score / of_model, 0.0) for sign in (-1, 0, 1)]
        bonuses = [best.bonus + sign * step * of_score for sign in (-1, 0, 1)]
        step /= 2
    num_words = sum(len(references[hypotheses[0].utterance].split()) for hypotheses in utterances)
    return Tuning(best, tried[best], tried[Weights(0.0, 0.0)], num_words)


def _middle(equals):
    """Returns the weights that lie in the middle of others, which small changes of the texts move least."""
    if Weights(0.0, 0.0) in equals:
        return Weights(0.0, 0.0)
    points = np.array([[each.weight, each.bonus] for each in equals])
    spread = points.std(axis=0)
    distances = np.abs((points - np.median(points, axis=0)) / np.where(spread > 0, spread, 1)).sum(axis=1)
    return equals[int(distances.argmin())]


def check_references(utterances: Sequence[Sequence[Hypothesis]], references: Mapping[str, str]) -> None:
    """Raises a `DataError` if there is no hypothesis, or no reference of an utterance.

    Args:
        utterances: lists of hypotheses.
        references: what was said, by utterance.
    """
    if not utterances:
        raise DataError("Expected hypotheses to tune with. Received: none")
    for hypotheses in utterances:
        if (name := hypotheses[0].utterance) not in references:
            raise DataError(f"Expected a reference for each utterance. There is none for {name!r}.")


def word_errors(reference: Sequence[str], words: Sequence[str]) -> int:
    """Returns the fewest words to insert, delete or replace that make one text of the other (Levenshtein, 1966)."""
    row = list(range(len(words) + 1))
    for i, expected in enumerate(reference, start=1):
        diagonal, row[0] = row[0], i
        for j, word in enumerate(words, start=1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (word != expected))
    return row[-1]
