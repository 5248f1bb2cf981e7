"""How good a model is as a phone's keyboard: recall of the next word, and keystrokes saved.

A text is typed as by a person who looks at the suggestions after every key. A word of n letters and the space after it
are n + 1 characters. Before each letter the keys show the most probable words that begin with the letters typed so far.
As soon as the word is among them its key is pressed, which writes the rest of the word and its space. So a word that is
found after j letters takes j + 1 keystrokes, and one that never is takes n + 1. Hence (Trnka and McCoy, 2008,
"Evaluating Word Prediction: Framing Keystroke Savings"):

    keystroke savings = 1 - keystrokes / characters

What counts is the same for words, subwords and characters, so that their figures on a text compare. A word is what
stands between white space, and its characters are those that stand there, and a space.

- A sign of punctuation is typed with a key of its own. After a suggested word it takes the place of its space; the
  space after the sign is typed. A word that follows a sign without a space is shown from its first letter on.
- Of a word with signs around it, recall looks at the first word in it. A sign with spaces around it may be on a key.
- A capital is a letter as others: shift is not counted. A word in small letters on a key serves for one with capitals.
- In a text that has `<unk>`, it and `N` stand for words that the text does not name. They are never on a key, and are
  typed in full; they count among the words that recall is a share of.
- A word that a vocabulary of words lacks is typed in full, until it is in a cache of the words typed before.
- The end of a line or paragraph has a key of its own on every keyboard. It is neither a word nor a character here, and
  is never suggested. The model reads it.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import numpy as np

from kerasptb.data import EOS, UNK, DataError, Tokenizer, Vocabulary
from kerasptb.data.errors import check_text
from kerasptb.data.scripts import is_unspaced
from kerasptb.data.streams import check_sizes, checked_text
from kerasptb.data.tokenizers.tokenizer import Parts, TypedWord
from kerasptb.data.tokenizers.written_text import is_of_word
from kerasptb.evaluation.continuous_cache import Cache, CacheSettings
from kerasptb.evaluation.reading import read_blocks
from kerasptb.keyboard import Memory, Writer
from kerasptb.reading import Context, Reader, run_search
from kerasptb.reading.pieces import pieces_of
from kerasptb.reading.reader import open_reader
from kerasptb.reading.search import Searching, run_searches
from kerasptb.utils.status_line import at_work

# A word that keys may show, the numbers of its letters after which they may, and the memory of the words before it.
_Typed = tuple[TypedWord, Sequence[int], Memory | None]

# V floats for each key of the words that are looked for at once; each has up to 50 such rows in memory.
_SCORES = 1_500_000
# Keys whose words the shares top1 and top3 are of.
_RANKS = 3
# Rows of the text whose logits are in memory at once.
_ROWS = 256
# The text's own tokens are read with other roundings.
_ROUNDING = 1 - 1e-3


@dataclasses.dataclass(frozen=True)
class KeyboardEvaluation:
    """How a text is typed with suggestions.

    Attributes:
        top1: the share of words that the first key shows before their first letter.
        top3: the share that one of the first three keys shows then.
        keystroke_savings: the share of characters that need not be typed.
        savings_ceiling: the same if each word that can be shown were shown before its first letter.
        num_words: words typed, with `<unk>` and `N`, without the ends of lines.
        num_characters: their characters, signs of punctuation among them, and a space for each.
        num_keystrokes: keys pressed.
        keys: number of words shown at a time.
    """

    top1: float
    top3: float
    keystroke_savings: float
    savings_ceiling: float
    num_words: int
    num_characters: int
    num_keystrokes: int
    keys: int


@dataclasses.dataclass(frozen=True)
class Shown:
    """When keys show a word.

    Attributes:
        rank: how many words they show before it when none of its letters is typed; `None` if it is not among them.
        typed: how many of its letters are typed before they show it; `None` if they never do.
        possible: whether they could show it.
    """

    rank: int | None = None
    typed: int | None = None
    possible: bool = False


class TypedCounts:
    """What was typed so far with a number of keys."""

    def __init__(self, keys: int) -> None:
        self._keys = keys
        self._words = self._characters = self._keystrokes = self._at_best = self._top1 = self._top3 = 0

    def add(self, words: Sequence[TypedWord], shown: Sequence[Shown]) -> None:
        """Adds what stands between two spaces, its words and signs and when keys show each."""
        for word, when in zip(words, shown, strict=True):
            in_full = len(word.text) + (word is words[-1])  # the space after it all
            self._characters += in_full
            self._keystrokes += in_full if when.typed is None else min(max(when.typed, word.shown_from) + 1, in_full)
            self._at_best += min(word.shown_from + 1, in_full) if when.possible else in_full
        first = next((i for i, word in enumerate(words) if is_of_word(word.text[0])), 0)
        rank = None if words[first].shown_from else shown[first].rank
        self._words += 1
        self._top1 += rank is not None and rank < 1
        self._top3 += rank is not None and rank < 3

    def result(self) -> KeyboardEvaluation:
        """Returns the `KeyboardEvaluation`."""
        words, characters = max(self._words, 1), max(self._characters, 1)
        return KeyboardEvaluation(
            top1=self._top1 / words,
            top3=self._top3 / words,
            keystroke_savings=1 - self._keystrokes / characters,
            savings_ceiling=1 - self._at_best / characters,
            num_words=self._words,
            num_characters=self._characters,
            num_keystrokes=self._keystrokes,
            keys=self._keys,
        )


class Typist:
    """Types a text of words with the suggestions of any model, and counts.

    Args:
        vocabulary: the `Vocabulary` that the suggestions are from.
        keys: number of words shown at a time.
    """

    def __init__(self, vocabulary: Vocabulary, keys: int = 3) -> None:
        check_sizes(keys=keys)
        self._vocabulary, self._writer = vocabulary, Writer(vocabulary)
        self._keys, self._counts = keys, TypedCounts(keys)

    def type(self, scores: np.ndarray, ids: np.ndarray) -> None:
        """Types words, each with a space after it.

        Args:
            scores: float [N, V]; the words with the highest are shown, of equals the one with the lower id.
            ids: int32 [N], the words to type.
        """
        parts = self._vocabulary.parts_of(np.asarray(ids))
        for row, part, index in zip(np.asarray(scores), parts, ids, strict=True):
            for word in part:
                context = Context(np.zeros(0, "float32"), row)
                letters = range(len(word.text)) if word.is_named and row[index] > -np.inf else ()
                shown = run_search(find_shown(self._writer, word, self._keys, context, letters), _unread)
                self._counts.add([word], [shown])

    def result(self) -> KeyboardEvaluation:
        """Returns the `KeyboardEvaluation` of all words typed so far."""
        return self._counts.result()


def evaluate_keyboard(
    model: Any,
    text: str | Sequence[int] | np.ndarray,
    keys: int = 3,
    *,
    cache: CacheSettings | None = None,
    learn: bool = False,
) -> KeyboardEvaluation:
    """Types a text with a model's suggestions.

    Each word but the first is typed after all the words before it, read from a zero state.

    Args:
        model: a `LanguageModel` that knows its tokenizer; it need not be compiled. Or what `load_saved_model` returns.
        text: a text as a person wrote it, or the ids of its tokens, int32 [N], at least two. For a `Vocabulary` a text
            has a sentence a line, read as its `encode_typed` says; words that it lacks, and numbers, are typed with
            their own letters.
        keys: number of words shown at a time.
        cache: `CacheSettings` of a continuous cache of the words typed before, for ids of a `Vocabulary`; `None` for
            none.
        learn: whether the suggestions learn from the words typed before, as the server's with `learn` do. Words that
            the vocabulary lacks are then shown once they were typed.

    Returns:
        A `KeyboardEvaluation`.

    Raises:
        DataError: if the text is too short, is none, or has no word to type.
        ValueError: for ids out of range, more keys than words are looked for (1,000 of pieces), a model that does not
            know its tokenizer, or a `cache` with `learn`, with subwords or with a text that is no ids.
    """
    reader = open_reader(model)
    check_sizes(keys=keys)
    if cache is not None:
        check_cached(reader.tokenizer)
        if learn or isinstance(text, str):
            received = "learn=True" if learn else "a text to encode"
            raise ValueError(f"Expected a continuous cache alone, over the ids of a text. Received: {received}")
    return _type(reader, *parts_of(reader, text), keys, cache, learn)


def _type(
    reader: Reader, ids: np.ndarray, parts: Parts, keys: int, cache: CacheSettings | None, learn: bool
) -> KeyboardEvaluation:
    """Types the parts of a text of ids; what no token comes before is read only."""
    typed = [part for part in parts if part and part[0].context > 0]
    if not typed:
        raise DataError("Expected a text with at least one word to type. Received: none")
    shown = _find_all(reader, ids, parts, keys, cache, learn)
    counts = TypedCounts(keys)
    for part in typed:
        counts.add(part, [shown.get(id(word), Shown()) for word in part])
    return counts.result()


def parts_of(reader: Reader, text: str | Sequence[int] | np.ndarray) -> tuple[np.ndarray, Parts]:
    """Returns the ids of a text, int32 [T], given as such or as a person wrote it, and what is typed of it."""
    tokenizer, format = reader.tokenizer, reader.text_format
    if text is None or isinstance(text, str | bytes):  # of which all but a text are told
        return tokenizer.typed_parts(format.signs.read(check_text(text)), format.keep_lines)
    ids = checked_text(len(tokenizer), text)
    return ids, tokenizer.parts_of(ids)


def check_cached(tokenizer: Tokenizer) -> None:
    """Raises a ValueError unless a continuous cache can make words more probable: each is a token."""
    if not pieces_of(tokenizer).are_words:
        raise ValueError(f"Expected a continuous cache for a model of words. Received: one of {tokenizer.kind}.")


def _find_all(
    reader: Reader, ids: np.ndarray, parts: Parts, keys: int, cache: CacheSettings | None, learn: bool
) -> dict[int, Shown]:
    """Returns when keys show the words of a text, a dict from the `id` of each that they may show to its `Shown`."""
    is_unnamed = any(not word.is_named for part in parts for word in part)
    exclude = (UNK[0],) if is_unnamed and not reader.tokenizer.unnamed else ()
    writer = Writer(reader.tokenizer, (*Writer(reader.tokenizer).exclude, *exclude))
    if keys > writer.most_words and not writer.pieces.are_words:
        raise ValueError(f"`keys` must be at most {writer.most_words}. Received: keys={keys}")
    searches = _searches(reader, writer, ids, _searched(writer, parts, learn), keys, cache, learn)
    num_parallel = _SCORES // (len(reader.tokenizer) * max(keys, _RANKS))
    shown, total = dict[int, Shown](), sum(map(len, parts))
    with at_work("Typing") as stage:
        for name, found in run_searches(searches, reader.after, max(num_parallel, 1)):
            shown[name] = found
            stage.tell(len(shown), total)
    return shown


def _searched(writer: Writer, parts: Parts, learn: bool) -> Iterator[_Typed]:
    """Yields the words that keys may show, each with the letters typed when they may, and the memory before it."""
    for part, i, memory in with_memory(writer, parts, learn):
        if part[i].context and (letters := _letters(writer, part, i, memory)):
            yield part[i], letters, memory


def with_memory(writer: Writer, parts: Parts, learn: bool) -> Iterator[tuple[list[TypedWord], int, Memory | None]]:
    """Yields each part with the places of its words, and the `Memory` of what was typed before, `None` without one."""
    memory = Memory() if learn else None
    for part in parts:
        for i, word in enumerate(part):
            yield part, i, memory
            if memory is not None and word.word is not None:  # as the server finds words in a text
                memory = memory.extended(
                    [word.word] if writer.pieces.are_words else writer.tokenizer.words_typed(word.word)
                )
        if memory is not None and not part:
            memory = memory.extended([EOS])


def _letters(writer: Writer, part: list[TypedWord], i: int, memory: Memory | None) -> Sequence[int]:
    """Returns how many letters of a word may be typed when keys show it; none of what keys never show.

    In a word with others before it, such as "n't" of "don't", only those after which the keys look for it.
    """
    word = part[i]
    by_itself = is_of_word(word.text[0]) or not word.shown_from
    if word.word is None or not word.is_named or not by_itself or not writer.can_show(forms_of(word), memory):
        return []
    before = "".join(each.text for each in part[:i])
    # Without spaces the keys show what follows the letters, not a word that begins with them.
    letters = range(word.shown_from, 1 if is_unspaced(word.text[0]) else len(word.text))
    return [n for n in letters if not i or writer.split(before + word.text[:n], memory=memory).whole == before]


def forms_of(word: TypedWord) -> set[str]:
    """Returns what on a key serves for a word: shift makes small letters capitals, but no key makes capitals small."""
    before = word.lead.lstrip()
    return {before + word.text, before + word.text.lower(), *filter(None, [word.word])}


def _searches(
    reader: Reader,
    writer: Writer,
    ids: np.ndarray,
    words: Iterator[_Typed],
    keys: int,
    cache: CacheSettings | None,
    learn: bool,
) -> Iterator[tuple[int, Searching[Shown]]]:
    """Yields the `id` of each word, and a search which returns its `Shown`."""
    following = np.append(ids[1:], 0)
    mixture = None if cache is None else _Mixture(reader, cache)
    word_at = next(words, None)
    for start, hidden, states in read_blocks(reader, ids, with_states=not writer.pieces.are_words):
        of_block = following[start : start + len(hidden)]
        of_pieces = not (learn or writer.pieces.are_words)
        least = _Least(reader, writer, of_block, hidden) if of_pieces else _LeastOfWords(writer, of_block)
        for first in range(0, len(hidden), _ROWS):
            some = slice(first, first + _ROWS)
            here, end = [], start + min(first + _ROWS, len(hidden))
            while word_at is not None and word_at[0].context <= end:
                here.append(word_at)
                word_at = next(words, None)
            rows = np.array([word.context for word, _, _ in here], int) - start - 1
            if mixture is None:
                contexts = reader.contexts(hidden[rows], states[rows])
            else:
                contexts = mixture.contexts(hidden[some], of_block[some], rows - first)
            for (word, letters, memory), row, context in zip(here, rows, contexts, strict=True):
                at_least = least.of(row, word, start, context)
                yield id(word), find_shown(writer, word, keys, context, letters, memory, at_least)


def find_shown(
    writer: Writer,
    word: TypedWord,
    keys: int,
    context: Context,
    letters: Sequence[int],
    memory: Memory | None = None,
    at_least: float = 0.0,
) -> Searching[Shown]:
    """Searches when the keys show a word; a generator as `search_words`, which returns a `Shown`."""
    forms, rank, possible = forms_of(word), None, len(letters) > 0
    for typed in letters:
        found = yield from writer.keys(
            context, word.lead + word.text[:typed], max(keys, _RANKS), word.begins, memory, at_least
        )
        place = next((i for i, (each, _) in enumerate(found.words) if each in forms), None)
        if typed == 0:
            rank = place
        if place is not None and place < keys:
            return Shown(rank, typed, possible=True)
    return Shown(rank, possible=possible)


class _Mixture:
    """The distributions of words after a model's states, mixed with those of a continuous cache."""

    def __init__(self, reader: Reader, settings: CacheSettings) -> None:
        self._reader, self._settings = reader, settings
        self._cache: Cache | None = None

    def contexts(self, hidden: np.ndarray, following: np.ndarray, rows: np.ndarray) -> list[Context]:
        """Returns the `Context`s at some rows, of words alone: none is read further from there."""
        theta, weight = self._settings.theta, self._settings.weight
        self._cache = self._cache or Cache(self._settings.window, hidden.shape[1])
        probabilities = np.exp(self._reader.log_probabilities(hidden)) * (1 - weight)
        probabilities += weight * self._cache.distributions(hidden, following, theta, probabilities.shape[1])
        with np.errstate(divide="ignore"):
            return [Context(np.zeros(0, "float32"), row) for row in np.log(probabilities[rows])]


class _LeastOfWords:
    """What a word that is a token is as probable as: others that are less need not be looked for."""

    def __init__(self, writer: Writer, following: np.ndarray) -> None:
        self._of_words, self._following = writer.pieces.are_words, following
        self._unk_id = writer.tokenizer.unk_id

    def of(self, row: int, word: TypedWord, start: int, context: Context) -> float:
        token = self._following[row]
        if not self._of_words or token == self._unk_id:
            return 0.0
        return math.exp(float(context.known()[token])) * _ROUNDING


class _Least:
    """The same of words of pieces, by those that write them in the text."""

    def __init__(self, reader: Reader, writer: Writer, following: np.ndarray, hidden: np.ndarray) -> None:
        of_tokens, self._ends = np.zeros(len(hidden)), np.zeros(len(hidden))
        for first in range(0, len(hidden), _ROWS):
            some = slice(first, first + _ROWS)
            rows = reader.log_probabilities(hidden[some])
            self._ends[some] = [writer.pieces.end_probability(row) for row in rows]
            of_tokens[some] = rows[np.arange(len(rows)), following[some]]
        self._sums, self._pieces = np.cumsum([0.0, *of_tokens]), writer.pieces

    def of(self, row: int, word: TypedWord, start: int, context: Context) -> float:
        if word.end is None or word.end - start > len(self._ends):
            return 0.0  # its end is in the next block
        last = word.end - start - 1
        given = 0.0  # of a word that is shown once a letter is typed
        if not word.shown_from:
            given = self._pieces.log_given(context.known(), word.lead, word.begins)
        return math.exp(self._sums[last] - self._sums[row] - given) * self._ends[last] * _ROUNDING


def _unread(_: object) -> NoReturn:
    """Words of one token need no reading."""
    raise AssertionError
