"""What a text has, however it is cut into tokens: by it the figures of words, subwords and characters compare."""

from __future__ import annotations

import dataclasses
import math
import operator

from kerasptb.data.scripts import count_unspaced

# A text with more characters a word has no words between its spaces; one of a script that is written without spaces
# counts as several, so that Chinese whose words were parted by spaces has some, and a short line as it is written none.
_MOST_CHARACTERS, _OF_UNSPACED = 20, 5


@dataclasses.dataclass(frozen=True)
class TextSizes:
    """The sizes of a text as it was read: of what its tokens write, and so of what is predicted.

    As subwords or characters these are its paragraphs, each with an end, but for the end of a text that has none: not
    the empty lines between them, nor the white space at their ends; where lines were joined there is a space. As words
    they are its lines with one space between two words.

    A perplexity P of the `tokens` of a text is one of P ** (tokens / words) of its words, P ** (tokens / characters) of
    its characters, and log2(P) * tokens / bytes bits a byte (Gao et al., 2020, "The Pile"). So a token that
    is not predicted, as the first one and what fills no batch, counts as the mean of those that are.
    """

    tokens: int
    words: int  # between white space, and ends of lines or paragraphs
    bytes: int  # in UTF-8
    characters: int
    unspaced: int = 0  # characters of scripts that are written without spaces
    unknown: int = 0  # words that are `<unk>`
    joined: int = 0  # lines that were joined to the one before, because the text is wrapped

    def __add__(self, other: TextSizes) -> TextSizes:
        """Returns the sizes of this text and another after it."""
        return TextSizes(*map(operator.add, dataclasses.astuple(self), dataclasses.astuple(other)))

    @property
    def has_words(self) -> bool:
        """Whether what stands between its spaces are words, as they are not in Chinese, Japanese or Thai."""
        return has_words(self.words, self.characters, self.unspaced)

    def word_perplexity(self, perplexity: float) -> float:
        """Returns the perplexity of a word where that of a token is `perplexity`; NaN for a text without words."""
        return _power(perplexity, self.tokens / self.words) if self.has_words else math.nan

    def character_perplexity(self, perplexity: float) -> float:
        """Returns the perplexity of a character where that of a token is `perplexity`."""
        return _power(perplexity, self.tokens / self.characters)

    def bits_per_byte(self, perplexity: float) -> float:
        """Returns the bits a byte where the perplexity of a token is `perplexity`."""
        return math.log2(perplexity) * self.tokens / self.bytes

    @property
    def unknown_share(self) -> float:
        """The share of the words that are `<unk>`, in [0, 1]."""
        return self.unknown / self.words


def has_words(words: int, characters: int, unspaced: int) -> bool:
    """Returns whether what stands between the spaces of a text with these `TextSizes` are words."""
    return characters + (_OF_UNSPACED - 1) * unspaced <= _MOST_CHARACTERS * words


def sizes_of(paragraph: str) -> tuple[int, int, int, int]:
    """Returns the words, bytes, characters and characters of scripts without spaces of a paragraph and its end."""
    size = len(paragraph.encode(errors="surrogateescape"))
    return len(paragraph.split()) + 1, size + 1, len(paragraph) + 1, count_unspaced(paragraph)


def _power(perplexity: float, exponent: float) -> float:
    try:
        return perplexity**exponent
    except OverflowError:
        return math.inf


def describe(sizes: TextSizes, perplexity: float) -> str:
    """Returns the figures of a text that do not depend on its tokens, for people to read."""
    if sizes.has_words:
        figure = f"perplexity of a word {sizes.word_perplexity(perplexity):.2f}"
    else:
        figure = f"perplexity of a character {sizes.character_perplexity(perplexity):.2f}"
    figures = f"{figure}, {sizes.bits_per_byte(perplexity):.3f} bits a byte"
    return f"{figures} ({sizes.unknown_share:.1%} of the words unknown)" if sizes.unknown else figures
