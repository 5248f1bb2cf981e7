"""Best-first searches for words: what they have in common, and what runs them.

In each round the model reads the likeliest beginnings of words, all at once. No word is likelier than its beginning, so
that a search ends when none that waits is likelier than the k-th word. It is a generator that asks its caller for the
contexts after pieces, so that it does not matter how the caller reads.
"""

import abc
import dataclasses
import heapq
import itertools
import math
from collections.abc import Callable, Collection, Container, Generator, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from kerasptb.reading.context import Beginning, Context
from kerasptb.reading.pieces import WordPieces, word_of

T = TypeVar("T")
Name = TypeVar("Name")
# A search of a T: it asks for the contexts after beginnings of words, and is sent them.
Searching = Generator[list[Beginning], list[Context], T]


@dataclasses.dataclass(frozen=True)
class Pace:
    """Shares of the k-th word's probability: of what a round is for, of what is read in it; and its number of rows."""

    round: float
    row: float
    width: Callable[[int], int]


@dataclasses.dataclass(frozen=True)
class NextWords:
    """What a search found.

    Attributes:
        words: pairs of a word and its probability, the likeliest first. The end of a paragraph is `<eos>`.
        prefix_probability: that the next word begins with the prefix. Words that were left out do not count.
    """

    words: list[tuple[str, float]]
    prefix_probability: float


class Search(abc.ABC):
    """The words that a search has found, and the beginnings that wait to be read: what all searches have in common."""

    least_share: float  # of the probability of all that was found, below which nothing is looked for
    pace: Pace

    def __init__(
        self, pieces: WordPieces, k: int, exclude: Collection[str], at_least: float, beside: Container[str], rows: int
    ) -> None:
        self._pieces, self._k, self.at_least, self._left = pieces, k, at_least, rows
        self._exclude, self._beside = frozenset(exclude), beside
        self._words: dict[str, float] = {}
        self._met: dict[str, float] = {}
        self._total = 0.0
        self._waiting: list[Any] = []
        self._order = itertools.count()

    def read(self, beginnings: Sequence[tuple[Beginning, Context]]) -> None:
        """Takes pairs of a `Beginning` that was read and the `Context` after it."""
        for beginning, after in beginnings:
            self._end(beginning, after)
        least = self._least() * self.pace.row
        for beginning, after in beginnings:
            self._follow(beginning, after, least)

    def take(self) -> list[Beginning]:
        """Returns the likeliest beginnings that wait, if one of them may change the words that are returned."""
        least, taken = self._least(), list[Beginning]()
        if not self._waits_for(least * self.pace.round):
            return taken
        while self._waits_for(least * self.pace.row) and len(taken) < min(self.pace.width(self._k), self._left):
            value, _, before, after, (index, row), others = heapq.heappop(self._waiting)
            self._wait(before, after, others)
            beginning = Beginning(before.written + self._pieces.written[index], -value, after, index, row)
            if self._is_worth_reading(beginning):
                taken.append(beginning)
        self._left -= len(taken)
        return taken

    def result(self) -> NextWords:
        """Returns what was found."""
        words = heapq.nlargest(self._k, self._words.items(), key=_probability)
        words = sorted([*words, *self._met.items()], key=_probability, reverse=True)
        words = [(word, min(probability, 1.0)) for word, probability in words]  # a sum of rounded numbers
        return NextWords(words, min(self._total, 1.0))

    @abc.abstractmethod
    def _end(self, beginning: Beginning, after: Context) -> None:
        """Adds the word that ends after a beginning."""

    @abc.abstractmethod
    def _follow(self, beginning: Beginning, after: Context, least: float) -> None:
        """Adds what may follow a beginning: words that end at once, and longer beginnings, which wait."""

    def _is_worth_reading(self, beginning: Beginning) -> bool:
        """Returns whether it is likely enough."""
        return math.exp(beginning.log_probability) > self.least_share * self._total

    def _log_least(self, least: float) -> float:
        return log(max(least, self.least_share * self._total))

    def _wait(self, before: Beginning, after: Context, others: Iterator[tuple[int, float, Any]]) -> None:
        """Lets the first of some pieces wait, each with its log probability and row, and the rest behind it."""
        for index, value, row in others:
            entry = (-before.log_probability - value, next(self._order), before, after, (index, row), others)
            heapq.heappush(self._waiting, entry)
            return

    def _waits_for(self, least: float) -> bool:
        return bool(self._waiting) and math.exp(-self._waiting[0][0]) > least

    def _least(self) -> float:
        """Returns the least probability of a word that may be returned."""
        likeliest = heapq.nlargest(self._k, self._words.values())
        return max(self.at_least, likeliest[-1]) if len(likeliest) == self._k else self.at_least

    def _add(self, written: str, probability: float) -> None:
        word = word_of(written)
        if word and word not in self._exclude:
            words = self._met if word in self._beside else self._words
            words[word] = words.get(word, 0.0) + probability


def run_search(search: Searching[T], read: Callable[[list[Beginning]], list[Context]]) -> T:
    """Returns the result of `search_words`, whose `Beginning`s a function reads."""
    try:
        asked = next(search)
        while True:
            asked = search.send(read(asked))
    except StopIteration as end:
        return end.value


def run_searches(
    searches: Iterable[tuple[Name, Searching[T]]],
    read: Callable[[list[Beginning]], list[Context]],
    num_parallel: int = 32,
) -> Iterator[tuple[Name, T]]:
    """Runs many named searches, like `search_words`, so many at once, which read together.

    Yields the name and the result of each, in the order in which they end.
    """
    searches = iter(searches)
    waiting: list[tuple[Name, Searching[T], list[Beginning]]] = []
    contexts: Iterator[Any] = iter(())
    while True:
        answers: list[Any] = [list(itertools.islice(contexts, len(asked))) for _, _, asked in waiting]
        running = [(name, search) for name, search, _ in waiting]
        running += itertools.islice(searches, num_parallel - len(running))
        if not running:
            return
        waiting = []
        for (name, search), answer in itertools.zip_longest(running, answers):
            try:
                waiting.append((name, search, search.send(answer)))
            except StopIteration as end:
                yield name, end.value
        contexts = iter(read([each for _, _, asked in waiting for each in asked]))


def search_side_by_side(
    *searches: Searching[Any],
) -> Searching[list[Any]]:
    """Runs searches that read together, as one, which returns a list of their results."""
    results: list[Any] = [None] * len(searches)
    answers: list[list[Context] | None] = [None] * len(searches)
    running = list(range(len(searches)))
    while running:
        asked: dict[int, list[Beginning]] = {}
        for i in running:
            try:
                asked[i] = searches[i].send(answers[i])  # type: ignore[arg-type]  # None to a generator that begins
            except StopIteration as end:
                results[i] = end.value
        running = list(asked)
        contexts = iter((yield [each for of_search in asked.values() for each in of_search]) if running else ())
        for i in running:
            answers[i] = list(itertools.islice(contexts, len(asked[i])))
    return results


def log(probability: float) -> float:
    """Returns a natural logarithm, that of 0 too."""
    return math.log(probability) if probability else -math.inf


def _probability(pair: tuple[str, float]) -> float:
    return pair[1]
