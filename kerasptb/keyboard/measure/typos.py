"""How many words are right that were typed with errors, before and after correction, and what that costs in keys.

Each word of a text is typed after the text before it, as by somebody who has mended what was wrong there. After each
tap the person looks at the keys, which show what the taps so far may stand for. As soon as the word is among them its
key is pressed, which writes it and its space: after j taps that takes j + 1 keystrokes. A word never shown takes
all its taps and the space, and is what the correction makes of them; if that is another word, one key deletes it, and
its letters and the space are typed once more. Two words whose space was left out count as two, and are shown as one.

Words are those of letters that the text names and that are typed from their first letter on; signs, numbers and the
second parts of words such as `and/or` are read, not typed.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from kerasptb.data import DataError
from kerasptb.data.lexicon import Lexicon
from kerasptb.data.streams import check_sizes
from kerasptb.data.tokenizers.tokenizer import Parts, TypedWord
from kerasptb.data.tokenizers.written_text import is_of_word
from kerasptb.evaluation.reading import read_blocks
from kerasptb.evaluation.share import Share
from kerasptb.keyboard import Keyboard, Memory, Writer
from kerasptb.keyboard.channel import Taps
from kerasptb.keyboard.measure.savings import find_shown, forms_of, parts_of, with_memory
from kerasptb.keyboard.measure.simulator import Simulator
from kerasptb.keyboard.tapped import Readings
from kerasptb.reading import Context, Reader
from kerasptb.reading.reader import open_reader
from kerasptb.reading.search import Searching, run_searches

# What `_type` finds of a unit.
_Found = tuple[Readings, int | None, list[int | None]]

# Words that are searched for at once.
_SEARCHES = 32


@dataclasses.dataclass(frozen=True)
class TypingEvaluation:
    """How a text is typed with errors.

    Attributes:
        num_words: words typed.
        wrong_keys: the share of taps that hit another key.
        right_as_typed: the share of words that are typed right, a `Share` like the next.
        right: the share that is right after correction.
        changed: of the words typed right, the share that correction makes another word.
        taps_until_shown: taps, with their errors, before a key shows the word; all if none does. The mean of all words.
        num_characters: of the words, and a space for each.
        num_keystrokes: keys pressed, those that mend what is wrong among them.
        keystroke_savings: the share of characters that need not be typed.
        savings_without_errors: the same if nobody errs, by the keys of `evaluate_keyboard`, for the same words.
        keys: number of words shown at a time.
    """

    num_words: int
    wrong_keys: float
    right_as_typed: Share
    right: Share
    changed: Share
    taps_until_shown: float
    num_characters: int
    num_keystrokes: int
    keystroke_savings: float
    savings_without_errors: float
    keys: int


@dataclasses.dataclass(frozen=True, eq=False)
class Unit:
    """What is typed between two spaces: a word, or two whose space is left out.

    Attributes:
        words: its words, each with the `Memory` of those before, if any.
        taps: the `Taps`.
    """

    words: Sequence[tuple[TypedWord, Memory | None]]
    taps: Taps

    @property
    def text(self) -> str:
        """What is meant."""
        return " ".join(word.text for word, _ in self.words)


def evaluate_typos(
    model: Any,
    text: str | Sequence[int] | np.ndarray,
    rate: float = 0.069,
    keyboard: Keyboard | None = None,
    points: bool = True,
    keys: int = 3,
    learn: bool = False,
    num_words: int = 5000,
    seed: int = 1,
    progress: Callable[[int, int], Any] | None = None,
) -> TypingEvaluation:
    """Types a text with errors, and corrects it.

    Args:
        model: as in `evaluate_keyboard`.
        text: the text, or the ids of its tokens.
        rate: the share of taps that hit another key, in [0, 0.5]; `Simulator` says what else goes wrong.
        keyboard: the `Keyboard`; `None` for QWERTY.
        points: whether it is known where a key was hit; else which key alone.
        keys: number of words shown at a time.
        learn: whether words that were typed before are likelier.
        num_words: words that are typed at most, the first.
        seed: of the errors.
        progress: called with the numbers of words that are done and of all, after each.

    Returns:
        A `TypingEvaluation`.

    Raises:
        DataError: for a rate out of range, or a text without a word to type.
        ValueError: for `keys` or `num_words` below 1, or a model that does not know its tokenizer.
    """
    check_sizes(keys=keys, num_words=num_words)
    reader, keyboard = open_reader(model), keyboard or Keyboard()
    ids, words = typed_words(reader, text, learn, num_words)
    simulator = Simulator(keyboard.layout, rate, seed)
    units, counts, done = type_words(simulator, words, points), _Counts(keys), 0
    for unit, found in run_searches(_searches(reader, ids, units, keyboard, keys), reader.after, _SEARCHES):
        counts.add(unit, *found)
        done += len(unit.words)
        if progress is not None:
            progress(done, len(words))
    return counts.result(simulator)


def typed_words(
    reader: Reader, text: str | Sequence[int] | np.ndarray, learn: bool, most: int
) -> tuple[np.ndarray, list[tuple[TypedWord, Memory | None]]]:
    """Returns the ids before the last word, int32 [T], and the words that are typed, each with the `Memory` before.

    Raises:
        DataError: if there is none.
    """
    ids, parts = parts_of(reader, text)
    words = list(itertools.islice(_tapped(Writer(reader.tokenizer), parts, learn), most))
    if not words:
        raise DataError("Expected a text with at least one word to type. Received: none")
    return ids[: words[-1][0].context], words


def type_words(simulator: Simulator, words: Sequence[tuple[TypedWord, Memory | None]], points: bool) -> list[Unit]:
    """Returns the `Unit`s as which a `Simulator` types words; with points or without."""
    rest = iter(words)
    return [
        Unit(list(itertools.islice(rest, number)), taps if points else Taps(taps.text))
        for number, taps in simulator.type([word.text for word, _ in words])
    ]


def contexts_before(reader: Reader, ids: np.ndarray, units: Sequence[Unit]) -> Iterator[tuple[Unit, list[Context]]]:
    """Yields each `Unit` with the `Context`s before its words."""
    waiting = iter(units)
    unit, contexts = next(waiting), list[Context]()
    for start, hidden, states in read_blocks(reader, ids):
        while unit is not None:
            rows = np.array([word.context - start - 1 for word, _ in unit.words[len(contexts) :]])
            rows = rows[rows < len(hidden)]
            contexts += reader.contexts(hidden[rows], states[rows]) if len(rows) else []
            if len(contexts) < len(unit.words):
                break  # the rest is in the next block
            yield unit, contexts
            unit, contexts = next(waiting, None), []


def _tapped(writer: Writer, parts: Parts, learn: bool) -> Iterator[tuple[TypedWord, Memory | None]]:
    """Yields the words that are typed by themselves and have letters, with the `Memory` of those before, if any."""
    for part, i, memory in with_memory(writer, parts, learn):
        word = part[i]
        if word.context and word.is_named and not word.shown_from and _has_letters(word.text):
            yield word, memory


def _has_letters(text: str) -> bool:
    return is_of_word(text[0]) and any(map(str.isalpha, text))


def _searches(
    reader: Reader, ids: np.ndarray, units: Sequence[Unit], keyboard: Keyboard, keys: int
) -> Iterator[tuple[Unit, Searching[_Found]]]:
    """Yields each `Unit` and a search of what is written of it."""
    writer = Writer(reader.tokenizer)
    for unit, contexts in contexts_before(reader, ids, units):
        yield unit, _type(writer, unit, contexts, keyboard, reader.lexicon, keys)


def _type(
    writer: Writer, unit: Unit, contexts: list[Context], keyboard: Keyboard, lexicon: Lexicon | None, keys: int
) -> Searching[_Found]:
    """Types a `Unit`; a generator as `search_words`.

    Returns the `Readings` of all its taps, after how many taps a key shows it, and the same of each of its words if it
    is typed without errors; `None` if none does.
    """
    (word, memory), *_ = unit.words
    options: dict[str, Any] = {"begins": word.begins, "memory": memory}

    def search(taps: Taps, whole: bool) -> Searching[Readings]:
        return writer.readings(contexts[0], taps, keyboard, keys, whole, lexicon=lexicon, **options)

    readings = yield from search(unit.taps, whole=True)
    forms, shown = forms_of(word) if len(unit.words) == 1 else {unit.text}, None
    for typed in range(len(unit.taps.text)):
        if typed:
            found = yield from search(_first(unit.taps, typed), whole=False)
        else:
            found = yield from writer.keys(contexts[0], word.lead, keys, **options)
        if any(each in forms for each, _ in found.words[:keys]):
            shown = typed
            break
    exact = []
    for (each, before), context in zip(unit.words, contexts, strict=True):
        letters = range(len(each.text)) if writer.can_show(forms_of(each), before) else ()
        exact.append((yield from find_shown(writer, each, keys, context, letters, before)).typed)
    return readings, shown, exact


def _first(taps: Taps, number: int) -> Taps:
    return Taps(taps.text[:number], None if taps.points is None else taps.points[:number])


class _Counts:
    """What was typed so far."""

    def __init__(self, keys: int) -> None:
        self._keys = keys
        self._words = self._as_typed = self._right = self._unchanged = 0
        self._characters = self._keystrokes = self._exact = self._taps = 0

    def add(self, unit: Unit, readings: Readings, shown: int | None, exact: list[int | None]) -> None:
        """Adds what `_type` found."""
        words, characters, taps = len(unit.words), len(unit.text) + 1, len(unit.taps.text)
        written = readings.corrected()
        self._words += words
        self._as_typed += words * (readings.literal == unit.text)
        self._right += words * (written == unit.text)
        self._unchanged += words * (readings.literal == written == unit.text)
        self._taps += taps if shown is None else shown
        in_full = taps + 1 + (0 if written == unit.text else 1 + characters)
        self._characters += characters
        self._keystrokes += in_full if shown is None else shown + 1
        for (word, _), typed in zip(unit.words, exact, strict=True):
            self._exact += len(word.text) + 1 if typed is None else typed + 1

    def result(self, simulator: Simulator) -> TypingEvaluation:
        return TypingEvaluation(
            num_words=self._words,
            wrong_keys=simulator.num_wrong / max(simulator.num_taps, 1),
            right_as_typed=Share.of(self._as_typed, self._words),
            right=Share.of(self._right, self._words),
            changed=Share.of(self._as_typed - self._unchanged, self._as_typed),
            taps_until_shown=self._taps / self._words,
            num_characters=self._characters,
            num_keystrokes=self._keystrokes,
            keystroke_savings=1 - self._keystrokes / self._characters,
            savings_without_errors=1 - self._exact / self._characters,
            keys=self._keys,
        )
