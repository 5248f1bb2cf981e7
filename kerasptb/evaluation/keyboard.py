"""How good a model is as a phone's keyboard: recall of the next word, and keystrokes saved.

A text is typed as by a person who looks at the suggestions after every key. A word of n letters and the space after it
are n + 1 characters. Before each letter the keys show the most probable words that begin with the letters typed so far.
As soon as the word is among them its key is pressed, which writes the rest of the word and its space. So a word that is
found after j letters takes j + 1 keystrokes, and one that never is takes n + 1. Hence (Trnka and McCoy, 2008,
"Evaluating Word Prediction: Framing Keystroke Savings"):

    keystroke savings = 1 - keystrokes / characters

- `<unk>` and `N` stand for words that the text does not name. They are never on a key, and are typed in full, with the
  letters that stand in the text; they count among the words that recall is a share of.
- A word that the vocabulary lacks is typed in full, until it is in a cache of the words typed before.
- `<eos>`, the end of a line, has a key of its own on every keyboard. It is neither a word nor a character here, and is
  never suggested. The model reads it.
"""

import dataclasses
from collections.abc import Iterable, Sequence

import keras
import numpy as np

from kerasptb.data import EOS, DataError, Vocabulary
from kerasptb.data.batching import check_sizes
from kerasptb.data.typed_text import PrefixIndex, fold_case, read_words
from kerasptb.data.word_cache import WordCache
from kerasptb.evaluation.continuous_cache import Cache, CacheSettings
from kerasptb.evaluation.perplexity import checked_text
from kerasptb.evaluation.reading import read_rows
from kerasptb.models import LanguageModel

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
        num_words: words typed, with `<unk>` and `N`, without `<eos>`.
        num_characters: their letters, and a space for each.
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
        self._first_at = np.zeros(max(3, keys), "int64")  # words by the key that shows them before their first letter
        self._num_words = self._num_characters = self._num_keystrokes = self._num_at_best = 0

    def type(self, scores: np.ndarray, ids: np.ndarray, letters: Iterable[int] | None = None) -> None:
        """Types words.

        Args:
            scores: float [N, V]; the words with the highest are shown, of equals the one with the lower id. A word of
                minus infinity is not shown.
            ids: int32 [N], the words to type.
            letters: integers [N], how many letters each word has; `None` for those of the vocabulary's words.
        """
        ids = np.asarray(ids)
        typed = np.flatnonzero(ids != self._eos_id)
        if letters is None:
            letters = [len(self._words[i]) for i in ids]
        letters = np.asarray(letters)[typed]
        ids, scores = ids[typed], np.asarray(scores)[typed][:, self._index.sorted_ids]
        places = self._place[ids]
        of_word = np.take_along_axis(scores, np.maximum(places, 0)[:, np.newaxis], axis=1)
        before = (scores > of_word) | ((scores == of_word) & (self._index.sorted_ids < ids[:, np.newaxis]))
        # Column k: how many of the first k words are shown before the one to type.
        counts = np.zeros((len(ids), scores.shape[1] + 1), "int32")
        np.cumsum(before, axis=1, out=counts[:, 1:])
        known = (places >= 0) & (of_word[:, 0] > -np.inf)
        for row, shown_at_all, word, length in zip(counts, known, ids, letters, strict=True):
            self._num_words += 1
            in_full = length + 1
            self._num_characters += in_full
            if not shown_at_all:
                self._num_keystrokes += in_full
                self._num_at_best += in_full
                continue
            first, end = self._spans_of(word)
            ranks = row[end] - row[first]
            shown = np.flatnonzero(ranks < self._keys)
            self._num_keystrokes += shown[0] + 1 if len(shown) else in_full
            self._num_at_best += 1
            if ranks[0] < len(self._first_at):
                self._first_at[ranks[0]] += 1

    def result(self) -> KeyboardEvaluation:
        """Returns the `KeyboardEvaluation` of all words typed so far."""
        words, characters = max(self._num_words, 1), max(self._num_characters, 1)
        return KeyboardEvaluation(
            top1=float(self._first_at[0] / words),
            top3=float(self._first_at[:3].sum() / words),
            keystroke_savings=float(1 - self._num_keystrokes / characters),
            savings_ceiling=float(1 - self._num_at_best / characters),
            num_words=int(self._num_words),
            num_characters=int(self._num_characters),
            num_keystrokes=int(self._num_keystrokes),
            keys=self._keys,
        )

    def _spans_of(self, word):
        """Returns where the words that begin as a word does begin and end, after 0, 1, ... of its letters."""
        if word not in self._spans:
            text = self._words[word]
            spans = [(0, len(self._index.sorted_ids)), *(self._index.span(text[:n]) for n in range(1, len(text)))]
            self._spans[word] = np.array(spans).T
        return self._spans[word]


def evaluate_keyboard(
    model: LanguageModel,
    vocabulary: Vocabulary,
    ids: Sequence[int] | np.ndarray,
    keys: int = 3,
    cache: CacheSettings | None = None,
    learn: bool = False,
) -> KeyboardEvaluation:
    """Types a text of word ids with a model's suggestions.

    Each word but the first is typed after all the words before it, read from a zero state.

    Args:
        model: a `LanguageModel`. It need not be compiled.
        vocabulary: its `Vocabulary`.
        ids: int32 [N], the text, of at least two words.
        keys: number of words shown at a time.
        cache: `CacheSettings` of a continuous cache of the words typed before; `None` for none.
        learn: whether the suggestions learn from the words typed before, as the server's with `learn` do.

    Returns:
        A `KeyboardEvaluation`.

    Raises:
        DataError: if the text is too short, or has no word to type.
        ValueError: for word ids out of range, a vocabulary of another size than the model's, or `learn` with a `cache`.
    """
    vocabulary.check_size(model.vocabulary_size)
    words = [vocabulary.words[i] for i in checked_text(model, ids)]
    return _evaluate(model, vocabulary, list(zip(words, words, strict=True)), keys, cache, learn)


def evaluate_keyboard_on_text(
    model: LanguageModel,
    vocabulary: Vocabulary,
    text: str,
    keys: int = 3,
    learn: bool = False,
) -> KeyboardEvaluation:
    """Types a text as a person wrote it with a model's suggestions.

    Args:
        model: as in `evaluate_keyboard`, like the other arguments, the result and what is raised.
        vocabulary: its `Vocabulary`.
        text: the text, a sentence a line, read as `generation.encode_text` says. Words that the vocabulary lacks, and
            numbers, are typed with their own letters.
        keys: number of words shown at a time.
        learn: as in `evaluate_keyboard`. Words that the vocabulary lacks are shown once they were typed before.
    """
    vocabulary.check_size(model.vocabulary_size)
    words = [(EOS, EOS)] if EOS in vocabulary else []
    words.extend(read_words(vocabulary, text))
    return _evaluate(model, vocabulary, words, keys, None, learn)


def _evaluate(model, vocabulary, words, keys, cache, learn):
    """Types words, pairs of each and what is typed for it."""
    if learn and cache is not None:
        raise ValueError("Expected a continuous cache or learning from what was typed. Received: both.")
    first, to_type = words[:1], words[1:]  # the first is read only
    if all(word == EOS for word, _ in to_type):
        raise DataError("Expected a text with at least one word to type. Received: none")
    ids = checked_text(model, vocabulary.encode(word for word, _ in words))
    new = dict.fromkeys(fold_case(word) for word, _ in words if word not in vocabulary)
    everything = Vocabulary([*vocabulary.words, *new])
    typist, of_writer, done = Typist(everything, keys), WordCache(vocabulary).extended(first), 0
    for probabilities in _distributions(model, ids, cache):
        pairs = to_type[done : done + len(probabilities)]
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
        typist.type(scores, np.array(numbers), [len(typed) for _, typed in pairs])
    return typist.result()


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
