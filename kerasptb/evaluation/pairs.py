"""Minimal pairs: of two sentences that differ in little a linguist says which is right, and a model which is likelier.

Warstadt et al., 2020, "BLiMP: The Benchmark of Linguistic Minimal Pairs for English".
"""

import csv
import dataclasses
import io
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kerasptb.data import DataError
from kerasptb.data.sources.text_file import read_utf8
from kerasptb.evaluation.sentences import SentenceScore, score_sentences
from kerasptb.evaluation.share import Share

# Names of columns, or of BLiMP's fields, and those of `MinimalPair`.
_GOOD, _BAD = ("sentence_good", "good"), ("sentence_bad", "bad")


@dataclasses.dataclass(frozen=True)
class MinimalPair:
    """Two sentences, of which one is right, and what they belong to.

    Attributes:
        good: the right one.
        bad: the other.
        set: the name of their set.
        phenomenon: what sets like theirs are about, "" where nothing is said.
        field: of linguistics, such as morphology, "" where nothing is said.
    """

    good: str
    bad: str
    set: str
    phenomenon: str = ""
    field: str = ""


@dataclasses.dataclass(frozen=True)
class PairsAccuracy:
    """How often the good sentence of a pair is the likelier; a pair that is read as the same tokens is half right.

    Attributes:
        name: what the pairs have in common.
        num_pairs: how many there are.
        num_alike: those that are read as the same tokens, because of unknown words.
        accuracy: by the probability of the whole sentence and its end.
        by_length: by the mean log probability of a token.
    """

    name: str
    num_pairs: int
    num_alike: int
    accuracy: Share
    by_length: Share


@dataclasses.dataclass(frozen=True)
class PairsEvaluation:
    """How often the good sentence of a pair is the likelier, by what pairs have in common, in the order of the files.

    A phenomenon or a field of "" is not listed.
    """

    sets: list[PairsAccuracy]
    phenomena: list[PairsAccuracy]
    fields: list[PairsAccuracy]
    overall: PairsAccuracy


def read_pairs(path: str | os.PathLike[str]) -> list[MinimalPair]:
    """Returns the pairs of a file.

    Args:
        path: lines of JSON as BLiMP has them, or a table with commas or tabs, of which the columns are `good` and `bad`
            if the first row does not name them. Where they do not name a set (`UID`), the file does.

    Raises:
        DataError: the file is no such table.
    """
    text = read_utf8(Path(path), "table of pairs").removeprefix("\ufeff")
    rows = map(json.loads, filter(str.strip, text.split("\n"))) if text.lstrip()[:1] == "{" else _table(text)
    pairs = []
    try:
        for row in rows:
            names = (row.get("UID") or Path(path).stem, row.get("linguistics_term") or "", row.get("field") or "")
            pairs.append(MinimalPair(_sentence(row, _GOOD), _sentence(row, _BAD), *map(str, names)))
    except (AttributeError, KeyError, ValueError, csv.Error):
        raise DataError(f"Expected two sentences, good and bad. Received: row {len(pairs) + 1} of {path}") from None
    if not pairs:
        raise DataError(f"Expected pairs of sentences. {path} is empty.")
    return pairs


def _table(text: str) -> Iterator[Mapping[str, Any]]:
    """Yields the rows of a table of pairs."""
    head = text.partition("\n")[0]
    rows = csv.reader(io.StringIO(text, newline=""), delimiter="\t" if "\t" in head else ",")
    first = next(rows, [])
    is_named = not {*_GOOD}.isdisjoint(first)
    for row in rows if is_named else itertools.chain([first], rows):
        if row:
            yield dict(zip(first if is_named else ("good", "bad"), row, strict=True))


def _sentence(row: Mapping[str, Any], names: Sequence[str]) -> str:
    """Returns the sentence that a row has under one of two names."""
    long, short = names
    sentence: str = row[short] if short in row else row[long]
    return " ".join(sentence.split())


def evaluate_pairs(
    model: Any, pairs: Iterable[MinimalPair], progress: Callable[[int, int], Any] | None = None
) -> PairsEvaluation:
    """Measures how often a model finds the good sentence of a pair the likelier.

    Args:
        model: as for `score_sentences`, which reads each sentence by itself.
        pairs: `MinimalPair`s.
        progress: called now and then with the number of pairs that are done, and of all.

    Returns:
        A `PairsEvaluation`.

    Raises:
        DataError: as `score_sentences`, or there is no pair.
    """
    pairs, points = list(pairs), []
    if not pairs:
        raise DataError("Expected pairs of sentences. There are none.")
    scores = score_sentences(model, (sentence for pair in pairs for sentence in (pair.good, pair.bad)))
    for good, bad in zip(scores, scores, strict=True):  # two of one iterator
        points.append(_points(good, bad))
        if progress and (len(points) % 1000 == 0 or len(points) == len(pairs)):
            progress(len(points), len(pairs))
    sets, phenomena, fields = (
        _grouped([getattr(pair, name) for pair in pairs], points) for name in ("set", "phenomenon", "field")
    )
    return PairsEvaluation(sets, phenomena, fields, _accuracy("overall", points))


def _points(good: SentenceScore, bad: SentenceScore) -> tuple[float, float]:
    """Returns what the sentence and its mean token get: 1 if the good one is likelier, 1/2 if nothing tells them."""
    if good.tokens == bad.tokens:  # whose figures differ by rounding alone
        return 0.5, 0.5
    means = (each.log10_probability / len(each.tokens) for each in (good, bad))
    return _point(good.log10_probability, bad.log10_probability), _point(*means)


def _point(good: float, bad: float) -> float:
    return 0.5 if good == bad else float(good > bad)


def _grouped(names: Sequence[str], points: Sequence[tuple[float, float]]) -> list[PairsAccuracy]:
    groups: dict[str, list[tuple[float, float]]] = {name: [] for name in names if name}
    for name, point in zip(names, points, strict=True):
        groups.get(name, []).append(point)
    return [_accuracy(name, of_name) for name, of_name in groups.items()]


def _accuracy(name: str, points: Sequence[tuple[float, float]]) -> PairsAccuracy:
    whole, by_length = map(sum, zip(*points, strict=True))
    alike = points.count((0.5, 0.5))
    return PairsAccuracy(name, len(points), alike, Share.of(whole, len(points)), Share.of(by_length, len(points)))
