"""What is written in a text with errors: each word as the likeliest that may have become what stands there.

A word is judged by the words before it, as they are corrected, and by some after it, as they stand. Two words may be
one that a space has parted, and one may be two that lack a space. What stands there stays, unless something else is
likelier by a margin. Many parts of a text are read at once.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from kerasptb.data.errors import check_text
from kerasptb.data.lexicon import Lexicon
from kerasptb.data.tokenizers.ptb_words import letters_for_marks
from kerasptb.data.tokenizers.tokenizer import Ending
from kerasptb.keyboard.channel import Channel, Taps, Writing, open_channel
from kerasptb.keyboard.tapped import Readings, may_be_tapped, trie_of
from kerasptb.keyboard.writer import Writer
from kerasptb.native.core import MOST_TAPS
from kerasptb.reading.context import Beginning, Context
from kerasptb.reading.reader import Reader, open_reader
from kerasptb.reading.search import Searching, run_searches

_Span = tuple[int, int]  # from where to where in a text

# By how much something must be likelier than what stands there, as a natural logarithm: with the words after it, and
# by those before it alone. So many words that are likelier so are read with those after them.
MARGIN = 2.5
_BEFORE, _WORDS, _AFTER = -8.0, 3, 3
# A word that a text has so often is known, and with a capital.
_OFTEN, _OFTEN_AS_A_NAME = 3, 2
# British spellings of words that the model has in American: `organise`.
_BRITISH = re.compile("(?<=[iy])s(?=[aei])")
# What an apostrophe stood before.
_TAILS = frozenset(("d", "ll", "m", "re", "s", "t", "ve"))
# Parts that are read at once, each of so many characters at most; and characters that are read between two words.
_TOGETHER, _GAP = 64, 100
_PART = re.compile(r"\S(?:.{0,1000}\n|.{0,1000}(?!\S)|\S{0,1000})", re.DOTALL)
_HYPHENS = "-\u2010\u2011"
# A word of letters, in which a letter may have become a digit.
_WORD = re.compile(r"(?<![^\W_])(?=\d*[^\W\d_])[^\W_]+(?:['’-][^\W_]+)*")
# Names such as `aWord` and `a.b` are left out: a small letter before a capital, and what follows other words.
_MIXED = re.compile(r"[^\W\d_]*[a-z][A-Z]")
_FOLLOWS = re.compile(r"[^\w\s]*(?!\S)|['\")\],.:;!?]*(?:--|[–—])")


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


def correct(
    model: Any,
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

    Returns:
        List of `Correction`, none of which overlap.

    Raises:
        DataError: for a channel that is none, or a text that is none.
        ValueError: if the model does not know its tokenizer.
    """
    return [each for _, of_part in correct_parts(model, text, channel, margin) for each in of_part]


def correct_parts(
    model: Any,
    text: str,
    channel: Channel | str | os.PathLike[str] = "qwerty",
    margin: float = MARGIN,
) -> Iterator[tuple[int, list[Correction]]]:
    """Yields what `correct` returns in parts of the text: where each ends, and its corrections."""
    reader, text = open_reader(model), check_text(text)
    corrector = _Corrector(reader, open_channel(channel, Writing), margin, text)
    parts = [match.span() for match in _PART.finditer(text, int(text.startswith("\ufeff")))]
    searches = ((i, corrector.part(text[start:end])) for i, (start, end) in enumerate(parts))
    found, done = dict[int, list[Correction]](), 0
    for i, corrections in run_searches(searches, reader.after, _TOGETHER):
        found[i] = corrections
        while done in found:
            start, end = parts[done]
            yield end, [dataclasses.replace(c, start=c.start + start, end=c.end + start) for c in found.pop(done)]
            done += 1


def apply_corrections(text: str, corrections: Iterable[Correction]) -> str:
    """Returns a text with its corrections."""
    parts, place = list[str](), 0
    for each in corrections:
        parts += [text[place : each.start], each.word]
        place = each.end
    return "".join([*parts, text[place:]])


def _known(lexicon: Lexicon | None, text: str) -> Lexicon | None:
    """Returns the words that are known: of a lexicon, and those that a text has often; `None` without a lexicon."""
    if lexicon is None:
        return None
    counts = Counter(text[slice(*span)] for span in _words_in(text))
    known = [
        word
        for word, count in counts.items()
        if word not in lexicon
        and (count >= (_OFTEN_AS_A_NAME if word[0].isupper() else _OFTEN) or _BRITISH.sub("z", word) in lexicon)
    ]
    return Lexicon([*lexicon.words, *known]) if known else lexicon


def _words_in(text: str) -> list[_Span]:
    """Returns where the words of a text are."""
    return [match.span() for match in _WORD.finditer(letters_for_marks(text))]


class _Corrector:
    """Reads parts of a text; its methods that read are generators as `search_words`."""

    def __init__(self, reader: Reader, channel: Channel, margin: float, text: str) -> None:
        self._signs, self._begin, self._tokenizer = reader.text_format.signs, reader.begin(), reader.tokenizer
        self._writer, self._channel = Writer(reader.tokenizer), channel
        self._margin, self._before = margin, min(_BEFORE, margin)
        self._lexicon = _known(reader.lexicon, self._signs.read(text))
        self._apostrophe = max("'’", key=text.count)

    def part(self, text: str) -> Searching[list[Correction]]:
        """Finds the corrections of a part of the text."""
        read, places = self._signs.read(text), self._signs.places(text)
        found = yield from self._read(read, _words_in(read))
        return [self._as_written(each, text, places[each.start], places[each.end]) for each in found]

    def _as_written(self, correction: Correction, text: str, start: int, end: int) -> Correction:
        """Returns a correction of a text as it was read as one of the text, with its apostrophes and hyphens."""
        written = text[start:end]
        hyphen = next(filter(written.count, _HYPHENS), "-")
        word = re.sub("['’]", self._apostrophe, correction.word).replace("-", hyphen)
        return Correction(start, end, written, word, correction.log_odds)

    def _read(self, text: str, spans: list[_Span]) -> Searching[list[Correction]]:
        """Finds the corrections of a part with signs that the model knows, from where its words are."""
        found, place, context, starts = [], 0, self._begin, [start for start, _ in spans] + [len(text)]
        for i, (start, end) in enumerate(spans):
            if start < place:
                continue  # the second of two that are one
            context = yield from self._after(context, text[max(place, start - _GAP) : start])
            place = end
            if not may_be_tapped(text[start:end]):
                continue
            begins = self._begins(text, start)
            if begins is None or not self._is_word(text, start, end):
                context = yield from self._after(context, text[start:end])
                continue
            until = starts[min(i + 1 + _AFTER, len(spans))]
            best, after = yield from self._judge(context, text, start, end, until, begins)
            if self._may_be_one(text, spans[i : i + 2]):
                both, after_both = yield from self._judge(context, text, start, spans[i + 1][1], until, begins)
                if both and " " not in both.word and (best is None or both.log_odds > best.log_odds):
                    best, after = both, after_both
            if best:
                found.append(best)
                place = best.end
            context = after
        return found

    def _is_word(self, text: str, start: int, end: int) -> bool:
        """Returns whether what stands at a place is a word in letters of the model, and no name of a program's."""
        if _MIXED.match(text, start, end) or not _FOLLOWS.match(text, end) or text[start:end] in _TAILS:
            return False
        return all(character in trie_of(self._writer.pieces).symbols for character in text[start:end])

    def _begins(self, text: str, start: int) -> bool | None:
        """Returns whether a word comes without a space; `None` where it is no word of its own, as after a slash."""
        before = text[max(start - 9, 0) : start]
        if before[-1:].isspace():
            return False
        begins = self._writer.typed(before, "").begins
        return begins if begins or not start else None

    def _may_be_one(self, text: str, spans: list[_Span]) -> bool:
        """Returns whether two words, without the space between them, are one that is known."""
        if self._lexicon is None or len(spans) < 2 or text[spans[0][1] : spans[1][0]] != " ":
            return False
        first, second = (text[start:end] for start, end in spans)
        return len(first) + len(second) < MOST_TAPS and first + second in self._lexicon

    def _may_replace(self, word: str, written: str) -> bool:
        """Returns whether a word is known, and other than what is written in more than its capitals."""
        return word.lower() != written.lower() and not word.isdigit() and self._is_known(word)

    def _is_known(self, word: str) -> bool:
        return self._lexicon is None or word in self._lexicon

    def _judge(
        self, context: Context, text: str, start: int, end: int, until: int, begins: bool
    ) -> Searching[tuple[Correction | None, Context]]:
        """Returns what is likelier than what stands at a place, or `None`, and the `Context` after what it is."""
        written, rest = text[start:end], text[end : min(until, end + _GAP)]
        before = Ending.OPENING if begins else Ending.WORD
        readings = yield from self._writer.readings(
            context,
            Taps(written),
            self._channel,
            _WORDS + 1,
            whole=True,
            begins=begins,
            lexicon=self._lexicon,
            least_odds=math.exp(self._before),
        )
        likelier = yield from self._likelier(context, written, readings, before)
        best, after = None, readings.context or context
        if self._writer.pieces.are_words:
            _, after = yield from self._summed(after, self._tokens(written, before)[-1:])
        rest_as_it_is = (yield from self._log_probability(after, rest)) if likelier else 0.0
        for word, by_those_before in likelier:
            after_word = yield from self._after(context, word, before)
            odds = by_those_before + (yield from self._log_probability(after_word, rest)) - rest_as_it_is
            if odds > (best.log_odds if best else self._margin):
                best, after = Correction(start, end, written, word, odds), after_word
        return best, after

    def _likelier(
        self, context: Context, written: str, readings: Readings, before: Ending
    ) -> Searching[list[tuple[str, float]]]:
        """Returns pairs of a word that is likelier than what is written by the words before it, and its log odds."""
        # Whoever leaves a capital out has written a word nevertheless.
        of_any_case = [share for word, share in readings.words if word.lower() == written.lower()]
        as_it_is = math.log(max([readings.literal_probability, *of_any_case, 1e-300]))
        shares = ((word, share) for word, share in readings.words if self._may_replace(word, written))
        found = {word: min(math.log(share) - as_it_is, 700.0) for word, share in shares}
        as_it_is -= len(written) * math.log(self._channel.errors.hit)
        for word, share in self._channel.rewritings(written):
            if self._may_replace(word, written):
                log_probability = yield from self._of_word(context, word, before)
                found[word] = max(found.get(word, -math.inf), log_probability + math.log(share) - as_it_is)
        likelier = [pair for pair in found.items() if pair[1] > self._before]
        return sorted(likelier, key=lambda pair: -pair[1])[:_WORDS]

    def _of_word(self, context: Context, word: str, before: Ending) -> Searching[float]:
        """Returns the log probability of a word, given that one begins, and that it ends."""
        given = self._writer.pieces.log_given(context.known(), "" if before == Ending.OPENING else " ")
        total, after = yield from self._summed(context, self._tokens(word, before))
        return total - given + self._log_end(after)

    def _log_probability(self, context: Context, text: str) -> Searching[float]:
        """Returns the log probability of a text after a word that has ended."""
        total, _ = yield from self._summed(context, self._tokens(text, Ending.WORD))
        return total - self._log_end(context)

    def _log_end(self, context: Context) -> float:
        return math.log(max(self._writer.pieces.end_probability(context.known()), 1e-30))

    def _summed(self, context: Context, tokens: Iterable[int]) -> Searching[tuple[float, Context]]:
        """Returns the log probability of tokens, and the `Context` after them."""
        total = 0.0
        for token in tokens:
            total += float(context.known()[token])
            (context,) = yield [Beginning(context, token)]
        return total, context

    def _after(self, context: Context, text: str, before: Ending = Ending.WORD) -> Searching[Context]:
        """Returns the `Context` after a text."""
        _, context = yield from self._summed(context, self._tokens(text, before))
        return context

    def _tokens(self, text: str, before: Ending) -> list[int]:
        space = " " if text[:1].isspace() else ""
        words = " ".join(text.split())
        return self._tokenizer.encode_further(space + words, before).tolist() if words else []
