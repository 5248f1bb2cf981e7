"""What a text has, however it is cut into tokens: by it the figures of words, subwords and characters compare."""

import dataclasses
import math
import operator


@dataclasses.dataclass(frozen=True)
class TextCounts:
    """The sizes of a text.

    A perplexity P of the `tokens` of a text is one of P ** (tokens / words) of its words, and log2(P) * tokens / bytes
    bits a byte.
    """

    tokens: int
    words: int  # between white space, and ends of lines or paragraphs
    bytes: int  # in UTF-8, of the words with a space or a line end after each
    unknown: int = 0  # words that are `<unk>`
    joined: int = 0  # lines that were joined to the one before, because the text is wrapped

    def __add__(self, other: "TextCounts") -> "TextCounts":
        """Returns the sizes of this text and another after it."""
        return TextCounts(*map(operator.add, dataclasses.astuple(self), dataclasses.astuple(other)))

    def word_perplexity(self, perplexity: float) -> float:
        """Returns the perplexity of a word where that of a token is `perplexity`."""
        try:
            return perplexity ** (self.tokens / self.words)
        except OverflowError:
            return math.inf

    def bits_per_byte(self, perplexity: float) -> float:
        """Returns the bits a byte where the perplexity of a token is `perplexity`."""
        return math.log2(perplexity) * self.tokens / self.bytes

    @property
    def unknown_share(self) -> float:
        """The share of the words that are `<unk>`, in [0, 1]."""
        return self.unknown / self.words


def describe(counts: TextCounts, perplexity: float) -> str:
    """Returns the figures of a text that do not depend on its tokens, for people to read."""
    of_word, of_byte = counts.word_perplexity(perplexity), counts.bits_per_byte(perplexity)
    figures = f"perplexity of a word {of_word:.2f}, {of_byte:.3f} bits a byte"
    return f"{figures} ({counts.unknown_share:.1%} of the words unknown)" if counts.unknown else figures
