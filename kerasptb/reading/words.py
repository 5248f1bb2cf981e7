"""Whole words from the pieces that a model predicts: the likeliest next words, and what it takes that they end there.

A word of letters, digits, apostrophes and hyphens is the pieces that write it, with the space before it. Its
probability is that of its pieces, times that the next piece does not go on with it. In a vocabulary of words each piece
is a word, and whatever follows ends it. A sign of punctuation, or the end of a paragraph, is a word of one piece.
"""

import functools
from collections.abc import Collection
from typing import Any

import numpy as np

from kerasptb.data.tokenizers.prefixes import fold_bytes
from kerasptb.native import core
from kerasptb.reading.context import Context
from kerasptb.reading.pieces import WordPieces
from kerasptb.reading.search import NextWords, Searching, read_for

# Words of pieces that are looked for: with 8,000 pieces as many take a second and 450 MB.
_MOST_SEARCHED = 1000
_NONE = np.zeros(0, int)


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
    beside: np.ndarray = _NONE,
    **limits: Any,
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
        beside: words that do not count towards k, and are returned too if the search meets them: the `hashes` of
            `Texts`, uint32 [N].
        **limits: fields of an `lm_question`, `most_rows` and `least_share`, instead of those above.

    Yields:
        `Beginning`s. The caller sends the `Context`s after them, in the same order.

    Returns:
        `NextWords`, with fewer than k words if there are fewer, or if the others are all but impossible.
    """
    folded, (bits, excluded) = fold_bytes(prefix), left_out_of(pieces, frozenset(exclude))
    if len(folded) >= core.WORD_BYTES:
        return NextWords([], 0.0)
    if len(left_out):
        bits = bits.copy()
        bits[left_out] = 1
    limits |= {"left_out": bits, "excluded": excluded, "beside": beside, "at_least": at_least}
    search = core.Search(pieces.model, folded, k, begins=begins, **limits)
    yield from read_for(search, context)
    return NextWords(search.words(), search.total)


@functools.lru_cache(64)
def left_out_of(pieces: WordPieces, words: frozenset[str]) -> tuple[np.ndarray, np.ndarray]:
    """Returns `lm_question.left_out`, uint8 [V], and `excluded`, uint32 [N], of some words."""
    bits = np.zeros(len(pieces.written), "uint8")
    bits[pieces.ids_of(words)] = 1
    return bits, core.Texts(words).hashes
