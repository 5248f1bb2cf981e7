"""A text as it is written, typed with the whole words that a model of pieces suggests: see `keyboard`."""

import bisect
import dataclasses
import functools
import heapq
import itertools
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from kerasptb.data import EOS, UNK, Tokenizer
from kerasptb.data.ptb_words import NUMBER
from kerasptb.data.typed_text import fold_case
from kerasptb.data.word_cache import TypedWords
from kerasptb.data.word_search import Beginning, WordPieces, begins_paragraph, is_of_word, pieces_of, search_words
from kerasptb.evaluation.reading import Context, Reader
from kerasptb.models import LanguageModel

# V floats for each of the words that are looked for at once; each has some such rows in memory.
_SCORES = 4_000_000
# Words that are looked for beside those on the keys where the words typed before may become more probable.
_MORE = 7
# Keys whose words the shares top1 and top3 are of.
_RANKS = 3
# Rows of the text whose logits are in memory at once.
_ROWS = 256
# The text's own pieces are read with other roundings.
_ROUNDING = 1 - 1e-3
# What stands for words that the text does not name, in texts that have it.
_UNNAMED = (UNK, NUMBER)


@dataclasses.dataclass(frozen=True)
class Unit:
    """A word, or a sign of punctuation.

    Attributes:
        text: its characters.
        lead: what is written between the last piece before it and its first letter: a space, or nothing. If no piece
            ends there, the characters before that are in the same piece.
        context: how many of the text's pieces come before that.
        end: how many until its last letter; `None` if none ends there.
        is_named: False if it stands for a word that the text does not name: `<unk>` or `N`.
        begins: whether it begins a paragraph without a space before it, see `begins_paragraph`.
    """

    text: str
    lead: str
    context: int = 0
    end: int | None = None
    is_named: bool = True
    begins: bool = False

    @property
    def is_word(self) -> bool:
        """Whether it is a word."""
        return is_of_word(self.text[0])

    @property
    def can_be_shown(self) -> bool:
        """Whether keys may show it: a word, or a sign after a space or that begins a paragraph."""
        return self.is_named and (self.is_word or not self.shown_from)

    @property
    def shown_from(self) -> int:
        """How many of its letters are typed at least before keys can show it."""
        return 0 if self.begins or self.lead.endswith(" ") else 1


def read_parts(tokenizer: Tokenizer, ids: np.ndarray) -> Iterator[list[Unit | None]]:
    r"""Yields what stands between white space in a text: the words and signs of each part; `[None]` for a line's end.

    Args:
        tokenizer: a `Tokenizer`.
        ids: int32 [N], the text.
    """
    pieces = [tokenizer.pieces[index] for index in ids.tolist()]
    ends = np.cumsum([0, *map(len, pieces)])
    written = b"".join(pieces)
    text = written.decode(errors="surrogateescape")
    sizes = [1] * len(text) if len(text) == len(written) else map(_num_bytes, text)
    places = np.cumsum([0, *sizes])

    unnamed = _UNNAMED if UNK in text.split() else ()

    def unit(start, end):
        before = start - 1 if text[start - 1 : start] == " " else start
        context = bisect.bisect_right(ends, places[before]) - 1
        last = bisect.bisect_left(ends, places[end])
        lead = written[ends[context] : places[start]].decode(errors="surrogateescape")
        name = text[start:end]
        begins = not lead and begins_paragraph(tokenizer, text[start - 1 : start])
        return Unit(name, lead, context, last if ends[last] == places[end] else None, name not in unnamed, begins)

    for kind, group in itertools.groupby(range(len(text)), lambda i: "\n" if text[i] == "\n" else text[i].isspace()):
        if kind == "\n":
            for _ in group:
                yield [None]
        elif not kind:
            part = list(group)
            start, end = part[0], part[-1] + 1
            whole = text[start:end] in unnamed
            cuts = [i for i in part[1:] if not (whole or (is_of_word(text[i]) and is_of_word(text[i - 1])))]
            yield list(itertools.starmap(unit, itertools.pairwise([start, *cuts, end])))


@dataclasses.dataclass(frozen=True)
class Shown:
    """When keys show a unit.

    Attributes:
        rank: how many words they show before it when none of its letters is typed; `None` if it is not among them.
        typed: how many of its letters are typed before they show it; `None` if they never do.
        possible: whether they could show it.
    """

    rank: int | None = None
    typed: int | None = None
    possible: bool = False


def find_units(
    model: LanguageModel,
    tokenizer: Tokenizer,
    ids: np.ndarray,
    units: Sequence[Unit | None],
    keys: int,
    learn: bool,
) -> list[Shown]:
    """Returns when keys show the units of a text, as `suggest` gives the words on them.

    Args:
        model: a `LanguageModel`.
        tokenizer: its `Tokenizer`.
        ids: int32 [N], the text.
        units: the units in their order; `None` for a line's end.
        keys: number of words shown at a time.
        learn: whether the suggestions learn from the words typed before.
    """
    result = [Shown()] * len(units)
    reader = Reader(model)
    searches = _searches(reader, pieces_of(tokenizer), ids, units, keys, learn)
    for i, shown in run_searches(searches, reader.extend, max(_SCORES // len(tokenizer), 1)):
        result[i] = shown
    return result


def _searches(reader, pieces, ids, units, keys, learn):
    """Yields the index of each unit that keys may show, and a search which returns its `Shown`."""
    searched = [i for i, unit in enumerate(units) if unit and unit.context and unit.can_be_shown]
    contexts = np.array([units[i].context for i in searched])
    exclude = () if all(unit is None or unit.is_named for unit in units) else (*_UNNAMED, UNK[0])
    caches = _caches_before(units, searched) if learn else itertools.repeat(None)
    for start, hidden, states in reader.blocks(ids):
        first, end = np.searchsorted(contexts, [start + 1, start + len(hidden) + 1])
        least = None if learn else _Least(pieces, reader, ids[start:], hidden)
        for place in range(first, end, _ROWS):
            some = searched[place : min(place + _ROWS, end)]
            rows = [units[i].context - start - 1 for i in some]
            of_rows = reader.contexts(hidden[rows], [each[rows] for each in states])
            for i, row, context, cache in zip(some, rows, of_rows, caches, strict=False):
                if cache is None:
                    suggest = _Suggestions(pieces, context, exclude, units[i].begins, least.of(row, units[i], start))
                else:
                    suggest = _Learned(pieces, context, exclude, units[i].begins, 0.0, *cache.shares())
                yield i, _find(units[i], keys, suggest)


def _find(unit, keys, suggest):
    """Searches when the keys show a unit; a generator as `search_words`, which returns a `Shown`."""
    before = unit.lead.lstrip()
    # Shift makes small letters capitals, but no key makes capitals small.
    forms = {before + unit.text, before + unit.text.lower()}
    rank = None
    for typed in range(unit.shown_from, len(unit.text)):
        words = yield from suggest(unit.lead + unit.text[:typed], max(keys, _RANKS))
        place = next((i for i, word in enumerate(words) if word in forms), None)
        if typed == 0:
            rank = place
        if place is not None and place < keys:
            return Shown(rank, typed, possible=True)
    return Shown(rank, possible=True)


@dataclasses.dataclass(frozen=True)
class _Suggestions:
    """The words on the keys after a context; a call is a search, as `search_words`."""

    pieces: WordPieces
    context: Context
    exclude: tuple[str, ...]
    begins: bool = False
    at_least: float = 0.0

    def __call__(self, prefix, k):
        found = yield from self._search(prefix, k)
        return [word for word, _ in found]

    def _search(self, prefix, k):
        found = yield from search_words(
            self.pieces, self.context, _log_probabilities, prefix, k, self.exclude, self.begins, self.at_least
        )
        return found.words


@dataclasses.dataclass(frozen=True)
class _Learned(_Suggestions):
    """The same, of a model whose probabilities are mixed with the shares of words in a cache."""

    of_model: float = 1.0
    shares: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def __call__(self, prefix, k):
        found = yield from self._search(prefix, k + _MORE)
        # The space that is typed says that a word has ended.
        ended = 1.0 if self.begins else self.pieces.end_probability(self.context.log_probabilities)
        of_model = self.of_model / max(ended, 1e-30)
        mixed = {word: probability * of_model for word, probability in found}
        begins = _fold(prefix.lstrip())
        for word, share in self.shares.items():
            if word in mixed or (word != EOS and _fold(word).startswith(begins) and word not in self.exclude):
                mixed[word] = mixed.get(word, 0.0) + share
        return heapq.nlargest(k, mixed, key=mixed.__getitem__)


class _Least:
    """What a unit is as probable as by the pieces that write it in the text.

    A search for it need not look for words that are less probable.
    """

    def __init__(self, pieces, reader, ids, hidden):
        of_pieces, self._ends = np.zeros(len(hidden)), np.zeros(len(hidden))
        for first in range(0, len(hidden), _ROWS):
            block = slice(first, first + _ROWS)
            rows = reader.log_probabilities(hidden[block])
            self._ends[block] = [pieces.end_probability(row) for row in rows]
            following = ids[first + 1 : first + 1 + len(rows)]
            of_pieces[first : first + len(following)] = rows[np.arange(len(following)), following]
        self._sums = np.cumsum([0.0, *of_pieces])

    def of(self, row, unit, start):
        if unit.end is None or unit.end - start > len(self._ends):
            return 0.0  # its end is in the next block
        last = unit.end - start - 1
        return np.exp(self._sums[last] - self._sums[row]) * self._ends[last] * _ROUNDING


def _caches_before(units, searched):
    """Yields the `TypedWords` before each unit that is searched."""
    searched, cache = set(searched), TypedWords()
    for i, unit in enumerate(units):
        if i in searched:
            yield cache
        if unit is None or unit.can_be_shown or not unit.is_named:
            cache = cache.extended([EOS if unit is None else unit.text if unit.is_named else UNK])


_fold = functools.lru_cache(1 << 14)(fold_case)


def _num_bytes(character):
    return len(character.encode(errors="surrogateescape"))


def _log_probabilities(context):
    return context.log_probabilities


def run_searches(
    searches: Iterable[tuple[Any, Generator[list[Beginning], list[Any], Any]]],
    read: Callable[[list[Beginning]], list[Any]],
    num_parallel: int,
) -> Iterator[tuple[Any, Any]]:
    """Runs many searches, which read together. Yields the name and the result of each, in the order in which they end.

    Args:
        searches: pairs of a name and a generator like `search_words`.
        read: returns the contexts after `Beginning`s.
        num_parallel: how many run at once.
    """
    searches = iter(searches)
    waiting: list[tuple[Any, Generator[list[Beginning], list[Any], Any], list[Beginning]]] = []
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
