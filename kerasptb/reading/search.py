"""Searches for words: generators that ask for the contexts after pieces, so that it does not matter how one reads.

The core in C searches (`native/src/core/search.c`). In each round the model reads the likeliest beginnings of words,
all at once. No word is likelier than its beginning, so that a search ends when none that waits is likelier than the
k-th word.
"""

import dataclasses
import itertools
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, TypeVar

from kerasptb.native import core
from kerasptb.reading.context import Beginning, Context

T = TypeVar("T")
Name = TypeVar("Name")
# A search of a T: it asks for the contexts after beginnings of words, and is sent them.
Searching = Generator[list[Beginning], list[Context], T]


@dataclasses.dataclass(frozen=True)
class NextWords:
    """What a search found.

    Attributes:
        words: pairs of a word and its probability, the likeliest first. The end of a paragraph is `<eos>`.
        prefix_probability: that the next word begins with the prefix. Words that were left out do not count.
    """

    words: list[tuple[str, float]]
    prefix_probability: float


def read_for(search: core.Search, context: Context) -> Searching[Context]:
    """Gives a search what it asks for, after a `Context`; returns that after what is typed, if it may have errors."""
    contexts = {0: context}
    search.give(0, context.known())
    while asked := search.take():
        after = yield [Beginning(contexts[before], token) for _, before, token in asked]
        for (row, _, _), each in zip(asked, after, strict=True):
            contexts[row] = each
            search.give(row, each.known())
    return contexts.get(core.LITERAL_ROW, context)


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
