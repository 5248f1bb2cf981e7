"""How many words are right that were typed with errors, before and after correction.

A person types each word of a text after the text before it, as somebody would who has mended what was wrong before. The
taps come from a simulator: around the centre of each letter's key, from a Gaussian whose width makes the share of taps
on other keys the one that is asked for. What else goes wrong happens in shares of that rate: a letter is left out or
exchanged with the next (1 / 20 of the rate each), comes twice, or a further tap comes anywhere (1 / 40 each); of words,
the space after one is left out (1 / 20). Signs, digits and capitals are typed right.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from kerasptb.data import DataError
from kerasptb.data.errors import check_text
from kerasptb.data.tokenizers.tokenizer import TypedWord
from kerasptb.data.tokenizers.written_text import is_of_word
from kerasptb.evaluation.keyboard import remembered
from kerasptb.evaluation.reading import read_blocks
from kerasptb.models import LanguageModel
from kerasptb.reading import Memory, Reader, Writer, open_reader, run_searches
from kerasptb.reading.channel import Keyboard, Taps
from kerasptb.reading.layout import Layout
from kerasptb.reading.tapped import MARGIN, Readings

_SEARCHES = 32


class Simulator:
    """Types words with errors.

    Args:
        layout: a `Layout`.
        rate: the share of taps on letters that hit another key, in [0, 0.5].
        seed: of the generator.
    """

    def __init__(self, layout: Layout, rate: float, seed: int = 1) -> None:
        if not 0 <= rate <= 0.5:
            raise DataError(f"Expected a share of wrong keys in [0, 0.5]. Received: {rate}")
        self.layout, self.rate, self._random = layout, rate, np.random.default_rng(seed)
        self.num_taps = self.num_wrong = 0

    def type(self, words: Sequence[str]) -> list[tuple[int, Taps]]:
        """Returns what is typed for words, `Taps`, each with the number of words, one or two without their space."""
        letters = "".join(words)
        keys = np.array([self.layout.key_of(letter) for letter in letters], int)
        # A sign or a digit, and a letter that has another's key, lies on no key of the layout: it is typed right.
        aims = np.where(keys[:, np.newaxis] >= 0, self.layout.centres[keys], 0.0)
        away = self._random.normal(size=(len(letters), 2))
        points = aims + away * self._width(keys, aims, away)
        hit = np.where(keys >= 0, self.layout.nearest(points), -1)
        self.num_taps += int((keys >= 0).sum())
        self.num_wrong += int((hit != keys).sum())
        taps = [
            (self._written(*each), point) for each, point in zip(zip(letters, hit, strict=True), points, strict=True)
        ]
        typed: list[tuple[int, Taps]] = []
        place, joined = 0, []
        for i, word in enumerate(words):
            joined.append(self._with_slips(taps[place : place + len(word)]))
            place += len(word)
            if i + 1 < len(words) and len(joined) == 1 and self._random.random() < self.rate / 20:
                continue
            of_words = [tap for each in joined for tap in each]
            typed.append(
                (len(joined), Taps("".join(c for c, _ in of_words), np.array([p for _, p in of_words]).reshape(-1, 2)))
            )
            joined = []
        return typed

    def _width(self, keys, aims, draws):
        """Returns the width with which as many taps of these letters as asked hit another key."""
        low, high = 0.0, 3.0
        known = keys >= 0
        if not self.rate or not known.any():
            return 0.0
        for _ in range(30):
            middle = (low + high) / 2
            wrong = (self.layout.nearest(aims[known] + middle * draws[known]) != keys[known]).mean()
            low, high = (low, middle) if wrong > self.rate else (middle, high)
        return low

    def _written(self, letter, hit):
        if hit < 0:
            return letter
        key = self.layout.keys[hit]
        return key.upper() if letter != letter.lower() else key

    def _with_slips(self, taps):
        """Returns the taps of a word with letters left out, exchanged, doubled, and with further taps."""
        typed, draws = [], self._random.random((len(taps), 4))
        skip = False
        for i, tap in enumerate(taps):
            omitted, exchanged, doubled, stray = draws[i] < np.array([1 / 20, 1 / 20, 1 / 40, 1 / 40]) * self.rate
            if skip:
                skip = False
                continue
            if exchanged and i + 1 < len(taps):
                typed += [taps[i + 1], tap]
                skip = True
                continue
            if not (omitted and len(taps) > 1):
                typed.append(tap)
            if doubled:
                typed.append(tap)
            if stray:
                key = int(self._random.integers(len(self.layout.keys)))
                typed.append((self.layout.keys[key], self.layout.centres[key]))
        return typed or taps


@dataclasses.dataclass(frozen=True)
class TypingEvaluation:
    """How many words are right.

    Attributes:
        num_words: words typed.
        wrong_keys: the share of taps that hit another key.
        right_as_typed: the share of words that are typed right.
        right: the share that is right after correction.
        changed: the share of words typed right that were changed.
    """

    num_words: int
    wrong_keys: float
    right_as_typed: float
    right: float
    changed: float


def typed_words(
    reader: Reader, text: str, learn: bool = False
) -> tuple[np.ndarray, list[tuple[TypedWord, Memory | None]]]:
    """Returns the ids of a text, int32 [T], and its words that are typed letter by letter, each with the `Memory`."""
    format = reader.text_format
    ids, parts = reader.tokenizer.typed_parts(format.signs.read(check_text(text)), format.keep_lines)
    words: list[tuple[TypedWord, Memory | None]] = []
    memory, writer = Memory() if learn else None, Writer(reader.tokenizer)
    for part in parts:
        for word in part:
            if word is not None and word.context and _is_tapped(word):
                words.append((word, memory))
            if memory is not None and (word is None or word.word is not None):
                memory = memory.extended(remembered(writer, word))
    return ids, words


def _is_tapped(word):
    """Whether a word is typed by itself, and has letters."""
    by_itself = word.is_named and not word.shown_from and is_of_word(word.text[0])
    return by_itself and any(map(str.isalpha, word.text))


def read_typed(
    reader: Reader,
    ids: np.ndarray,
    units: Sequence[tuple[int, TypedWord, Memory | None, Taps]],
    keyboard: Keyboard,
    k: int = 3,
) -> Iterator[tuple[int, Readings]]:
    """Yields what taps may stand for, each by the number of its unit, after the text before the word."""

    def searches():
        writer, place = Writer(reader.tokenizer), 0
        for start, hidden, states in read_blocks(reader, ids):
            end = start + len(hidden)
            while place < len(units) and units[place][1].context <= end:
                name, word, memory, taps = units[place]
                row = word.context - start - 1
                context = reader.contexts(hidden[row : row + 1], states[row : row + 1])[0]
                yield (
                    name,
                    writer.readings(
                        context,
                        taps,
                        keyboard,
                        k,
                        whole=True,
                        begins=word.begins,
                        memory=memory,
                        lexicon=reader.lexicon,
                    ),
                )
                place += 1

    return run_searches(searches(), reader.after, _SEARCHES)


def evaluate_typos(
    model: LanguageModel | Reader,
    text: str,
    rate: float = 0.069,
    keyboard: Keyboard | None = None,
    points: bool = True,
    margin: float = MARGIN,
    seed: int = 1,
    most: int | None = None,
    k: int = 3,
    learn: bool = False,
) -> tuple[TypingEvaluation, Any]:
    """Types a text with errors, and corrects it."""
    reader = open_reader(model)
    keyboard = keyboard or Keyboard()
    ids, words = typed_words(reader, text, learn)
    words = words[:most]
    simulator = Simulator(keyboard.layout, rate, seed)
    units: list[tuple[int, TypedWord, Memory | None, Taps]] = []
    targets, place = [], 0
    for number, taps in simulator.type([word.text for word, _ in words]):
        units.append((len(units), *words[place], taps if points else Taps(taps.text)))
        targets.append(" ".join(word.text for word, _ in words[place : place + number]))
        place += number
    found = dict(read_typed(reader, ids, units, keyboard, k))
    as_typed = right = changed = total = 0
    for number, target in enumerate(targets):
        readings = found[number]
        size = len(target.split())
        total += size
        as_typed += readings.literal == target
        written = readings.corrected(margin)
        right += size * (written == target)
        changed += readings.literal == target != written
    return TypingEvaluation(
        num_words=total,
        wrong_keys=simulator.num_wrong / max(simulator.num_taps, 1),
        right_as_typed=as_typed / max(total, 1),
        right=right / max(total, 1),
        changed=changed / max(as_typed, 1),
    ), (units, targets, found)
