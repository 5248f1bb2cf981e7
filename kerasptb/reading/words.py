"""Whole words from the pieces that a model predicts: the likeliest next words, and what it takes that they end there.

A word of letters, digits, apostrophes and hyphens is the pieces that write it, with the space before it. Its
probability is that of its pieces, times that the next piece does not go on with it. In a vocabulary of words each piece
is a word, and whatever follows ends it. A sign of punctuation, or the end of a paragraph, is a word of one piece.

The search reads the likeliest beginning of a word first, in rounds of a few. What a beginning is as probable as bounds
all words that begin so, and the k-th word that was found tells which need no reading. The search is a generator that
asks its caller for the contexts after pieces, so that it does not matter how the caller reads.
"""

import dataclasses
import functools
import heapq
import itertools
import math
from collections.abc import Callable, Collection, Container, Generator
from typing import Any

import numpy as np

from kerasptb.data import EOS, Tokenizer
from kerasptb.data.written_text import is_of_word
from kerasptb.reading.reader import Beginning, Context

# Words of pieces that begin with more characters are not looked for.
_MAX_PREFIX = 40
# Nor those of a smaller share of the probability of the prefix.
_LEAST_SHARE = 1e-5
# Beginnings that are read in a round, and in a search.
_WIDTH, _MOST_ROWS = 16, 500
_NONE = np.zeros(0, int)


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
        is_whole: bool [V], whether a piece is a word that ends at once: of a vocabulary of words, or a sign.
        going_on: int [M], the ids of those that go on with a word.
        after_space: int [M], the ids of those that do not begin with white space.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.written, self._prefixes = tokenizer.written, tokenizer.prefixes
        self.ends_word = np.array([not text or not is_of_word(text[0]) for text in self.written])
        self.are_words = bool(self.ends_word.all())
        self.is_whole = np.array([self.are_words or _is_sign(text) for text in self.written])
        self.going_on, self._ending = np.flatnonzero(~self.ends_word), np.flatnonzero(self.ends_word)
        self.after_space = np.flatnonzero([bool(text) and not text[0].isspace() for text in self.written])
        self._lengths = np.array(list(map(len, self.written)))

    @functools.cached_property
    def whole(self) -> dict[str, list[int]]:
        """The ids of the pieces that are a word which ends at once, by the word."""
        words: dict[str, list[int]] = {}
        for index in np.flatnonzero(self.is_whole).tolist():
            words.setdefault(word_of(self.written[index]), []).append(index)
        return words

    def fitting(self, prefix: str) -> np.ndarray:
        """Returns the ids of the pieces that may come next where a prefix is to be written, int [M].

        Args:
            prefix: what is to be written, with the space before it, whatever the case; "" where anything may begin.
        """
        if not prefix:
            return self._ending
        ids = self._prefixes.beginning(prefix)
        return ids if self.are_words else np.sort(np.append(ids, self._prefixes.beginning_of(prefix)))

    def covers(self, ids: np.ndarray, prefix: str) -> np.ndarray:
        """Returns which of the pieces that fit write a whole prefix, bool [M]."""
        return self._lengths[ids] >= len(prefix)

    def ids_of(self, words: Collection[str]) -> list[int]:
        """Returns the ids of the pieces that are one of some words, which ends at once."""
        return [index for word in words for index in self.whole.get(word, ())]

    def end_probability(self, log_probabilities: np.ndarray) -> float:
        """Returns the probability that a word ends, from those of the next piece, natural logarithms, float [V]."""
        return 1.0 if self.are_words else _mass(log_probabilities[self._ending])

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
    """Finds the likeliest next words.

    Args:
        pieces: the `WordPieces`.
        context: the `Context` after the text before the word.
        prefix: how the word begins, with the space before it; "" if the text before ends with a whole word, after which
            anything may come. The probabilities are those given that it has ended, and that the space comes.
        k: number of words.
        exclude: words that are left out.
        begins: whether a word comes without a space before it, see `begins_paragraph`.
        at_least: the least probability of a word that is looked for.
        left_out: ids of pieces that no word begins with, int [M].
        beside: words that do not count towards k, and are returned too if the search meets them.

    Yields:
        `Beginning`s. The caller sends the `Context`s after them, in the same order.

    Returns:
        `NextWords`, with fewer than k words if there are fewer, or if the others are all but impossible.
    """
    if len(prefix) > _MAX_PREFIX and not pieces.are_words:
        return NextWords([], 0.0)
    first = context.known().copy()
    before = -pieces.log_given(first, prefix, begins)
    first[pieces.ids_of(exclude)] = first[left_out] = -np.inf
    if pieces.are_words:
        return _likeliest_words(pieces, first, prefix, k, at_least)
    search = _Search(pieces, prefix, k, exclude, begins, at_least, beside)
    search.follow(Beginning("", before, context, -1), context, first)
    while asked := search.take():
        contexts = yield asked
        for beginning, after in zip(asked, contexts, strict=True):
            search.end(beginning, after.log_probabilities)
        for beginning, after in zip(asked, contexts, strict=True):
            search.follow(beginning, after, after.log_probabilities)
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


def _likeliest_words(pieces, log_probabilities, prefix, k, at_least):
    """Returns the `NextWords` of a vocabulary of words: nothing has to be read."""
    ids = pieces.fitting(prefix)
    values = log_probabilities[ids]
    total = _mass(values)
    likely = np.flatnonzero(values > _log(at_least))
    found = _likeliest(ids[likely], values[likely], k)
    return NextWords([(word_of(pieces.written[index]), math.exp(value)) for index, value in found], min(total, 1.0))


class _Search:
    """The words that a search has found, and the beginnings that wait to be read."""

    def __init__(self, pieces, prefix, k, exclude, begins, at_least, beside):
        self._pieces, self._prefix, self._k, self._begins, self._at_least = pieces, prefix, k, begins, at_least
        self._exclude, self._beside = exclude, beside
        self._words, self._met = {}, {}
        self._waiting, self._count, self._left = [], itertools.count(), _MOST_ROWS
        # The likeliest beginning that writes so many letters of the prefix; of the whole prefix, all together.
        self._reached = [0.0] * (len(prefix) + 1)

    def follow(self, beginning, after, following):
        """Adds what may follow a beginning: words that end at once, and longer beginnings, which wait."""
        written, before = beginning.written, beginning.log_probability
        ids = self._ids_after(written)
        values = following[ids]
        if not written or len(written) < len(self._prefix):
            self._reach(written, ids, values, before)
        likely = np.flatnonzero(values > _log(max(self._least(), _LEAST_SHARE * self._reached[-1])) - before)
        ids, values = ids[likely], values[likely]
        whole = self._pieces.is_whole[ids] & self._covers(written, ids)
        for index, value in zip(ids[whole].tolist(), values[whole].tolist(), strict=True):
            self._add(written + self._pieces.written[index], math.exp(before + value))
        self._wait(beginning, after, _likeliest(ids[~whole], values[~whole], self._left))

    def take(self):
        """Returns the likeliest of those that wait and may be of a word among the likeliest."""
        taken, least = [], _log(self._least())
        width = min(_WIDTH, self._left)
        while self._waiting and len(taken) < width and -self._waiting[0][0] > least:
            value, _, before, after, index, others = heapq.heappop(self._waiting)
            self._wait(before, after, others)
            beginning = Beginning(before.written + self._pieces.written[index], -value, after, index)
            share = max(self._reached[min(len(beginning.written), len(self._prefix)) :])
            if math.exp(-value) > _LEAST_SHARE * share:
                taken.append(beginning)
        self._left -= len(taken)
        return taken

    def end(self, beginning, following):
        """Adds the word that a beginning is if it ends there."""
        if len(beginning.written) >= len(self._prefix) and beginning.written.strip():
            ended = self._pieces.end_probability(following)
            self._add(beginning.written, math.exp(beginning.log_probability) * ended)

    def result(self):
        """Returns the `NextWords`."""
        words = heapq.nlargest(self._k, self._words.items(), key=lambda pair: pair[1])
        words = sorted([*words, *self._met.items()], key=lambda pair: -pair[1])
        return NextWords(words, min(self._reached[-1], 1.0))

    def _ids_after(self, written):
        rest = self._prefix[len(written) :]
        if rest or not (written or self._begins):
            return self._pieces.fitting(rest)
        return self._pieces.going_on if written.strip() else self._pieces.after_space

    def _covers(self, written, ids):
        return self._pieces.covers(ids, self._prefix[len(written) :])

    def _reach(self, written, ids, values, before):
        covers = self._covers(written, ids)
        self._reached[-1] += math.exp(before) * _mass(values[covers])
        for index, value in zip(ids[~covers].tolist(), values[~covers].tolist(), strict=True):
            size = len(written) + len(self._pieces.written[index])
            self._reached[size] = max(self._reached[size], math.exp(before + value))

    def _wait(self, before, after, others):
        """Lets the next of others, the likeliest first, wait in the place of all."""
        for index, value in others:
            entry = (-before.log_probability - value, next(self._count), before, after, index, others)
            heapq.heappush(self._waiting, entry)
            break

    def _least(self):
        likeliest = heapq.nlargest(self._k, self._words.values())
        return max(self._at_least, likeliest[-1] if len(likeliest) == self._k else 0.0)

    def _add(self, written, probability):
        word = word_of(written)
        if word and word not in self._exclude:
            words = self._met if word in self._beside else self._words
            words[word] = words.get(word, 0.0) + probability


def _likeliest(ids, values, most):
    """Returns an iterator of pairs of an id and its value, of the likeliest, in their order; equals by lower ids."""
    if most < len(ids):
        best = values >= np.partition(values, -most)[-most]
        ids, values = ids[best], values[best]
    order = np.argsort(-values, kind="stable")[:most]
    return zip(ids[order].tolist(), values[order].tolist(), strict=True)


def word_of(written: str) -> str:
    """Returns the word that is written; "" for a part of a character, and for a letter with a sign behind it."""
    try:
        text = written.encode(errors="surrogateescape").decode()
    except UnicodeDecodeError:
        return ""  # a part of a character is no word
    word = EOS if text == "\n" else text.strip()
    # Bytes may write a sign behind a word, as they write a letter.
    glued = text != written and is_of_word(word[0]) and not all(map(is_of_word, word))
    return "" if glued else word


def _log(probability):
    return math.log(probability) if probability else -math.inf


def _mass(log_probabilities):
    """Returns the probability of all of some pieces."""
    return float(np.exp(log_probabilities).sum(dtype="float64"))


def _is_sign(written):
    return written == "\n" or (bool(written.strip()) and not is_of_word(written[-1]))
