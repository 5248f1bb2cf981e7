"""Whole words from the pieces that a model predicts: the likeliest next words, and what it takes that they end there.

A word of letters, digits, apostrophes and hyphens is the pieces that write it, with the space before it. Its
probability is that of its pieces, times that the next piece does not go on with it. In a vocabulary of words each piece
is a word, and whatever follows ends it. A sign of punctuation, or the end of a paragraph, is a word of one piece.

The search is best-first: in each round the model reads the likeliest beginnings of words, all at once. No word is
likelier than its beginning, so that the search ends when none that waits is likelier than the k-th word. It is a
generator that asks its caller for the contexts after pieces, so that it does not matter how the caller reads.
"""

import abc
import dataclasses
import functools
import heapq
import itertools
import math
import unicodedata
import weakref
from collections.abc import Callable, Collection, Container, Generator, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from kerasptb.data import EOS, Tokenizer
from kerasptb.data.tokenizers.written_text import is_of_word
from kerasptb.ops.taps import Trie
from kerasptb.reading.context import Beginning, Context

# Words of pieces that begin with more characters are not looked for.
_MAX_PREFIX = 40
# Nor are words of a smaller share of the prefix's probability.
_LEAST_SHARE = 1e-5
# Beginnings that are read of those that write as much of a prefix: a letter may be small or a capital.
_WAYS = 4
# A search of equally likely pieces ends after so many beginnings, with so many more for each word that is asked for.
_MOST_ROWS, _ROWS_A_WORD = 64, 16
_NONE = np.zeros(0, int)


@dataclasses.dataclass(frozen=True)
class Pace:
    """Shares of the k-th word's probability: of what a round is for, of what is read in it; and its number of rows."""

    round: float
    row: float
    width: Callable[[int], int]


# Bytes write a word in one way, which has all of its probability. Of several ways, each may have less than the k-th
# word although they have more together. Rows are cheap beside a round, but most beginnings in bytes end no word.
_ONE_WAY = Pace(1.0, 1.0, lambda k: k + 2)
_WAYS_ADD_UP = Pace(0.7, 0.1, lambda k: 3 * k)


@dataclasses.dataclass(frozen=True)
class NextWords:
    """What a search found.

    Attributes:
        words: pairs of a word and its probability, the likeliest first. The end of a paragraph is `<eos>`.
        prefix_probability: that the next word begins with the prefix. Words that were left out do not count.
    """

    words: list[tuple[str, float]]
    prefix_probability: float


class WordPieces:
    """What the pieces of a tokenizer are to words.

    Args:
        tokenizer: a `Tokenizer`.

    Attributes:
        written: V strings, what the pieces write.
        ends_word: bool [V], whether a piece does not go on with a word: it begins with white space or punctuation.
        are_words: whether none goes on with a word, so that each is one.
        has_ways: whether a word may be written in several ways.
        is_whole: bool [V], whether a piece is a word that ends at once: of a vocabulary of words, or a sign.
        going_on: int [M], the ids of those that go on with a word.
        after_space: int [M], the ids of those that do not begin with white space.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.written, self._prefixes, self._tokenizer = tokenizer.written, tokenizer.prefixes, tokenizer
        self.ends_word = np.array([not text or not is_of_word(text[0]) for text in self.written])
        self.are_words = bool(self.ends_word.all())
        self.has_ways = not self.are_words and max(map(len, tokenizer.pieces)) > 1
        self.is_whole = np.array([self.are_words or _is_sign(text) for text in self.written])
        self.going_on, self._ending = np.flatnonzero(~self.ends_word), np.flatnonzero(self.ends_word)
        self.after_space = np.flatnonzero([bool(text) and not text[0].isspace() for text in self.written])
        self._lengths = np.array(list(map(len, self.written)))
        self._ended: weakref.WeakKeyDictionary[Context, float] = weakref.WeakKeyDictionary()

    @functools.cached_property
    def whole(self) -> dict[str, list[int]]:
        """The ids of the pieces that are a word which ends at once, by the word."""
        words: dict[str, list[int]] = {}
        for index in np.flatnonzero(self.is_whole).tolist():
            words.setdefault(word_of(self.written[index]), []).append(index)
        return words

    def spelling(self, word: str) -> float:
        """Returns the log probability of the letters of a word that the vocabulary lacks: 1 / 20 each."""
        return -math.log(20) * (len(word) + 1)

    @functools.cached_property
    def trie(self) -> Trie:
        """The pieces that write a word, or go on with one, by their letters."""
        named = zip(self._tokenizer.tokens, self.written, strict=True)
        return Trie(
            [text if token not in self._tokenizer.unnamed and self._writes(text) else None for token, text in named]
        )

    def _writes(self, text):
        letters = text.removeprefix(" ")
        if self.are_words:
            return bool(letters) and not any(map(str.isspace, letters))
        return text == " " or (bool(letters) and all(is_of_word(each) and _is_character(each) for each in letters))

    def fitting(self, prefix: str) -> np.ndarray:
        """Returns the ids of the pieces that may come next where a prefix is to be written, int [M].

        Args:
            prefix: what is to be written, with the space before it, whatever the case; "" where anything may begin.
        """
        if not prefix:
            return self._ending
        ids = self._prefixes.beginning(prefix)
        return ids if self.are_words else np.sort(np.append(ids, self._prefixes.beginning_of(prefix)))

    def going_on_above(self, log_probabilities: np.ndarray, least: float) -> np.ndarray:
        """Returns the ids of the pieces that go on with a word whose log probability is above the least, int [M]."""
        likely = np.flatnonzero(log_probabilities > least)
        return likely[~self.ends_word[likely]]

    def covers(self, ids: np.ndarray, prefix: str) -> np.ndarray:
        """Returns which of the pieces that fit write a whole prefix, bool [M]."""
        return self._lengths[ids] >= len(prefix)

    def ids_of(self, words: Collection[str]) -> list[int]:
        """Returns the ids of the pieces that are one of some words, which ends at once."""
        return [index for word in words for index in self.whole.get(word, ())]

    def end_probability(self, log_probabilities: np.ndarray) -> float:
        """Returns the probability that a word ends, from those of the next piece, natural logarithms, float [V]."""
        return 1.0 if self.are_words else _mass(log_probabilities[self._ending])

    def end_after(self, context: Context) -> float:
        """Returns the probability that a word ends after a `Context`; it is remembered while that is."""
        ended = self._ended.get(context)
        if ended is None:
            ended = self._ended[context] = self.end_probability(context.known())
        return ended

    def log_given(self, log_probabilities: np.ndarray, prefix: str, begins: bool = False) -> float:
        """Returns the logarithm of the probability of what is known before a word's first letter.

        The word before has ended; if the prefix begins with a space, a piece with a space comes.

        Args:
            log_probabilities: those of the next piece, natural logarithms, float [V].
            prefix: how the word begins.
            begins: whether it comes without a space before it.
        """
        if self.are_words or begins or prefix[:1] not in ("", " "):
            return 0.0
        return math.log(max(_mass(log_probabilities[self.fitting(prefix[:1])]), 1e-30))


@functools.lru_cache(8)
def pieces_of(tokenizer: Tokenizer) -> WordPieces:
    """Returns the `WordPieces` of a tokenizer, made once."""
    return WordPieces(tokenizer)


def search_words(
    pieces: WordPieces,
    context: Context,
    prefix: str,
    k: int,
    exclude: Collection[str] = (),
    begins: bool = False,
    at_least: float = 0.0,
    left_out: np.ndarray = _NONE,
    beside: Container[str] = (),
) -> Generator[list[Beginning], list[Context], NextWords]:
    """Finds the likeliest next words, exactly among those of at least 1e-5 of the probability of the prefix.

    Where a word has several ways to be written, its probability is the sum of those of 0.7 of the k-th word's, and of
    others that were met. Two limits keep a search short where much is equally likely: of the beginnings that write as
    much of the prefix four are read, and 64 + 16 k others.

    Args:
        pieces: the `WordPieces`.
        context: the `Context` after the text before the word.
        prefix: how the word begins, with the space before it; "" if the text before ends with a whole word, after which
            anything may come. The probabilities are those given that it has ended, and that the space comes.
        k: number of words.
        exclude: words that are left out.
        begins: whether a word comes without a space before it, see `comes_unspaced`.
        at_least: the least probability of a word that is looked for.
        left_out: ids of words of a vocabulary that are left out too, int [M]: the caller knows them.
        beside: words that do not count towards k, and are returned too if the search meets them.

    Yields:
        `Beginning`s. The caller sends the `Context`s after them, in the same order.

    Returns:
        `NextWords`, with fewer than k words if there are fewer, or if the others are all but impossible.
    """
    if len(prefix) > _MAX_PREFIX and not pieces.are_words:
        return NextWords([], 0.0)
    if pieces.are_words:
        return _likeliest_words(pieces, context.known(), prefix, k, at_least, [*pieces.ids_of(exclude), *left_out])
    before = -pieces.log_given(context.known(), prefix, begins)
    search = _PrefixSearch(pieces, prefix, k, exclude, begins, at_least, beside)
    search.read([(Beginning("", before, context, -1), context)])
    while asked := search.take():
        contexts = yield asked
        search.read(list(zip(asked, contexts, strict=True)))
    return search.result()


def run_search(
    search: Generator[list[Beginning], list[Context], Any], read: Callable[[list[Beginning]], list[Context]]
) -> Any:
    """Returns the result of `search_words`, whose `Beginning`s a function reads."""
    try:
        asked = next(search)
        while True:
            asked = search.send(read(asked))
    except StopIteration as end:
        return end.value


def run_searches(
    searches: Iterable[tuple[Any, Generator[list[Beginning], list[Any], Any]]],
    read: Callable[[list[Beginning]], list[Any]],
    num_parallel: int = 32,
) -> Iterator[tuple[Any, Any]]:
    """Runs many named searches, like `search_words`, so many at once, which read together.

    Yields the name and the result of each, in the order in which they end.
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


def search_side_by_side(
    *searches: Generator[list[Beginning], list[Context], Any],
) -> Generator[list[Beginning], list[Context], list[Any]]:
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


def _likeliest_words(pieces, log_probabilities, prefix, k, at_least, left_out):
    """Returns the `NextWords` of a vocabulary of words: nothing has to be read."""
    log_probabilities, ids = log_probabilities.copy(), pieces.fitting(prefix)
    log_probabilities[left_out] = -np.inf
    values = log_probabilities[ids]
    total = _mass(values)
    likely = np.flatnonzero(values > _log(at_least))
    found = _likeliest(ids[likely], values[likely], k)
    return NextWords([(word_of(pieces.written[index]), math.exp(value)) for index, value, _ in found], min(total, 1.0))


class Search:
    """The words that a search has found, and the beginnings that wait to be read: what all searches have in common."""

    least_share = _LEAST_SHARE  # of the probability of all that was found, below which nothing is looked for
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
        return _log(max(least, self.least_share * self._total))

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


class _PrefixSearch(Search):
    """A search of the words that begin with a prefix."""

    def __init__(self, pieces, prefix, k, exclude, begins, at_least, beside):
        super().__init__(pieces, k, exclude, at_least, beside, _MOST_ROWS + _ROWS_A_WORD * k + _WAYS * len(prefix))
        self._prefix, self._begins = prefix, begins
        self.pace = _WAYS_ADD_UP if pieces.has_ways else _ONE_WAY
        self._ways = [_WAYS] * len(prefix)

    def _end(self, beginning, after):
        if len(beginning.written) >= len(self._prefix) and beginning.written.strip():
            ended = self._pieces.end_after(after)
            self._add(beginning.written, math.exp(beginning.log_probability) * ended)

    def _follow(self, beginning, after, least):
        written, before, following = beginning.written, beginning.log_probability, after.log_probabilities
        if written.strip() and len(written) >= len(self._prefix):
            ids = self._pieces.going_on_above(following, self._log_least(least) - before)
            self._wait(beginning, after, _likeliest(ids, following[ids], self._left))
            return
        ids, values = self._next(written, following)
        if not written or len(written) < len(self._prefix):
            self._total += math.exp(before) * _mass(values[self._covers(written, ids)])
        if not written.strip():
            ids, values = self._without_beside(beginning, ids, values)
        likely = np.flatnonzero(values > self._log_least(least) - before)
        ids, values = ids[likely], values[likely]
        ends = self._pieces.is_whole[ids] & self._covers(written, ids)
        self._add_whole(beginning, ids[ends], values[ends])
        self._wait(beginning, after, _likeliest(ids[~ends], values[~ends], self._left))

    def _next(self, written, following):
        """Returns the ids of the pieces that may follow what has no letter yet, or less than the prefix, and values."""
        rest = self._prefix[len(written) :]
        ids = self._pieces.fitting(rest) if rest or not (written or self._begins) else self._pieces.after_space
        if self._exclude and not written.strip():
            following = following.copy()
            following[self._pieces.ids_of(self._exclude)] = -np.inf
        return ids, following[ids]

    def _covers(self, written, ids):
        return self._pieces.covers(ids, self._prefix[len(written) :])

    def _without_beside(self, beginning, ids, values):
        """Adds the words of `beside` that are one piece; returns the other pieces and their log probabilities."""
        words = [word for word in self._pieces.whole if word in self._beside]
        beside = np.isin(ids, self._pieces.ids_of(words)) & self._covers(beginning.written, ids)
        self._add_whole(beginning, ids[beside], values[beside])
        return ids[~beside], values[~beside]

    def _is_worth_reading(self, beginning):
        """Returns whether it is likely enough, and among the likeliest that write so much of the prefix."""
        size = len(beginning.written)
        if not super()._is_worth_reading(beginning):
            return False
        if size < len(self._prefix):
            self._ways[size] -= 1
        return size >= len(self._prefix) or self._ways[size] >= 0

    def _add_whole(self, beginning, ids, values):
        for index, value in zip(ids.tolist(), values.tolist(), strict=True):
            self._add(beginning.written + self._pieces.written[index], math.exp(beginning.log_probability + value))


def _likeliest(ids, values, most):
    """Returns an iterator of ids, their values and `None`, of the likeliest, in their order; equals by lower ids."""
    if most < len(ids):
        best = values >= np.partition(values, -most)[-most]
        ids, values = ids[best], values[best]
    order = np.argsort(-values, kind="stable")[:most]
    return zip(ids[order].tolist(), values[order].tolist(), itertools.repeat(None))


def word_of(written: str) -> str:
    """Returns the word that is written; "" if it is none: a part of a character, or a word and a sign behind it."""
    try:
        text = written.encode(errors="surrogateescape").decode()
    except UnicodeDecodeError:
        return ""  # a part of a character is no word
    word = EOS if text == "\n" else text.strip()
    # Bytes may write a sign behind a word, as they write a letter.
    glued = text != written and is_of_word(word[:1] or " ") and not all(map(is_of_word, word))
    return "" if glued else word


def _probability(pair):
    return pair[1]


def _log(probability):
    return math.log(probability) if probability else -math.inf


def _mass(log_probabilities):
    """Returns the probability of all of some pieces."""
    return float(np.exp(log_probabilities).sum(dtype="float64"))


def _is_character(letter):
    return unicodedata.category(letter) != "Cs"


def _is_sign(written):
    return written == "\n" or (bool(written.strip()) and not is_of_word(written[-1]))
