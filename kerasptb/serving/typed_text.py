"""Where the word that someone is typing begins, and which words it may become."""

import bisect

import numpy as np

from kerasptb.data import EOS, UNK
from kerasptb.data.tokenizer import NUMBER, is_word_character

_AFTER_ANY = "\U0010ffff"


class PrefixIndex:
    """Finds the words of a vocabulary that begin in some way, in whatever case.

    Args:
        vocabulary: a `Vocabulary`.
    """

    def __init__(self, vocabulary):
        suggestible = [i for i, word in enumerate(vocabulary.words) if word != UNK]
        completions = [(_folded(vocabulary.words[i]), i) for i in suggestible]
        # NUMBER stands for every number, and so is no word that letters could become.
        completions = sorted(pair for pair in completions if vocabulary.words[pair[1]] not in (EOS, NUMBER))
        self._every_id = np.array(suggestible, np.int32)
        self._sorted_words = [word for word, _ in completions]
        self._sorted_ids = np.array([i for _, i in completions], np.int32)
        self._known = set(self._sorted_words)
        self._longest = max(map(len, self._sorted_words), default=0)

    def ids(self, prefix):
        """Returns the ids of the words that begin with a prefix, int32 [N]; after "" every word but `<unk>`.

        Args:
            prefix: a string. `’` is read as `'`.
        """
        if not prefix:
            return self._every_id
        return self._sorted_ids[slice(*self._range(prefix))]

    def split(self, text):
        """Parts a text into what is written and the beginning of a word that is being written.

        The last word is unfinished unless white space follows it. Before an apostrophe it is parted as the Penn
        Treebank parts it (`it` and `'s`, `do` and `n't`), and punctuation in front (`"the`, `and/or`) is no part of it
        unless a word of the vocabulary begins so. After other punctuation (`hello,`) a new word begins.

        Args:
            text: any text.

        Returns:
            The two parts, which together are the text. The second may be empty.
        """
        if not text or text[-1].isspace():
            return text, ""
        run = text.rsplit(None, 1)[-1]
        for start in self._starts(run):
            if run[start:] and self._matches(run[start:]):
                break
        else:
            start = _word_start(run)
        cut = len(text) - len(run) + start
        return text[:cut], text[cut:]

    def _starts(self, run):
        """Yields the places in a run of characters without white space where a word may begin, the likeliest first."""
        yield 0
        first = next((i for i, character in enumerate(run) if is_word_character(character)), len(run))
        yield first
        apostrophe = max(run.rfind("'"), run.rfind("’"))
        if apostrophe > 0:
            before_n = run[first : apostrophe - 1].lower()
            if run[apostrophe - 1] in "nN" and before_n in self._known:
                yield apostrophe - 1
            yield apostrophe
        yield _word_start(run)

    def _matches(self, prefix):
        # A word of any length may be typed; none in the vocabulary is longer than the longest.
        return len(prefix) <= self._longest and len(range(*self._range(prefix))) > 0

    def _range(self, prefix):
        prefix = _folded(prefix)
        first = bisect.bisect_left(self._sorted_words, prefix)
        return first, bisect.bisect_left(self._sorted_words, prefix + _AFTER_ANY, lo=first)


def _folded(word):
    return word.replace("’", "'").lower()


def _word_start(run):
    start = len(run)
    while start > 0 and is_word_character(run[start - 1]):
        start -= 1
    return start
