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
import itertools
from collections.abc import Sequence

import keras
import numpy as np

from kerasptb.data import EOS, DataError, Tokenizer, Vocabulary
from kerasptb.data.batching import check_sizes
from kerasptb.data.paragraphs import Paragraphs
from kerasptb.data.typed_text import LINE_END, PrefixIndex, fold_case, read_part
from kerasptb.data.word_cache import WordCache
from kerasptb.evaluation.continuous_cache import Cache, CacheSettings
from kerasptb.evaluation.perplexity import checked_text
from kerasptb.evaluation.reading import read_rows
from kerasptb.evaluation.written_text import Shown, Unit, find_units, read_parts
from kerasptb.models import LanguageModel

_NOTHING = "Expected a text with at least one word to type. Received: none"
# Scores, of words times V, that are in memory at once: with what is made of them some 40 MB.
_BLOCK_SCORES = 2_500_000


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


class TypedCounts:
    """What was typed so far.

    Args:
        keys: number of words shown at a time.
    """

    def __init__(self, keys: int) -> None:
        self._keys = keys
        self._words = self._characters = self._keystrokes = self._at_best = self._top1 = self._top3 = 0

    def add(self, units: Sequence[Unit], shown: Sequence[Shown]) -> None:
        """Adds what stands between two spaces, its units and when keys show each."""
        for unit, when in zip(units, shown, strict=True):
            in_full = len(unit.text) + (unit is units[-1])  # the space after it all
            self._characters += in_full
            self._keystrokes += in_full if when.typed is None else min(max(when.typed, unit.shown_from) + 1, in_full)
            self._at_best += min(unit.shown_from + 1, in_full) if when.possible else in_full
        word = next((i for i, unit in enumerate(units) if unit.is_word), 0)
        rank = None if units[word].shown_from else shown[word].rank
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
    """Types a text with the suggestions of any model, and counts.

    Args:
        vocabulary: the `Vocabulary` that the suggestions are from.
        keys: number of words shown at a time.
    """

    def __init__(self, vocabulary: Vocabulary, keys: int = 3) -> None:
        check_sizes(keys=keys)
        self._words, self._eos_id, self._keys = vocabulary.words, vocabulary.eos_id, keys
        self._index = PrefixIndex(vocabulary)
        self._place = np.full(len(vocabulary), -1)
        self._place[self._index.sorted_ids] = np.arange(len(self._index.sorted_ids))
        self._spans: dict[int, np.ndarray] = {}
        self._counts = TypedCounts(keys)

    def type(self, scores: np.ndarray, ids: np.ndarray) -> None:
        """Types words, each with a space after it.

        Args:
            scores: as in `find`.
            ids: int32 [N], the words to type.
        """
        for word, shown in zip(ids, self.find(scores, ids), strict=True):
            if word != self._eos_id:
                self._counts.add([Unit(self._words[word], " ")], [shown])

    def find(self, scores: np.ndarray, ids: np.ndarray) -> list[Shown]:
        """Returns when the keys show words.

        Args:
            scores: float [N, V]; the words with the highest are shown, of equals the one with the lower id. A word of
                minus infinity is not shown.
            ids: int32 [N], the words.
        """
        ids = np.asarray(ids)
        scores = np.asarray(scores)[:, self._index.sorted_ids]
        places = self._place[ids]
        of_word = np.take_along_axis(scores, np.maximum(places, 0)[:, np.newaxis], axis=1)
        before = (scores > of_word) | ((scores == of_word) & (self._index.sorted_ids < ids[:, np.newaxis]))
        # Column k: how many of the first k words are shown before the one to type.
        counts = np.zeros((len(ids), scores.shape[1] + 1), "int32")
        np.cumsum(before, axis=1, out=counts[:, 1:])
        known = (places >= 0) & (of_word[:, 0] > -np.inf)
        return [
            self._find(word, row) if possible else Shown()
            for word, row, possible in zip(ids, counts, known, strict=True)
        ]

    def _find(self, word, row):
        first, end = self._spans_of(word)
        ranks = row[end] - row[first]
        shown = np.flatnonzero(ranks < self._keys)
        return Shown(int(ranks[0]), int(shown[0]) if len(shown) else None, possible=True)

    def result(self) -> KeyboardEvaluation:
        """Returns the `KeyboardEvaluation` of all words typed so far."""
        return self._counts.result()

    def _spans_of(self, word):
        """Returns where the words that begin as a word does begin and end, after 0, 1, ... of its letters."""
        if word not in self._spans:
            text = self._words[word]
            spans = [(0, len(self._index.sorted_ids)), *(self._index.span(text[:n]) for n in range(1, len(text)))]
            self._spans[word] = np.array(spans).T
        return self._spans[word]


def evaluate_keyboard(
    model: LanguageModel,
    vocabulary: Tokenizer,
    ids: Sequence[int] | np.ndarray,
    keys: int = 3,
    cache: CacheSettings | None = None,
    learn: bool = False,
) -> KeyboardEvaluation:
    """Types a text of ids with a model's suggestions.

    Each word but the first is typed after all the words before it, read from a zero state.

    Args:
        model: a `LanguageModel`. It need not be compiled.
        vocabulary: its `Tokenizer`.
        ids: int32 [N], the text, of at least two words.
        keys: number of words shown at a time.
        cache: `CacheSettings` of a continuous cache of the words typed before, for a `Vocabulary`; `None` for none.
        learn: whether the suggestions learn from the words typed before, as the server's with `learn` do.

    Returns:
        A `KeyboardEvaluation`.

    Raises:
        DataError: if the text is too short, or has no word to type.
        ValueError: for ids out of range, a vocabulary of another size than the model's, or a `cache` with `learn` or
            with subwords.
    """
    vocabulary.check_size(model.vocabulary_size)
    ids = checked_text(model, ids)
    if isinstance(vocabulary, Vocabulary):
        words = [vocabulary.words[i] for i in ids]
        parts = [[(None if word == EOS else Unit(word, " "), (word, word))] for word in words]
        return _type_words(model, vocabulary, parts, keys, cache, learn)
    return _type_pieces(model, vocabulary, ids, keys, cache, learn)


def evaluate_keyboard_on_text(
    model: LanguageModel,
    vocabulary: Tokenizer,
    text: str,
    keys: int = 3,
    learn: bool = False,
    keep_lines: bool = False,
) -> KeyboardEvaluation:
    """Types a text as a person wrote it with a model's suggestions.

    Args:
        model: as in `evaluate_keyboard`, like the other arguments, the result and what is raised.
        vocabulary: its `Tokenizer`.
        text: the text. For a `Vocabulary` a sentence a line, read as `generation.encode_text` says; words that it
            lacks, and numbers, are typed with their own letters.
        keys: number of words shown at a time.
        learn: as in `evaluate_keyboard`. Words that the vocabulary lacks are shown once they were typed before.
        keep_lines: of subwords and characters, whether each line is a paragraph, as in `load_corpus`.
    """
    vocabulary.check_size(model.vocabulary_size)
    if isinstance(vocabulary, Vocabulary):
        end = [[(None, (EOS, EOS))]] if EOS in vocabulary else []
        lines = ([_read_units(vocabulary, part) for part in line.split()] for line in LINE_END.split(text))
        return _type_words(model, vocabulary, [part for line in lines for part in end + line], keys, None, learn)
    text = "\n".join(Paragraphs(keep_lines).read(line.removesuffix("\r") for line in text.split("\n")))
    return _type_pieces(model, vocabulary, vocabulary.encode_typed(text), keys, None, learn)


def _read_units(vocabulary, part):
    """Returns what stands between two spaces: its words with what `read_part` reads, other characters with `None`."""
    units, done = [], 0
    for word, typed in read_part(vocabulary, part):
        start = part.replace("’", "'").index(typed.replace("’", "'"), done)
        units += [(Unit(sign, ""), None) for sign in part[done:start]]
        done = start + len(typed)
        units.append((Unit(part[start:done], "" if start else " "), (word, typed)))
    return units + [(Unit(sign, ""), None) for sign in part[done:]]


def _type_words(model, vocabulary, parts, keys, cache, learn):
    """Types a text of words.

    A part is a list of pairs: a `Unit`, `None` for a line's end; and the word that it is read as with what is typed for
    it, `None` if it is not read.
    """
    if learn and cache is not None:
        raise ValueError("Expected a continuous cache or learning from what was typed. Received: both.")
    if all(unit is None for part in parts[1:] for unit, _ in part):
        raise DataError(_NOTHING)
    pairs = [pair for part in parts for _, pair in part if pair]
    found = iter([None, *_find_words(model, vocabulary, pairs, keys, cache, learn)])  # the first is read only
    counts = TypedCounts(keys)
    for part in parts:
        units, shown = [unit for unit, _ in part], [next(found) if pair else Shown() for _, pair in part]
        if None not in units and None not in shown:
            counts.add(units, shown)
    return counts.result()


def _type_pieces(model, tokenizer, ids, keys, cache, learn):
    """Types a text of pieces, which are ids, int32 [N]."""
    check_sizes(keys=keys)
    if cache is not None:
        raise ValueError(f"Expected a continuous cache for a model of words. Received: one of {tokenizer.kind}.")
    parts = list(read_parts(tokenizer, ids))
    typed = [None not in part and part[0].context > 0 for part in parts]  # the first is read only
    if not any(typed):
        raise DataError(_NOTHING)
    found = iter(find_units(model, tokenizer, ids, [unit for part in parts for unit in part], keys, learn))
    counts = TypedCounts(keys)
    for part, is_typed in zip(parts, typed, strict=True):
        shown = list(itertools.islice(found, len(part)))
        if is_typed:
            counts.add(part, shown)
    return counts.result()


def _find_words(model, vocabulary, words, keys, cache, learn):
    """Yields when keys show each word but the first, of pairs of each and what is typed for it."""
    ids = checked_text(model, vocabulary.encode(word for word, _ in words))
    new = dict.fromkeys(fold_case(word) for word, _ in words if word not in vocabulary)
    everything = Vocabulary([*vocabulary.words, *new])
    typist, of_writer, done = Typist(everything, keys), WordCache(vocabulary).extended(words[:1]), 1
    for probabilities in _distributions(model, ids, cache):
        pairs = words[done : done + len(probabilities)]
        done += len(pairs)
        scores = np.full((len(probabilities), len(everything)), -np.inf, "float32")
        scores[:, : len(vocabulary)] = probabilities
        if learn:
            for row, pair in zip(scores, pairs, strict=True):
                mixed = of_writer.probabilities(row[: len(vocabulary)])
                row[: len(vocabulary)] = mixed[: len(vocabulary)]
                row[[everything.word_to_id[word] for word in of_writer.folded]] = mixed[len(vocabulary) :]
                of_writer = of_writer.extended([pair])
        numbers = [everything.word_to_id[word if word in vocabulary else fold_case(word)] for word, _ in pairs]
        yield from typist.find(scores, np.array(numbers))


def _distributions(model, ids, cache):
    """Yields the probabilities of the next word after each word but the last, float [N, V], in blocks of a few."""
    typed = None
    for factors, states, targets in read_rows(model, ids):
        kernel, bias = (keras.ops.convert_to_numpy(each).astype("float32") for each in (factors.kernel, factors.bias))
        kernel = kernel.T if factors.transpose_kernel else kernel
        size = max(_BLOCK_SCORES // len(bias), 1)
        for first in range(0, len(states), size):
            block = slice(first, first + size)
            scores = states[block] @ kernel + bias
            scores = np.exp(scores - scores.max(axis=1, keepdims=True))
            scores /= scores.sum(axis=1, keepdims=True)
            if cache is not None:
                typed = typed or Cache(cache.window, states.shape[1])
                scores *= 1 - cache.weight
                scores += cache.weight * typed.distributions(states[block], targets[block], cache.theta, len(bias))
            yield scores
