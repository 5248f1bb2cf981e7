"""What is written in a text with errors: each word as the likeliest that may have become what stands there.

The likeliest ways to read a paragraph are kept after each word, so that the words after one count too. Two words may be
one that a space has parted, and one may be two that lack a space. What stands there stays, unless something else is
likelier by a margin. Many paragraphs are read at once.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator

from kerasptb.data.errors import check_text
from kerasptb.data.lexicon import Lexicon
from kerasptb.models import LanguageModel
from kerasptb.reading.channel import Channel, Taps, open_channel
from kerasptb.reading.context import Beginning, Context
from kerasptb.reading.reader import Reader, open_reader
from kerasptb.reading.words import run_searches
from kerasptb.reading.writer import Writer

# By how much something must be likelier than what stands there, as a natural logarithm.
MARGIN = 3.0
# Ways that are kept, if they are no less likely than the likeliest by so much, and words that are looked for in each.
_WAYS, _LESS, _WORDS = 3, 5.0, 3
# A word that a text has so often is known.
_OFTEN = 3
# Paragraphs that are read at once. Of a long one so many characters are, up to a line's end.
_TOGETHER = 32
_PART = re.compile(r"(?:[^\n]*\S[^\n]*(?:\n|$)){1,50}")
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")


@dataclasses.dataclass(frozen=True)
class Correction:
    """What a word, or two, should be.

    Attributes:
        start: offset of the first character in the text.
        end: offset after the last.
        text: what stands there.
        word: what is likelier.
        log_odds: by how much, a natural logarithm.
    """

    start: int
    end: int
    text: str
    word: str
    log_odds: float


@dataclasses.dataclass(frozen=True, eq=False)
class _Way:
    """A way to read a line up to a word."""

    score: float
    context: Context
    corrections: tuple[Correction, ...] = ()


def correct(
    model: LanguageModel | Reader,
    text: str,
    channel: Channel | str | os.PathLike[str] = "qwerty",
    margin: float = MARGIN,
) -> list[Correction]:
    """Returns what is likely to be wrong in a text, in its order.

    Args:
        model: a `LanguageModel` that knows its tokenizer, or what `load_saved_model` returns.
        text: any text. Words of letters are looked at, with their apostrophes and hyphens.
        channel: how it came to be: the name of a layout of keys, such as "qwerty", its file, "ocr", or a `Channel`.
        margin: by how much something must be likelier than what stands there, a natural logarithm.

    Raises:
        DataError: for a channel that is none, or a text that is none.
        ValueError: if the model does not know its tokenizer.
    """
    return [each for _, of_part in correct_parts(model, text, channel, margin) for each in of_part]


def correct_parts(
    model: LanguageModel | Reader,
    text: str,
    channel: Channel | str | os.PathLike[str] = "qwerty",
    margin: float = MARGIN,
) -> Iterator[tuple[int, list[Correction]]]:
    """Yields what `correct` returns in parts, paragraphs or pieces of them: where each ends, and its corrections."""
    reader = open_reader(model)
    text = reader.text_format.signs.read(check_text(text))
    corrector = _Corrector(reader, open_channel(channel), margin, _known(reader.lexicon, text))
    parts = [match.span() for match in _PART.finditer(text)]
    for first in range(0, len(parts), _TOGETHER):
        some = parts[first : first + _TOGETHER]
        found = dict(run_searches(((start, corrector.part(text[start:end])) for start, end in some), reader.after))
        for start, end in some:
            yield (
                end,
                [dataclasses.replace(each, start=each.start + start, end=each.end + start) for each in found[start]],
            )


def apply(text: str, corrections: Iterable[Correction]) -> str:
    """Returns a text with its corrections."""
    parts, place = [], 0
    for each in corrections:
        parts += [text[place : each.start], each.word]
        place = each.end
    return "".join([*parts, text[place:]])


def _known(lexicon, text):
    """Returns the words that are known: of a lexicon, and those that a text has several times."""
    if lexicon is None:
        return None
    counts = Counter(_WORD.findall(text))
    return Lexicon([*lexicon.words, *(word for word, count in counts.items() if count >= _OFTEN)])


class _Corrector:
    """Reads parts of a text."""

    def __init__(self, reader, channel, margin, lexicon):
        self._begin, self._tokenizer, self._writer = reader.begin(), reader.tokenizer, Writer(reader.tokenizer)
        self._channel, self._margin, self._lexicon = channel, margin, lexicon

    def part(self, text):
        """Finds the corrections of a paragraph; a generator as `search_words`."""
        spans = [match.span() for match in _WORD.finditer(text)]
        if not spans:
            return []
        ways = [[] for _ in range(len(spans) + 2)]
        before = " ".join(text[: spans[0][0]].split())
        ways[0] = [_Way(0.0, (yield from self._after(self._begin, before, "\n")))]
        for i, span in enumerate(spans):
            for way in _likeliest(ways[i]):
                ways[i + 1] += yield from self._read(way, text, *span, _between(text, spans, i))
                if i + 1 < len(spans) and text[span[1] : spans[i + 1][0]] == " ":
                    both = span[0], spans[i + 1][1]
                    ways[i + 2] += yield from self._read(way, text, *both, _between(text, spans, i + 1), True)
            ways[i] = []
        return list(_likeliest(ways[len(spans)])[0].corrections)

    def _read(self, way, text, start, end, sign, together=False):
        """Returns the ways to read what stands in a text from one offset to another: as one word if `together`."""
        literal, before = text[start:end], text[:start].rstrip(" \n")
        spaced = start == 0 or text[start - 1].isspace()
        begins = not spaced and self._writer.typed(before, "").begins
        after = "(" if begins else "a"
        if not spaced and not begins:  # as after a slash
            context = yield from self._after(way.context, literal + sign, "a/")
            return [dataclasses.replace(way, context=context)]
        readings = yield from self._writer.readings(
            way.context,
            Taps(literal),
            self._channel,
            _WORDS,
            whole=True,
            begins=begins,
            lexicon=self._lexicon,
            beside=math.exp(self._margin - _LESS),
        )
        as_it_is = _log(readings.literal_probability)
        found = [] if together else [(as_it_is + self._margin, ())]
        for word, probability in readings.words:
            odds = _log(probability) - as_it_is
            if word != literal and odds > self._margin - _LESS and not (together and " " in word):
                found.append((as_it_is + odds, (Correction(start, end, literal, word, odds),)))
        ways = []
        for value, correction in found:
            word = correction[0].word if correction else literal
            context = yield from self._after(way.context, word + sign, after)
            ways.append(_Way(way.score + value, context, way.corrections + correction))
        return ways

    def _after(self, context, text, before):
        """Returns the `Context` after a text."""
        for token in self._tokenizer.encode_further(text, before).tolist() if text else ():
            (context,) = yield [Beginning("", 0.0, context, token)]
        return context


def _likeliest(ways):
    """Returns the likeliest ways, in their order."""
    ways = sorted(ways, key=lambda way: -way.score)[:_WAYS]
    return [way for way in ways if way.score >= ways[0].score - _LESS]


def _between(text, spans, i):
    """Returns what stands between a word and the next, without spaces around it."""
    end = spans[i + 1][0] if i + 1 < len(spans) else len(text)
    return " ".join(text[spans[i][1] : end].split())


def _log(probability):
    return math.log(max(probability, 1e-300))
