"""The words that taps may stand for: a search as that of words.py, in which each beginning has a row of an alignment.

The value of a beginning is its probability times what its letters can make of the taps at most, so that exact typing is
the case of a row with one number. What the taps write, letter by letter, is read too, in the same rounds: its
probability says whether it stays.
"""

from __future__ import annotations

import dataclasses
import functools
import heapq
import math
from collections.abc import Callable, Collection, Container, Iterable, Iterator

import numpy as np

from kerasptb.data.lexicon import Lexicon
from kerasptb.data.tokenizers.tokenizer import Ending
from kerasptb.data.tokenizers.written_text import is_of_word
from kerasptb.keyboard import taps as ops
from kerasptb.keyboard.channel import Channel, Taps
from kerasptb.keyboard.memory import Memory
from kerasptb.reading.context import Beginning, Context
from kerasptb.reading.pieces import WordPieces, is_surrogate, word_of
from kerasptb.reading.search import Pace, Search, Searching

_Next = tuple[int, float, ops.Row]  # what may follow: the id of a piece, its value, the row after it

# Longer taps are not looked for, and stay as they are.
MAX_TAPS = 40
# Beginnings that are read at most, and more for each word that is asked for.
_MOST_ROWS, _ROWS_A_WORD = 64, 12
# By how much a word must be likelier than what is typed, as a natural logarithm, to be written instead.
MARGIN = 1.75
# What a model gives for each letter to come, about: else beginnings with a letter or two come before whole words.
_A_TAP = 0.12
# A piece that is less likely than this after what comes before it, with its taps, is not looked at.
_LOG_LEAST_PIECE = -20.0
# Nor is what has a smaller share of all that was found.
_LEAST_SHARE = 1e-3
_PACE = Pace(0.7, 0.1, lambda k: max(3 * k, 10))
# Words whose odds against what is typed are less are not looked for.
_LEAST_ODDS = 1e-2


@dataclasses.dataclass(frozen=True)
class Readings:
    """What taps may stand for.

    Attributes:
        words: pairs of a word and the probability that it comes and is typed so, the likeliest first; what the taps
            write may be among them.
        literal: what the taps write.
        literal_probability: the same of that.
        total: the same of all that was found, in [0, 1]: of more than `words`.
    """

    words: list[tuple[str, float]]
    literal: str
    literal_probability: float
    total: float

    def corrected(self, margin: float = MARGIN) -> str:
        """Returns the likeliest word, or what is typed unless that is likelier by a margin of log odds."""
        for word, probability in self.words:
            if word != self.literal:
                return word if probability > self.literal_probability * math.exp(margin) else self.literal
        return self.literal

    def log_odds(self, word: str) -> float:
        """Returns by how much a word is likelier than what was typed, a natural logarithm, at most 700."""
        return min(math.log(dict(self.words)[word]) - math.log(max(self.literal_probability, 1e-300)), 700.0)


def search_taps(
    pieces: WordPieces,
    context: Context,
    taps: Taps,
    channel: Channel,
    k: int,
    whole: bool,
    exclude: Collection[str] = (),
    begins: bool = False,
    memory: Memory | None = None,
    lexicon: Lexicon | None = None,
    least_odds: float = _LEAST_ODDS,
    literal: Literal | None = None,
) -> Searching[Readings]:
    """Finds the likeliest words that taps may stand for; a generator as `search_words`.

    Args:
        pieces: the `WordPieces`.
        context: the `Context` after the text before the word.
        taps: the `Taps`, at least one.
        channel: the `Channel`.
        k: number of words.
        whole: whether the taps are all of the word, else it may go on. Two words whose space was left out are a word
            with a space.
        exclude: words that are left out.
        begins: whether the word comes without a space before it, see `comes_unspaced`.
        memory: the words typed before, which are likelier; `None` for none.
        lexicon: words that are known: others are less likely, by `Errors.unknown`; `None` if none is.
        least_odds: the least odds of a word against what the taps write with which it is looked for.
        literal: what the taps write, if it is read already; `None` to read it meanwhile.

    Returns:
        The `Readings`.

    Raises:
        DataError: if nothing was read yet and the model does not know how a text begins.
    """
    if len(taps.text) > MAX_TAPS:
        return Readings([], taps.text, 0.0, 0.0)
    literal = literal or Literal(pieces, context, taps.text, begins)
    hits = _with_forecast(channel.hits(trie_of(pieces), taps, whole))
    lead = "" if begins else " "

    def prior(word: str) -> float:
        known = lexicon is None or word in lexicon or (memory is not None and word in memory)
        return 1.0 if known else channel.errors.unknown

    others = set(exclude) - {taps.text}  # its ways add up, though it may be left out
    search = _TappedSearch(pieces, lead, hits, k, others, () if memory is None else memory, prior)
    row, before = ops.first_row(hits, _A_TAP ** len(taps.text)), -pieces.log_given(context.known(), lead, begins)

    def as_typed() -> float:
        return prior(taps.text) * math.exp(literal.log_probability + before) * hits.hit ** len(taps.text)

    asked = [Beginning("", before + math.log(row.bound), context, -1, row)] if hits.may_be_words else []
    of_literal: list[Beginning] = []
    contexts = [context]
    while asked or of_literal:
        if literal.is_done:
            search.at_least = least_odds * as_typed()
        search.read(list(zip(asked, contexts[: len(asked)], strict=True)))
        asked, of_literal = search.take(), literal.take()
        if asked or of_literal:
            contexts = yield [*asked, *of_literal]
            if of_literal:
                literal.read(contexts[-1])
    found = dict(search.result().words)
    found[taps.text] = max(as_typed(), found.get(taps.text, 0.0))
    if memory is not None:
        _mix(found, memory, exclude, hits, row, trie_of(pieces))
    as_it_is, total = found[taps.text], min(sum(found.values()), 1.0)
    shown = ((word, min(value, 1.0)) for word, value in found.items() if word not in exclude)
    return Readings(heapq.nlargest(k, shown, key=lambda pair: pair[1]), taps.text, as_it_is, total)


@functools.lru_cache(8)
def trie_of(pieces: WordPieces) -> ops.Trie:
    """Returns the pieces that write a word, or go on with one, by their letters; made once."""
    named = zip(pieces.tokenizer.tokens, pieces.written, strict=True)
    unnamed = pieces.tokenizer.unnamed
    return ops.Trie([text if token not in unnamed and _writes(pieces, text) else None for token, text in named])


def _writes(pieces: WordPieces, text: str) -> bool:
    letters = text.removeprefix(" ")
    if pieces.are_words:
        return bool(letters) and not any(map(str.isspace, letters))
    return text == " " or (bool(letters) and all(is_of_word(each) and not is_surrogate(each) for each in letters))


def _spelling(word: str) -> float:
    """Returns the log probability of the letters of a word that the vocabulary lacks: 1 / 20 each."""
    return -math.log(20) * (len(word) + 1)


def _mix(
    found: dict[str, float], memory: Memory, exclude: Collection[str], hits: ops.Hits, row: ops.Row, trie: ops.Trie
) -> None:
    """Mixes a memory into the probabilities of words; those that the search has not found have none of the model."""
    of_model, shares = memory.shares
    places = np.flatnonzero(shares > 0)
    words = [memory.lexicon[place] for place in places]
    aligned = ops.align_all(hits, row, [trie.spell(word) for word in words])
    for word in found:
        found[word] *= of_model
    for word, share, taps in zip(words, shares[places].tolist(), aligned.tolist(), strict=True):
        if taps > 0 and word not in exclude:
            found[word] = found.get(word, 0.0) + share * taps


def _with_forecast(hits: ops.Hits) -> ops.Hits:
    """Returns `Hits` that are worth more by what a tap to come costs, of which `first_row` begins with that of all."""
    return dataclasses.replace(hits, likelihoods=hits.likelihoods / _A_TAP, strays=hits.strays / _A_TAP)


class _TappedSearch(Search):
    """A search of the words that taps may stand for."""

    least_share, pace = _LEAST_SHARE, _PACE

    def __init__(
        self,
        pieces: WordPieces,
        lead: str,
        hits: ops.Hits,
        k: int,
        exclude: Collection[str],
        beside: Container[str],
        prior: Callable[[str], float],
    ) -> None:
        super().__init__(pieces, k, exclude, 0.0, beside, _MOST_ROWS + _ROWS_A_WORD * k)
        self._spaced = max(hits.likelihoods[-1].max(initial=0.0), hits.omitted[-1])
        self._lead, self._hits, self._trie, self._prior = lead, hits, trie_of(pieces), prior

    def _end(self, beginning: Beginning, after: Context) -> None:
        if beginning.written.strip() and not self._pieces.are_words:
            self._add_ended(beginning, self._pieces.end_after(after))

    def _add_ended(self, beginning: Beginning, ended: float) -> None:
        share = beginning.row.end / beginning.row.bound
        if share > 0 and (word := word_of(beginning.written)):
            probability = self._prior(word) * math.exp(beginning.log_probability) * ended * share
            self._add(beginning.written, probability)
            self._total = max(self._total, probability)

    def _follow(self, beginning: Beginning, after: Context, least: float) -> None:
        log_least = max(self._log_least(least) - beginning.log_probability, _LOG_LEAST_PIECE)
        first, last = self._places(beginning.written)
        ids, values, row_after = ops.follow(
            self._trie, first, last, self._hits, beginning.row, after.known(), log_least, self._left
        )
        found = zip(ids.tolist(), values.tolist(), map(row_after, range(len(ids))), strict=True)
        if self._pieces.are_words:
            found = iter([*self._without_whole(beginning, found, log_least)])  # all, since words are added meanwhile
        elif not beginning.written and self._lead and self._trie.space < len(self._trie.pieces):
            space = int(self._trie.pieces[self._trie.space])
            if space >= 0 and (value := float(after.known()[space])) > log_least:
                found = iter(sorted([*found, (space, value, beginning.row)], key=lambda each: -each[1]))
        self._wait(beginning, after, found)

    def _places(self, written: str) -> tuple[int, int]:
        """Returns where in the trie the pieces are that may follow: a space comes first, if any, or between words."""
        space, end = self._trie.space, len(self._trie.letters)
        if written.strip():
            return 0, end
        return (space + 1, end) if self._lead and not written else (0, space)

    def _without_whole(self, beginning: Beginning, found: Iterable[_Next], log_least: float) -> Iterator[_Next]:
        """Adds words that are tokens. Yields those that another word may follow, after a space that may be left out."""
        for index, value, row in found:
            written = beginning.written + self._pieces.written[index]
            ended = Beginning(written, beginning.log_probability + value, beginning.context, index, row)
            self._add_ended(ended, 1.0)
            left = self._spaced * (1 - row.end / row.bound)
            if left > 0 and value + math.log(left) > log_least:
                yield index, value, row


class Literal:
    """What taps write, read piece by piece.

    Args:
        pieces: the `WordPieces`.
        context: the `Context` after the text before.
        text: what is written.
        begins: whether it comes without a space before it.

    Attributes:
        context: the `Context` after the pieces that are read.
        log_probability: of the pieces so far, and once it `is_done` that the word ends.
        is_done: whether its probability is known, for which the last piece is not read if each is a word.
    """

    def __init__(self, pieces: WordPieces, context: Context, text: str, begins: bool) -> None:
        tokenizer = pieces.tokenizer
        self._pieces, self.context, self._place, self.is_done = pieces, context, 0, False
        self._ids = tokenizer.encode_further(text, Ending.OPENING if begins else Ending.WORD).tolist()
        self.log_probability = _spelling(text) if tokenizer.unk_id in self._ids else 0.0
        self._advance()

    def take(self) -> list[Beginning]:
        """Returns the `Beginning` that is to be read next, if any."""
        return [] if self.is_done else [Beginning("", 0.0, self.context, self._ids[self._place - 1])]

    def read(self, context: Context) -> None:
        """Takes the `Context` after it."""
        self.context = context
        self._advance()

    @property
    def unread(self) -> list[int]:
        """The piece that was not read, if any."""
        return self._ids[-1:] if self._pieces.are_words else []

    def _advance(self) -> None:
        logs = self.context.known()
        if self._place < len(self._ids):
            self.log_probability += float(logs[self._ids[self._place]])
            self._place += 1
            self.is_done = self._pieces.are_words and self._place == len(self._ids)
        else:
            self.log_probability += math.log(max(self._pieces.end_probability(logs), 1e-30))
            self.is_done = True
