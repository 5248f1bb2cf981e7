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
from collections.abc import Collection

import numpy as np

from kerasptb.data.lexicon import Lexicon
from kerasptb.data.tokenizers.prefixes import fold_bytes, fold_case
from kerasptb.data.tokenizers.tokenizer import Ending
from kerasptb.data.tokenizers.written_text import is_of_word
from kerasptb.keyboard.channel import Channel, Taps
from kerasptb.keyboard.memory import Memory
from kerasptb.keyboard.taps import Trie
from kerasptb.native import core
from kerasptb.reading.context import Context
from kerasptb.reading.pieces import WordPieces, is_surrogate
from kerasptb.reading.search import Searching, read_for
from kerasptb.reading.words import left_out_of

# By how much a word must be likelier than what is typed, as a natural logarithm, to be written instead.
MARGIN = core.CONSTANTS["LM_MARGIN"]
_NONE = np.zeros(0, "uint32")


@dataclasses.dataclass(frozen=True)
class Readings:
    """What taps may stand for.

    Attributes:
        words: pairs of a word and the probability that it comes and is typed so, the likeliest first; what the taps
            write may be among them.
        literal: what the taps write.
        literal_probability: the same of that.
        total: the same of all words, in [0, 1]: of more than `words`.
        context: the `Context` after what is typed, whose last piece is not read if each is a word.
    """

    words: list[tuple[str, float]]
    literal: str
    literal_probability: float
    total: float
    context: Context | None = None

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
    least_odds: float = core.CONSTANTS["LM_LEAST_ODDS"],
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

    Returns:
        The `Readings`.

    Raises:
        DataError: if nothing was read yet and the model does not know how a text begins.
    """
    if not may_be_tapped(taps.text):
        return Readings([], taps.text, 0.0, 0.0)
    trie, model = _tapped(pieces)
    hits = channel.hits(trie, taps, whole)
    bits, excluded = left_out_of(pieces, frozenset(exclude))
    search = core.Search(
        model,
        fold_bytes("" if begins else " "),
        k,
        taps.text.encode(),
        begins,
        hits,
        least_odds=least_odds,
        left_out=bits,
        excluded=excluded,
        beside=_NONE if memory is None else memory.hashes,
        known=_NONE if lexicon is None else _folded(lexicon).hashes,
        literal=pieces.tokenizer.encode_further(taps.text, Ending.OPENING if begins else Ending.WORD).astype("int32"),
    )
    after = yield from read_for(search, context)
    found, total = dict(search.words()) | {taps.text: search.literal}, search.total
    if memory is not None:
        aligned = memory.texts.align(model, hits)
        typed = memory.beginning(taps.text, whole)
        # One with a letter that the model lacks is found as it is typed.
        aligned[typed[aligned[typed] == 0]] = channel.errors.hit ** len(taps.text)
        total = _mix(found, total, memory, exclude, aligned)
    shown = ((word, min(value, 1.0)) for word, value in found.items() if word not in exclude)
    words = heapq.nlargest(k, shown, key=lambda pair: pair[1])
    return Readings(words, taps.text, found[taps.text], min(total, 1.0), after)


def may_be_tapped(text: str) -> bool:
    """Returns whether it is short enough to be looked for with errors."""
    return len(text) <= core.MOST_TAPS and len(text.encode()) < core.WORD_BYTES


def trie_of(pieces: WordPieces) -> Trie:
    """Returns the pieces that write a word, or go on with one, by their letters; made once."""
    return _tapped(pieces)[0]


@functools.lru_cache(8)
def _tapped(pieces: WordPieces) -> tuple[Trie, core.Model]:
    """Returns the `Trie` of pieces, and what the core searches with."""
    named, unnamed = zip(pieces.tokenizer.tokens, pieces.written, strict=True), pieces.tokenizer.unnamed
    trie = Trie([text if token not in unnamed and _writes(pieces, text) else None for token, text in named])
    return trie, core.Model(pieces.fields | trie.fields)


@functools.lru_cache(8)
def _folded(lexicon: Lexicon) -> core.Texts:
    return core.Texts(map(fold_case, lexicon.words))


def _writes(pieces: WordPieces, text: str) -> bool:
    letters = text.removeprefix(" ")
    if pieces.are_words:
        return bool(letters) and not any(map(str.isspace, letters))
    return text == " " or (bool(letters) and all(is_of_word(each) and not is_surrogate(each) for each in letters))


def _mix(found: dict[str, float], total: float, memory: Memory, exclude: Collection[str], aligned: np.ndarray) -> float:
    """Mixes a memory into the probabilities of words; those that the search has not found have none of the model.

    Args:
        found: the probabilities by word, which change.
        total: that of all words.
        memory: the `Memory`.
        exclude: words that are left out.
        aligned: float64 [N], the probability of the taps for each word of its lexicon.

    Returns:
        The total after that.
    """
    of_model, shares = memory.shares
    total *= of_model
    for word in found:
        found[word] *= of_model
    for place in np.flatnonzero((shares > 0) & (aligned > 0)).tolist():
        if (word := memory.lexicon[place]) not in exclude:
            more = float(shares[place] * aligned[place])
            found[word], total = found.get(word, 0.0) + more, total + more
    return total
