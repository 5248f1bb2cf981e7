"""What the pieces of a tokenizer are to words: which begin one, go on with one, and end one."""

import functools
import math
import unicodedata
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from kerasptb.data import EOS, UNK, Tokenizer
from kerasptb.data.tokenizers.prefixes import fold_bytes
from kerasptb.data.tokenizers.written_text import is_of_word
from kerasptb.native import core
from kerasptb.reading.characters import characters


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
        unshown: words that no key shows: what names no word, and the end of a paragraph.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer, self.written = tokenizer, tokenizer.written
        self.ends_word = np.array([not text or not is_of_word(text[0]) for text in self.written])
        self.are_words = bool(self.ends_word.all())
        self.has_ways = not self.are_words and max(map(len, tokenizer.pieces)) > 1
        self.has_letter = np.array(
            [any(each.isalnum() or is_surrogate(each) for each in text) for text in self.written]
        )
        self.is_whole = np.array([self.are_words or _is_sign(text) for text in self.written])
        self.going_on = np.flatnonzero(~self.ends_word)
        self.unshown = frozenset((EOS, UNK, *tokenizer.unnamed))

    @functools.cached_property
    def whole(self) -> dict[str, list[int]]:
        """The ids of the pieces that are a word which ends at once, by the word."""
        words: dict[str, list[int]] = {}
        for index in np.flatnonzero(self.is_whole).tolist():
            words.setdefault(word_of(self.written[index]), []).append(index)
        return words

    def ids_of(self, words: Collection[str]) -> list[int]:
        """Returns the ids of the pieces that are one of some words, which ends at once."""
        return [index for word in words for index in self.whole.get(word, ())]

    def end_probability(self, log_probabilities: np.ndarray) -> float:
        """Returns the probability that a word ends, from those of the next piece, natural logarithms, float [V]."""
        return 1.0 if self.are_words else mass(log_probabilities[self.ends_word])

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
        known = self._spaced if prefix else self.ends_word
        return math.log(max(mass(log_probabilities[known]), 1e-30))

    @functools.cached_property
    def _spaced(self) -> np.ndarray:
        """Whether a piece begins with a space and may be shown, bool [V]."""
        return np.array([text[:1] == b" " for text in self._folded()])

    def _folded(self) -> list[bytes]:
        """Returns what the pieces write as it is compared with what is typed; nothing of those that name no word."""
        named = zip(self.tokenizer.tokens, self.written, strict=True)
        return [b"" if token in self.tokenizer.unnamed else fold_bytes(text) for token, text in named]

    @functools.cached_property
    def fields(self) -> dict[str, Any]:
        """The fields of an `lm_model` that a search for words needs."""
        classes, cases = characters()
        return {
            "kind": 0 if self.are_words else 1 if self.has_ways else 2,
            "unk": core.id_of(self.tokenizer.unk_id),
            "num_tokens": len(self.tokenizer.pieces),
            "num_classes": len(classes),
            "num_cases": len(cases),
            "most_letters": max(map(len, self.tokenizer.pieces)),
            **_joined("pieces", self.tokenizer.pieces),
            **_joined("folded", self._folded()),
            "roles": self._roles(),
            "classes": classes,
            "cases": cases,
        }

    @functools.cached_property
    def model(self) -> core.Model:
        """What the core searches words of these pieces with."""
        return core.Model(self.fields)

    def _roles(self) -> np.ndarray:
        """Returns the bits of `LM_ENDS_WORD` and so on, uint8 [V]."""
        bits = (
            self.ends_word,
            self.is_whole,
            [not text or text[0].isspace() for text in self.written],
            [bool(text.strip()) for text in self.written],
            [any(map(is_surrogate, text)) for text in self.written],
            np.isin(np.arange(len(self.written)), self.ids_of(self.unshown)),
        )
        return np.packbits(np.array(bits, bool), axis=0, bitorder="little")[0]


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


def _joined(name: str, texts: Sequence[bytes]) -> dict[str, np.ndarray]:
    """Returns texts one behind the other, and where each ends, as fields of an `lm_model`."""
    ends = np.cumsum([len(text) for text in texts]).astype("int32")
    return {name: np.frombuffer(b"".join(texts), "uint8"), f"{name}_ends": ends}


def _is_sign(written: str) -> bool:
    return written == "\n" or (bool(written.strip()) and not is_of_word(written[-1]))
