"""What the pieces of a tokenizer are to words: which begin one, go on with one, and end one."""

import functools
import math
import unicodedata
import weakref
from collections.abc import Collection

import numpy as np

from kerasptb.data import EOS, Tokenizer
from kerasptb.data.tokenizers.written_text import is_of_word
from kerasptb.reading.context import Context


class WordPieces:
    """What the pieces of a tokenizer are to words.

    Args:
        tokenizer: a `Tokenizer`.

    Attributes:
        tokenizer: the same.
        written: V strings, what the pieces write.
        ends_word: bool [V], whether a piece does not go on with a word: it begins with white space or punctuation.
        are_words: whether none goes on with a word, so that each is one.
        has_ways: whether a word may be written in several ways.
        is_whole: bool [V], whether a piece is a word that ends at once: of a vocabulary of words, or a sign.
        has_letter: bool [V], whether a piece writes a letter or a digit, or a part of one.
        going_on: int [M], the ids of those that go on with a word.
        after_space: int [M], the ids of those that do not begin with white space.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer, self.written, self._prefixes = tokenizer, tokenizer.written, tokenizer.prefixes
        self.ends_word = np.array([not text or not is_of_word(text[0]) for text in self.written])
        self.are_words = bool(self.ends_word.all())
        self.has_ways = not self.are_words and max(map(len, tokenizer.pieces)) > 1
        self.has_letter = np.array(
            [any(each.isalnum() or is_surrogate(each) for each in text) for text in self.written]
        )
        self.is_whole = np.array([self.are_words or _is_sign(text) for text in self.written])
        self.going_on, self._ending = np.flatnonzero(~self.ends_word), np.flatnonzero(self.ends_word)
        self.after_space = np.flatnonzero([bool(text) and not text[0].isspace() for text in self.written])
        self._ended: weakref.WeakKeyDictionary[Context, float] = weakref.WeakKeyDictionary()

    @functools.cached_property
    def whole(self) -> dict[str, list[int]]:
        """The ids of the pieces that are a word which ends at once, by the word."""
        words: dict[str, list[int]] = {}
        for index in np.flatnonzero(self.is_whole).tolist():
            words.setdefault(word_of(self.written[index]), []).append(index)
        return words

    def fitting(self, rest: bytes) -> np.ndarray:
        """Returns the ids of the pieces that may come next where the rest of a prefix is to be written, int [M].

        Args:
            rest: what is to be written, with the space before it, as `fold_bytes` has it; b"" where anything may begin.
        """
        if not rest:
            return self._ending
        ids = self._prefixes.beginning_with(rest)
        return ids if self.are_words else np.sort(np.append(ids, self._prefixes.beginning_of(rest)))

    def going_on_above(self, log_probabilities: np.ndarray, least: float) -> np.ndarray:
        """Returns the ids of the pieces that go on with a word whose log probability is above the least, int [M]."""
        likely = np.flatnonzero(log_probabilities > least)
        return likely[~self.ends_word[likely]]

    def covers(self, ids: np.ndarray, rest: bytes) -> np.ndarray:
        """Returns which of the pieces that fit write the whole rest of a prefix, bool [M]."""
        return self._prefixes.sizes[ids] >= len(rest)

    def ids_of(self, words: Collection[str]) -> list[int]:
        """Returns the ids of the pieces that are one of some words, which ends at once."""
        return [index for word in words for index in self.whole.get(word, ())]

    def end_probability(self, log_probabilities: np.ndarray) -> float:
        """Returns the probability that a word ends, from those of the next piece, natural logarithms, float [V]."""
        return 1.0 if self.are_words else mass(log_probabilities[self._ending])

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
        return math.log(max(mass(log_probabilities[self.fitting(prefix[:1].encode())]), 1e-30))


@functools.lru_cache(8)
def pieces_of(tokenizer: Tokenizer) -> WordPieces:
    """Returns the `WordPieces` of a tokenizer, made once."""
    return WordPieces(tokenizer)


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


def mass(log_probabilities: np.ndarray) -> float:
    """Returns the probability of all of some pieces, from their log probabilities, natural logarithms, float [M]."""
    return float(np.exp(log_probabilities).sum(dtype="float64"))


def is_surrogate(character: str) -> bool:
    """Returns whether it stands for a byte that is no whole character."""
    return unicodedata.category(character) == "Cs"


def _is_sign(written: str) -> bool:
    return written == "\n" or (bool(written.strip()) and not is_of_word(written[-1]))
