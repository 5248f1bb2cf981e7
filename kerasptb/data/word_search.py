"""Whole words from the pieces that a model predicts: the likeliest next words, and what it takes that they end there.

A word of letters, digits, apostrophes and hyphens is the pieces that write it, with the space before it. Its
probability is that of its pieces, times that the next piece does not go on with it. In a vocabulary of words each piece
is a word, and whatever follows ends it. A sign of punctuation, or the end of a paragraph, is a word of one piece.

The search is a beam: in each round the model reads the likeliest beginnings of words, all at once. It is a generator
that asks its caller for the contexts after pieces, so that it does not matter how the caller reads.
"""

import bisect
import dataclasses
import functools
import heapq
import itertools
import math
import unicodedata
from collections.abc import Callable, Collection, Generator, Iterator
from typing import Any

import numpy as np

from kerasptb.data.tokenizer import EOS, Tokenizer
from kerasptb.data.typed_text import fold_case

# Beginnings of words that are read in a round, beside the k that are asked for.
_MORE = 5
# Words that take more pieces, after those that write what was typed, are not looked for.
_MAX_ROUNDS = 8
# Nor are words of pieces that begin with more characters.
_MAX_PREFIX = 40
# After the first round, nor those of a smaller share of the probability of the prefix, or of the likeliest beginning.
_LEAST_SHARE = 1e-3
_AFTER_ANY = "\U0010ffff"


@dataclasses.dataclass(frozen=True)
class Beginning:
    """The beginning of a word, after a text.

    Attributes:
        written: its characters; bytes that are no whole character yet are surrogates.
        log_probability: of its pieces.
        context: the caller's context before its last piece.
        piece: the id of its last piece.
    """

    written: str
    log_probability: float
    context: Any
    piece: int


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
        written: list of V strings, what the pieces write.
        ends_word: bool [V], whether a piece does not go on with a word: it begins with white space or punctuation.
        are_words: whether none goes on with a word, so that each is one.
        going_on: int [M], the ids of the others.
        after_space: int [M], the ids of those that do not begin with white space.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.written = [piece.decode(errors="surrogateescape") for piece in tokenizer.pieces]
        self.ends_word = np.array([not text or not is_of_word(text[0]) for text in self.written])
        self.are_words = bool(self.ends_word.all())
        self.going_on, self._ending = np.flatnonzero(~self.ends_word), np.flatnonzero(self.ends_word)
        self.after_space = np.flatnonzero([bool(text) and not text[0].isspace() for text in self.written])
        self._lengths = np.array(list(map(len, self.written)))
        self._token_to_id = tokenizer.token_to_id
        folded = list(map(fold_case, self.written))
        order = sorted(range(len(folded)), key=folded.__getitem__)
        self._sorted, self._ids = [folded[index] for index in order], np.array(order)
        unnamed = [index for index, token in enumerate(tokenizer.tokens) if token in tokenizer.unnamed]
        self._unnamed = np.isin(np.arange(len(tokenizer)), unnamed)

    def fitting(self, prefix: str) -> np.ndarray:
        """Returns the ids of the pieces that may come next where a prefix is to be written, int [M].

        Args:
            prefix: what is to be written, with the space before it, whatever the case; "" where anything may begin.
        """
        if not prefix:
            return self._ending
        prefix = fold_case(prefix)
        fits = [self._between(prefix, prefix + _AFTER_ANY)]
        if not self.are_words:
            fits += [self._between(prefix[:end], prefix[:end] + "\0") for end in range(1, len(prefix))]
        ids = np.concatenate(fits)
        return np.sort(ids[~self._unnamed[ids]])

    def covers(self, ids: np.ndarray, prefix: str) -> np.ndarray:
        """Returns which of the pieces that fit write a whole prefix, bool [M]."""
        return self._lengths[ids] >= len(prefix)

    def ids_of(self, words: Collection[str]) -> list[int]:
        """Returns the ids of the words that are tokens."""
        return [self._token_to_id[word] for word in words if word in self._token_to_id]

    def end_probability(self, log_probabilities: np.ndarray) -> float:
        """Returns the probability that a word ends, from those of the next piece, natural logarithms, float [V]."""
        return 1.0 if self.are_words else _mass(log_probabilities, self._ending, 0.0)

    def _between(self, first, last):
        low = bisect.bisect_left(self._sorted, first)
        return self._ids[low : bisect.bisect_left(self._sorted, last, lo=low)]


@functools.lru_cache(8)
def pieces_of(tokenizer: Tokenizer) -> WordPieces:
    """Returns the `WordPieces` of a tokenizer, made once."""
    return WordPieces(tokenizer)


def search_words(
    pieces: WordPieces,
    context: Any,
    log_probabilities: Callable[[Any], np.ndarray],
    prefix: str,
    k: int,
    exclude: Collection[str] = (),
    begins: bool = False,
    at_least: float = 0.0,
) -> Generator[list[Beginning], list[Any], NextWords]:
    """Finds the likeliest next words.

    Args:
        pieces: the `WordPieces`.
        context: what the caller knows after the text before the word.
        log_probabilities: returns those of the next piece after a context, natural logarithms, float [V].
        prefix: how the word begins, with the space before it; "" if the text before ends with a whole word, after which
            anything may come. The probabilities are then those after a whole word.
        k: number of words.
        exclude: words that are left out.
        begins: whether a word comes without a space before it, see `begins_paragraph`.
        at_least: the least probability of a word that is looked for.

    Yields:
        `Beginning`s. The caller sends the contexts after them, in the same order.

    Returns:
        `NextWords`, with fewer than k words if there are fewer, or if the others are all but impossible.
    """
    if len(prefix) > _MAX_PREFIX and not pieces.are_words:
        return NextWords([], 0.0)
    width = k + len(exclude) + _MORE
    first = log_probabilities(context)
    ids = pieces.after_space if begins and not prefix else pieces.fitting(prefix)
    before = -np.log(1.0 if prefix or begins else max(pieces.end_probability(first), 1e-30))
    beams = _likeliest(pieces, first, ids, width, "", before, context)
    covering = np.setdiff1d(ids[pieces.covers(ids, prefix)], pieces.ids_of(exclude))
    total = _mass(first, covering, before)
    found = _Found(exclude)
    for turn in range(_MAX_ROUNDS + len(prefix)):
        waiting = [beam for beam in beams if not found.take_whole(beam, prefix, pieces.are_words)]
        likely = max([total, *(math.exp(beam.log_probability) for beam in waiting)]) if turn else 0.0
        least = max(at_least, _LEAST_SHARE * likely, found.least_of(k))
        waiting = [beam for beam in waiting if np.exp(beam.log_probability) > least]
        if not waiting:
            break
        contexts = yield waiting
        read = [(beam, after, log_probabilities(after)) for beam, after in zip(waiting, contexts, strict=True)]
        for beam, _, following in read:
            if len(beam.written) >= len(prefix) and beam.written.strip():
                found.add(beam.written, np.exp(beam.log_probability) * pieces.end_probability(following))
        least = max(least, found.least_of(k))
        beams = []
        for beam, after, following in read:
            rest = prefix[len(beam.written) :]
            if rest or not beam.written:
                fits = pieces.fitting(rest)
                total += _mass(following, fits[pieces.covers(fits, rest)], beam.log_probability)
            else:
                fits = pieces.going_on if beam.written.strip() else pieces.after_space
            beams += _likeliest(pieces, following, fits, width, beam.written, beam.log_probability, after, least)
        beams = sorted(beams, key=lambda beam: -beam.log_probability)[:width]
    return NextWords(sorted(found.items(), key=lambda pair: -pair[1])[:k], min(total, 1.0))


def run_search(search: Generator[list[Beginning], list[Any], Any], read: Callable[[list[Beginning]], list[Any]]) -> Any:
    """Returns the result of `search_words`.

    Args:
        search: the generator.
        read: returns the contexts after `Beginning`s.
    """
    try:
        asked = next(search)
        while True:
            asked = search.send(read(asked))
    except StopIteration as end:
        return end.value


def typed_words(text: str) -> Iterator[str]:
    """Yields the words of a text as the search finds them: signs of punctuation are words, a line's end is `<eos>`."""
    for of_word, run in itertools.groupby(text, is_of_word):
        if of_word:
            yield "".join(run)
        else:
            yield from (EOS if sign == "\n" else sign for sign in run if sign == "\n" or not sign.isspace())


def begins_paragraph(tokenizer: Tokenizer, text: str) -> bool:
    """Returns whether the next word comes without a space, as a paragraph's first does in some tokenizers.

    Args:
        tokenizer: a `Tokenizer`.
        text: the text before the word.
    """
    return not tokenizer.first and (not text or text.endswith("\n"))


def typed_after(text: str) -> str:
    """Returns a text that is typed after a whole word: with a space before a letter or a digit, else as it is."""
    return f" {text}" if text and unicodedata.category(text[0])[0] in "LN" else text


def split_typed(text: str, first: str) -> tuple[str, str]:
    """Splits a text into what is whole, and the beginning of the word that is being typed, with the space before it.

    Args:
        text: any text, of which the last word is unfinished unless something else than a letter follows it.
        first: what a tokenizer puts before a paragraph's first word: " " or "".
    """
    start = len(text)
    while start and is_of_word(text[start - 1]):
        start -= 1
    before = text[start - 1 : start] if start else "\n"
    if before == " ":
        return text[: start - 1], text[start - 1 :]
    return text[:start], (first if before == "\n" else "") + text[start:]


def is_of_word(character: str) -> bool:
    """Returns whether it is of a word: a letter, a mark, a digit, `'`, `-`, or a byte of such a character."""
    category = unicodedata.category(character)
    return category[0] in "LMN" or category == "Cs" or character in "'’-"


def _likeliest(pieces, log_probabilities, ids, width, written, before, context, least=0.0):
    """Returns the likeliest `Beginning`s after one, if likelier than `least`; of equals those of lower ids."""
    values = log_probabilities[ids]
    if least > 0:
        likely = np.flatnonzero(values > np.log(least) - before)
        ids, values = ids[likely], values[likely]
    if width < len(ids):
        best = values >= np.partition(values, -width)[-width]
        ids, values = ids[best], values[best]
    order = np.lexsort((ids, -values))[:width]
    return [Beginning(written + pieces.written[ids[i]], before + float(values[i]), context, int(ids[i])) for i in order]


def _mass(log_probabilities, ids, before):
    """Returns the probability of all of some pieces after a beginning of log probability `before`."""
    return math.exp(before) * float(np.exp(log_probabilities[ids]).sum(dtype="float64"))


class _Found(dict):
    """Word -> its probability."""

    def __init__(self, exclude):
        super().__init__()
        self._exclude = exclude

    def take_whole(self, beam, prefix, is_word):
        """Returns whether a beginning is a whole word at once, which is then added: of words, or of a sign."""
        whole = len(beam.written) >= len(prefix) and (is_word or _is_sign(beam.written))
        if whole:
            self.add(beam.written, np.exp(beam.log_probability))
        return whole

    def least_of(self, k):
        """Returns the least probability of the likeliest k; 0 if there are fewer."""
        return min(heapq.nlargest(k, self.values())) if len(self) >= k else 0.0

    def add(self, written, probability):
        try:
            text = written.encode(errors="surrogateescape").decode()
        except UnicodeDecodeError:
            return  # a part of a character is no word
        word = EOS if text == "\n" else text.strip()
        # Bytes may write a sign behind a word, as they write a letter.
        glued = text != written and is_of_word(word[0]) and not all(map(is_of_word, word))
        if word not in self._exclude and not glued:
            self[word] = self.get(word, 0.0) + float(probability)


def _is_sign(written):
    return written == "\n" or (bool(written.strip()) and not is_of_word(written[-1]))
