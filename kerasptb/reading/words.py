"""Whole words from the pieces that a model predicts: the likeliest next words, and what it takes that they end there.

A word of letters, digits, apostrophes and hyphens is the pieces that write it, with the space before it. Its
probability is that of its pieces, times that the next piece does not go on with it. In a vocabulary of words each piece
is a word, and whatever follows ends it. A sign of punctuation, or the end of a paragraph, is a word of one piece.

The search is best-first (search.py).
"""

import itertools
import math
from collections.abc import Collection, Container, Iterator

import numpy as np

from kerasptb.data.tokenizers.prefixes import fold_bytes
from kerasptb.reading.context import Beginning, Context
from kerasptb.reading.pieces import WordPieces, mass, word_of
from kerasptb.reading.search import NextWords, Pace, Search, Searching, log

# Words of pieces that are looked for: with 8,000 pieces as many take a second and 450 MB.
_MOST_SEARCHED = 1000
# Words of pieces that begin with more characters are not looked for.
_MAX_PREFIX = 40
# Nor are words of a smaller share of the prefix's probability.
_LEAST_SHARE = 1e-5
# Beginnings that are read of those that write as many bytes of a prefix: a letter may be small or a capital.
_WAYS = 4
# A search of equally likely pieces ends after so many beginnings, with so many more for each word that is asked for.
_MOST_ROWS, _ROWS_A_WORD = 64, 16
_NONE = np.zeros(0, int)
# Bytes write a word in one way, which has all of its probability. Of several ways, each may have less than the k-th
# word although they have more together. Rows are cheap beside a round, but most beginnings in bytes end no word.
_ONE_WAY = Pace(1.0, 1.0, lambda k: k + 2)
_WAYS_ADD_UP = Pace(0.7, 0.1, lambda k: 3 * k)


def most_words(pieces: WordPieces, exclude: Collection[str]) -> int:
    """Returns how many words are looked for at most: of a vocabulary of words all that are not left out."""
    if not pieces.are_words:
        return _MOST_SEARCHED
    return len(pieces.tokenizer) - len(set(exclude).intersection(pieces.tokenizer.tokens))


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
) -> Searching[NextWords]:
    """Finds the likeliest next words, exactly among those of at least 1e-5 of the probability of the prefix.

    Where a word has several ways to be written, its probability is the sum of those of 0.7 of the k-th word's, and of
    others that were met. Two limits keep a search short where much is equally likely: of the beginnings that write as
    many bytes of the prefix four are read, and 64 + 16 k others.

    Args:
        pieces: the `WordPieces`.
        context: the `Context` after the text before the word.
        prefix: how the word begins, with the space before it, whatever the case; "" if the text before ends with a
            whole word, after which anything may come. The probabilities are those given that it has ended, and that the
            space comes. Of a letter that several pieces write, as bytes do `é`, only the small one is found.
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


def _likeliest_words(
    pieces: WordPieces, log_probabilities: np.ndarray, prefix: str, k: int, at_least: float, left_out: list[int]
) -> NextWords:
    """Returns the `NextWords` of a vocabulary of words: nothing has to be read."""
    log_probabilities, ids = log_probabilities.copy(), pieces.fitting(fold_bytes(prefix))
    log_probabilities[left_out] = -np.inf
    values = log_probabilities[ids]
    total = mass(values)
    likely = np.flatnonzero(values > log(at_least))
    found = _likeliest(ids[likely], values[likely], k)
    words = [(word_of(pieces.written[index]), min(math.exp(value), 1.0)) for index, value, _ in found]
    return NextWords(words, min(total, 1.0))


class _PrefixSearch(Search):
    """A search of the words that begin with a prefix."""

    least_share = _LEAST_SHARE

    def __init__(
        self,
        pieces: WordPieces,
        prefix: str,
        k: int,
        exclude: Collection[str],
        begins: bool,
        at_least: float,
        beside: Container[str],
    ) -> None:
        self._prefix, self._begins = fold_bytes(prefix), begins
        size = len(self._prefix)
        super().__init__(pieces, k, exclude, at_least, beside, _MOST_ROWS + _ROWS_A_WORD * k + _WAYS * size)
        self.pace = _WAYS_ADD_UP if pieces.has_ways else _ONE_WAY
        self._ways = [_WAYS] * size  # by the bytes of the prefix that are left to write

    def _rest(self, written: str) -> bytes:
        """Returns what is left to write of the prefix, in bytes: a letter may be written by several pieces."""
        if len(written) >= len(self._prefix):
            return b""  # no text has fewer bytes than characters
        return self._prefix[len(fold_bytes(written)) :]

    def _end(self, beginning: Beginning, after: Context) -> None:
        if beginning.written.strip() and not self._rest(beginning.written):
            ended = self._pieces.end_after(after)
            self._add(beginning.written, math.exp(beginning.log_probability) * ended)

    def _follow(self, beginning: Beginning, after: Context, least: float) -> None:
        written, before, following = beginning.written, beginning.log_probability, after.known()
        rest = self._rest(written)
        if written.strip() and not rest:
            ids = self._pieces.going_on_above(following, self._log_least(least) - before)
            self._wait(beginning, after, _likeliest(ids, following[ids], self._left))
            return
        ids, values = self._next(written, rest, following)
        if not written or rest:
            self._total += math.exp(before) * mass(values[self._pieces.covers(ids, rest)])
        if not written.strip():
            ids, values = self._without_beside(beginning, rest, ids, values)
        likely = np.flatnonzero(values > self._log_least(least) - before)
        ids, values = ids[likely], values[likely]
        ends = self._pieces.is_whole[ids] & self._pieces.covers(ids, rest)
        self._add_whole(beginning, ids[ends], values[ends])
        self._wait(beginning, after, _likeliest(ids[~ends], values[~ends], self._left))

    def _next(self, written: str, rest: bytes, following: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the ids of the pieces that may follow what has no letter yet, or less than the prefix, and values."""
        ids = self._pieces.fitting(rest) if rest or not (written or self._begins) else self._pieces.after_space
        if self._exclude and not written.strip():
            following = following.copy()
            following[self._pieces.ids_of(self._exclude)] = -np.inf
        return ids, following[ids]

    def _without_beside(
        self, beginning: Beginning, rest: bytes, ids: np.ndarray, values: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Adds the words of `beside` that are one piece; returns the other pieces and their log probabilities."""
        words = [word for word in self._pieces.whole if word in self._beside]
        beside = np.isin(ids, self._pieces.ids_of(words)) & self._pieces.covers(ids, rest)
        self._add_whole(beginning, ids[beside], values[beside])
        return ids[~beside], values[~beside]

    def _is_worth_reading(self, beginning: Beginning) -> bool:
        """Returns whether it is likely enough, and among the likeliest that write so much of the prefix."""
        if not super()._is_worth_reading(beginning):
            return False
        if left := len(self._rest(beginning.written)):
            self._ways[left] -= 1
        return not left or self._ways[left] >= 0

    def _add_whole(self, beginning: Beginning, ids: np.ndarray, values: np.ndarray) -> None:
        for index, value in zip(ids.tolist(), values.tolist(), strict=True):
            self._add(beginning.written + self._pieces.written[index], math.exp(beginning.log_probability + value))


def _likeliest(ids: np.ndarray, values: np.ndarray, most: int) -> Iterator[tuple[int, float, None]]:
    """Returns an iterator of ids, their values and `None`, of the likeliest, in their order; equals by lower ids."""
    if most < len(ids):
        best = values >= np.partition(values, -most)[-most]
        ids, values = ids[best], values[best]
    order = np.argsort(-values, kind="stable")[:most]
    return zip(ids[order].tolist(), values[order].tolist(), itertools.repeat(None))
