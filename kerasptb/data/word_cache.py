"""The words that a writer used last: they become more probable, those that the model does not know included.

A model's probabilities are mixed with those of the words in the cache, then with those of the words that came there
after the same last word, then after the same last two. With c words in such a context, d of them different, c(w) of
them w, and a number k:

    p'(w) = (c(w) + k d p(w)) / (c + k d)

So a word that may be followed by anything changes little, and one that was always followed by the same much. It is
method C of Witten and Bell (1991, "The zero-frequency problem", where k = 1), for the cache of Kuhn and De Mori (1990,
"A cache-based natural language model for speech recognition").

Words that the model does not know share its probability of `<unk>` in the same way: with n of them in the cache, c(new)
times in all, the new word w gets c(w) / (c(new) + n) of it. `<unk>` keeps the rest, for words that are still to come.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np

from kerasptb.data.tokenizer import EOS, UNK
from kerasptb.data.typed_text import fold_case
from kerasptb.data.vocabulary import Vocabulary

# The last words that are remembered, and how many of those that the model does not know, of so many characters.
WINDOW = 2000
MAX_NEW = 500
MAX_CHARACTERS = 40
# k for all words in the cache, for those after the same word, for those after the same two. docs/keyboard.md says on
# which texts they were chosen; half or twice as much changes little.
_WORTH = (20, 8, 8)


class WordCache:
    """The words that a writer used last. It never changes; `extended` gives another.

    Args:
        vocabulary: a `Vocabulary`. New words are remembered if it has `<unk>`.
        ids: integers [T], the ids of the words; those from V on are of `new_words`.
        new_words: the words that are not in the vocabulary, each as it is to be written.
    """

    def __init__(self, vocabulary: Vocabulary, ids: Iterable[int] = (), new_words: Iterable[str] = ()) -> None:
        self.vocabulary, self.ids, self.new_words = vocabulary, np.asarray(ids, "int32"), tuple(new_words)
        self.folded = tuple(map(fold_case, self.new_words))

    def extended(self, words: Iterable[tuple[str, str]]) -> WordCache:
        """Returns the cache after more words.

        A new word is written as it was typed last. The beginning of a line, where any word has a capital, says nothing.

        Args:
            words: pairs of a word and what was typed for it, as `read_words` yields them.
        """
        size, unknown, end = len(self.vocabulary), self.vocabulary.word_to_id.get(UNK), self.vocabulary.eos_id
        last = self.ids[-1] if len(self.ids) else end
        added, spellings = [], list(self.new_words)
        places = {word: place for place, word in enumerate(self.folded)}
        for word, typed in words:
            number = self.vocabulary.word_to_id.get(word, unknown)
            if number is None:
                continue  # a model without <unk> cannot read the word
            if number == unknown and word != UNK and len(word) <= MAX_CHARACTERS:
                place = places.setdefault(fold_case(word), len(spellings))
                number = size + place
                if place == len(spellings):
                    spellings.append(_uncapitalized(typed) if last == end else typed)
                elif last != end:
                    spellings[place] = typed
            added.append(number)
            last = number
        ids = np.concatenate([self.ids, np.array(added, "int32")])[-WINDOW:]
        if not spellings:
            return WordCache(self.vocabulary, ids)
        # The new words that were used last are kept, and numbered without a gap.
        numbers, ages = np.unique(ids[ids >= size][::-1], return_index=True)
        kept = np.sort(numbers[np.argsort(ages)[:MAX_NEW]])
        renumbered = np.arange(size + len(spellings))
        renumbered[size:] = self.vocabulary.word_to_id[UNK]
        renumbered[kept] = size + np.arange(len(kept))
        return WordCache(self.vocabulary, renumbered[ids], [spellings[number - size] for number in kept])

    def probabilities(self, probabilities: np.ndarray) -> np.ndarray:
        """Returns the probabilities of the next word, float64 [V + N], the N new words among them.

        Args:
            probabilities: float [V], those that the model gives.
        """
        size = len(self.vocabulary)
        mixed = np.zeros(size + len(self.new_words))
        mixed[:size] = probabilities
        if self.new_words:
            of_new, unknown = np.bincount(self.ids, minlength=len(mixed))[size:], self.vocabulary.word_to_id[UNK]
            share = mixed[unknown] / (of_new.sum() + len(of_new))
            mixed[size:] = share * of_new
            mixed[unknown] = share * len(of_new)
        for order, k in enumerate(_WORTH):
            words, counts = np.unique(self._after(order), return_counts=True)
            if len(words):
                total = counts.sum() + k * len(words)
                mixed *= k * len(words) / total
                mixed[words] += counts / total
        return mixed

    def beginning(self, prefix: str) -> np.ndarray:
        """Returns the ids of the new words that begin with a prefix, int32 [M], whatever the case."""
        prefix = fold_case(prefix)
        places = [i for i, word in enumerate(self.folded) if word.startswith(prefix)]
        return np.array(places, "int32") + len(self.vocabulary)

    def word(self, number: int) -> str:
        """Returns the word of an id."""
        size = len(self.vocabulary)
        return self.vocabulary.words[number] if number < size else self.new_words[number - size]

    def _after(self, order):
        """Returns the ids of all words that came after the last `order` words."""
        ids = self.ids
        if len(ids) < order:
            return ids[:0]
        same = np.ones(max(len(ids) - order, 0), bool)
        for back in range(1, order + 1):
            same &= ids[order - back : len(ids) - back] == ids[-back]
        return ids[order:][same]


class TypedWords:
    """The words that a writer used last, of a model whose words are of pieces: any word can be one of them.

    In the module's formula p(w) is that of a word which a search found, and 0 of others. A cache never changes;
    `extended` gives another.

    Args:
        words: the words in their order, `<eos>` for a line's end among them.
    """

    def __init__(self, words: Iterable[str] = (EOS,)) -> None:
        self.words = tuple(words)[-WINDOW:]

    def extended(self, words: Iterable[str]) -> TypedWords:
        """Returns the cache after more words; a capital at the beginning of a line says nothing."""
        added, last = [], self.words[-1:]
        for word in words:
            added.append(_uncapitalized(word) if last == (EOS,) else word)
            last = (word,)
        return TypedWords((*self.words, *added))

    def shares(self) -> tuple[float, dict[str, float]]:
        """Returns what makes the probabilities of the module's formula: p'(w) = shares[w] + of_model * p(w).

        Returns:
            of_model: what remains for the model's probabilities.
            shares: mapping from each word in the cache to its share, `<eos>` among them.
        """
        of_model, shares, words = 1.0, dict[str, float](), self.words
        places = list(range(len(words)))
        for order, k in enumerate(_WORTH):
            if order:  # those after the same `order` words
                places = [i for i in places if i >= order and words[i - order] == words[-order]]
            if not places:
                break
            counts = Counter([words[i] for i in places])
            left = k * len(counts) / (len(places) + k * len(counts))
            of_model *= left
            shares = {word: share * left for word, share in shares.items()}
            for word, count in counts.items():
                shares[word] = shares.get(word, 0.0) + count * left / (k * len(counts))
        return of_model, shares


def _uncapitalized(word):
    small = word.lower()
    return small if len(small) == len(word) and small[1:] == word[1:] else word  # "İ" has two characters in lower case
