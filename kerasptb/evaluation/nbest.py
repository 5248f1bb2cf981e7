"""Choice among hypotheses, as of a recogniser, by a first score and a language model's.

The total of a hypothesis is `first + weight * log10 P + bonus * words`, where P is the language model's probability of
it. Weight and bonus are those with few word errors on hypotheses whose references are known.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from kerasptb.data import DataError

_MOSES = "|||"
_DIRECTIONS = 61  # 31 found as few errors on 22 random lists
_LEAST_REST = 1e-6  # of the spread of log10 P, what the numbers of words do not tell of it: less is rounding
_NARROWEST = 1e-9  # radians between two places where errors change: less is rounding


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


def _number(text: str) -> float:
    number = float(text)
    if not np.isfinite(number):
        raise ValueError
    return number


def by_utterance(hypotheses: Iterable[Hypothesis]) -> Iterator[list[Hypothesis]]:
    """Yields lists of the hypotheses of one utterance, as they come.

    Raises:
        DataError: the hypotheses of an utterance do not follow each other.
    """
    seen = set()
    for name, group in itertools.groupby(hypotheses, key=lambda hypothesis: hypothesis.utterance):
        if name in seen:
            raise DataError(
                f"Expected the hypotheses of an utterance one after the other. Received: {name!r} again, after others. "
                "Sort the lines by ID."
            )
        seen.add(name)
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

    def totals(self, scores: np.ndarray | float, log10_probabilities: np.ndarray, num_words: np.ndarray) -> np.ndarray:
        """Returns the totals of hypotheses, a float64 array of the shape that the arrays have."""
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
    """Finds weights with few word errors.

    On a line of weights the best hypothesis of an utterance changes where two totals cross, so the errors are known all
    along it (Och, 2003, "Minimum Error Rate Training in Statistical Machine Translation"). The search goes from no
    weights to the fewest errors on lines in 61 directions, and from there again, until no line has fewer. Of places
    with equally few the middle of the widest is taken, or no weights if the model does not help.

    Args:
        utterances: lists of hypotheses.
        log10_probabilities: for each, those of the language model.
        references: what was said, by utterance.

    Raises:
        DataError: as `check_references`.
    """
    check_references(utterances, references)
    said = [references[hypotheses[0].utterance].split() for hypotheses in utterances]
    lists, best = _Lists(utterances, log10_probabilities, said), Weights(0.0, 0.0)
    before = errors = lists.errors_of(best)
    fewest, middle = lists.fewest_around(best)
    while fewest < errors:
        errors, best = fewest, middle
        fewest, middle = lists.fewest_around(best)
    best = middle if errors < before else best
    return Tuning(best, lists.errors_of(best), before, sum(map(len, said)))


class _Lists:
    """Lists of hypotheses as arrays [U, N], filled up with some that are never chosen."""

    def __init__(
        self,
        utterances: Sequence[Sequence[Hypothesis]],
        log10_probabilities: Sequence[Sequence[float]],
        said: Sequence[Sequence[str]],
    ) -> None:
        texts = [[hypothesis.text.split() for hypothesis in hypotheses] for hypotheses in utterances]
        scores = [[hypothesis.score for hypothesis in hypotheses] for hypotheses in utterances]
        num_words = [list(map(len, words)) for words in texts]
        self._arrays = _filled(scores, -np.inf), _filled(log10_probabilities, 0.0), _filled(num_words, 0.0)
        self._errors = _filled(map(_errors_of_each, said, texts), 0.0).astype(int)
        score, log, words = map(_centred, (scores, log10_probabilities, num_words))
        # What one more word takes from log10 P, which a bonus makes good: the model's own say is in the rest.
        per_word = float(log @ words / (words @ words or 1.0))
        rest = log - per_word * words
        if rest.std() <= _LEAST_REST * log.std():
            rest = log
        units = [float(each.std()) or 1.0 for each in (score, rest, words)]
        angles = (np.arange(0.5, _DIRECTIONS) / _DIRECTIONS - 0.5) * np.pi
        weights = np.cos(angles) * units[0] / units[1]
        bonuses = np.sin(angles) * units[0] / units[2] * words.any() - per_word * weights
        self._steps = list(map(Weights, weights.tolist(), bonuses.tolist()))

    def errors_of(self, weights: Weights) -> int:
        best = weights.totals(*self._arrays).argmax(axis=1)
        return int(self._errors[np.arange(len(best)), best].sum())

    def fewest_around(self, start: Weights) -> tuple[int, Weights]:
        """Returns the fewest errors on lines through some weights, and the middle of the widest place that has them."""
        errors, _, middle = min((self._fewest(start, step) for step in self._steps), key=lambda found: found[:2])
        return errors, middle

    def _fewest(self, start: Weights, step: Weights) -> tuple[int, float, Weights]:
        """Returns those of weights `start + length * step` of at least 0, minus the width of their place, its middle.

        Lengths are angles here, by their tangents, so that what is beyond the last crossing has a middle too.
        """
        slopes = step.totals(0.0, *self._arrays[1:])
        lengths, errors = _crossings(start.totals(*self._arrays), slopes, self._errors, -start.weight / step.weight)
        angles = np.append(np.arctan(lengths), np.pi / 2)
        widths = np.diff(angles)
        fewest = int(errors[widths > _NARROWEST].min())
        place = np.where(errors == fewest, widths, 0.0).argmax()
        length = float(np.tan(angles[place : place + 2].mean()))
        middle = Weights(start.weight + length * step.weight, start.bonus + length * step.bonus)
        return fewest, -widths[place], middle


def _crossings(
    totals: np.ndarray, slopes: np.ndarray, errors: np.ndarray, least: float
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the lengths, `least` first, from which the chosen hypotheses make other errors, and the errors, [K] each.

    Args:
        totals: float64 [U, N], at length 0.
        slopes: float64 [U, N], by which they grow with the length.
        errors: int [U, N].
        least: the length to begin with.
    """
    chosen = (totals + least * slopes).argmax(axis=1)
    at, rows = np.full(len(chosen), least), np.arange(len(chosen))
    lengths, changes = [[least]], [[errors[rows, chosen].sum()]]
    while len(rows):
        rise = slopes - slopes[rows, chosen, np.newaxis]
        with np.errstate(divide="ignore", invalid="ignore"):
            crossings = np.where(rise > 0, (totals[rows, chosen, np.newaxis] - totals) / rise, np.inf)
        nearest = crossings.min(axis=1)
        left = np.flatnonzero(nearest < np.inf)
        steepest = np.where(crossings == nearest[:, np.newaxis], slopes, -np.inf).argmax(axis=1)[left]
        at = np.maximum(nearest[left], at[left])  # rounding may find it a little before the last
        lengths.append(at)
        changes.append(errors[left, steepest] - errors[left, chosen[left]])
        totals, slopes, errors, chosen, rows = totals[left], slopes[left], errors[left], steepest, rows[: len(left)]
    order = np.argsort(np.concatenate(lengths), kind="stable")
    summed = np.cumsum(np.concatenate(changes)[order])
    other = np.append(True, np.diff(summed) != 0)
    return np.concatenate(lengths)[order][other], summed[other]


def _filled(lists: Iterable[Sequence[float] | np.ndarray], value: float) -> np.ndarray:
    """Returns lists as the rows of an array, filled up with a value."""
    lists = list(lists)
    array = np.full((len(lists), max(map(len, lists))), value)
    for row, values in zip(array, lists, strict=True):
        row[: len(values)] = values
    return array


def _centred(lists: Iterable[Sequence[float]]) -> np.ndarray:
    return np.concatenate([np.array(values) - np.mean(values) for values in lists])


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
    if not any(references[hypotheses[0].utterance].split() for hypotheses in utterances):
        raise DataError("Expected references, ID<TAB>text, with words. Received: none with a word")


def word_errors(reference: Sequence[str], words: Sequence[str]) -> int:
    """Returns the fewest words to insert, delete or replace that make one text of the other (Levenshtein, 1966)."""
    return int(_errors_of_each(reference, [words])[0])


def _errors_of_each(reference: Sequence[str], texts: Sequence[Sequence[str]]) -> np.ndarray:
    """Returns the `word_errors` of N texts, int [N], computed together."""
    ids, lengths = {word: i for i, word in enumerate(reference)}, np.array([len(words) for words in texts])
    heard = np.full((len(texts), lengths.max()), -1)
    for row, words in zip(heard, texts, strict=True):
        row[: len(words)] = [ids.get(word, -1) for word in words]
    inserted = np.arange(heard.shape[1] + 1)
    errors = np.tile(inserted, (len(texts), 1))  # of each beginning of a text, against one of the reference
    for word in reference:
        replaced = errors[:, :-1] + (heard != ids[word])
        errors = errors + 1
        errors[:, 1:] = np.minimum(errors[:, 1:], replaced)
        errors = np.minimum.accumulate(errors - inserted, axis=1) + inserted
    return errors[np.arange(len(texts)), lengths]
