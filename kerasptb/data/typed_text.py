"""Text that a person types: the words that a vocabulary finds in it, and the one that is being typed."""

from __future__ import annotations

import bisect
import functools
import re
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from kerasptb.data.ptb_words import NUMBER, is_numeral, is_word_character, split_tokens
from kerasptb.data.tokenizer import EOS, UNK, Tokenizer

# The white space that ends a line. Every other kind, such as a form feed, separates words like a space.
LINE_END = re.compile(r"\r\n|[\r\n]")
_AFTER_ANY = "\U0010ffff"


def read_words(
    vocabulary: Tokenizer, text: str, read: Callable[[str], Iterable[tuple[str, str]]] | None = None
) -> Iterator[tuple[str, str]]:
    """Yields the words of a text that a person typed.

    Args:
        vocabulary: a `Vocabulary`.
        text: any text, read as `generation.encode_text` says.
        read: what reads a part between white space, for callers who remember parts; `None` for `read_part`.

    Yields:
        word: the word as the vocabulary has it, or as it was typed if it is not in the vocabulary.
        typed: the characters that were typed for it; `’` may have become `'`.
    """
    read = read or functools.partial(read_part, vocabulary)
    for i, line in enumerate(LINE_END.split(text)):
        if i and EOS in vocabulary:
            yield EOS, "\n"
        for part in line.split():
            yield from read(part)


def read_part(vocabulary: Tokenizer, part: str) -> tuple[tuple[str, str], ...]:
    """Returns the words of a part of a text without white space, as `read_words` yields them."""
    known = _known(vocabulary, part)
    return ((known, part),) if known else tuple(_parts(vocabulary, part))


class PrefixIndex:
    """Finds the words of a vocabulary that begin with a prefix, regardless of case.

    Args:
        vocabulary: a `Vocabulary`.

    Attributes:
        sorted_ids: int32 [M], the ids of the words that letters can begin, in an order in which the words that begin
            with a prefix are neighbours. `<unk>`, `<eos>` and `N`, which stands for every number, are none of them.
    """

    def __init__(self, vocabulary):
        suggestible = [i for i, word in enumerate(vocabulary.tokens) if word != UNK]
        completions = [(fold_case(vocabulary.tokens[i]), i) for i in suggestible]
        # NUMBER stands for every number, so typed letters cannot be its beginning.
        completions = sorted(pair for pair in completions if vocabulary.tokens[pair[1]] not in (EOS, NUMBER))
        self._every_id = np.array(suggestible, np.int32)
        self._sorted_words = [word for word, _ in completions]
        self.sorted_ids = np.array([i for _, i in completions], np.int32)
        self._known = set(self._sorted_words)
        self._longest = max(map(len, self._sorted_words), default=0)

    def ids(self, prefix):
        """Returns the ids of the words that begin with a prefix, int32 [N]; after "" every word but `<unk>`.

        Args:
            prefix: a string. `’` is read as `'`.
        """
        if not prefix:
            return self._every_id
        return self.sorted_ids[slice(*self.span(prefix))]

    def split(self, text, others=()):
        """Splits a text into the finished part and the beginning of the word that is being typed.

        The last word is unfinished unless white space follows it. At an apostrophe it is split as in the Penn Treebank
        (`it` and `'s`, `do` and `n't`). Punctuation in front (`"the`, `and/or`) is not part of it unless a word of the
        vocabulary begins so. After other punctuation (`hello,`) a new word begins.

        Args:
            text: any text.
            others: further words that may be typed, as `fold_case` gives them.

        Returns:
            The two parts, whose concatenation is the text. The second may be empty.
        """
        if not text or text[-1].isspace():
            return text, ""
        run = text.rsplit(None, 1)[-1]
        for start in self._starts(run):
            begun = run[start:]
            if begun and (self._matches(begun) or _begins_one(begun, others)):
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
        # The typed word may be very long. One longer than every word of the vocabulary need not be searched.
        return len(prefix) <= self._longest and len(range(*self.span(prefix))) > 0

    def span(self, prefix):
        """Returns where in `sorted_ids` the words that begin with a prefix begin and end."""
        prefix = fold_case(prefix)
        first = bisect.bisect_left(self._sorted_words, prefix)
        return first, bisect.bisect_left(self._sorted_words, prefix + _AFTER_ANY, lo=first)


def _begins_one(prefix, words):
    # As in `_matches`, what is longer than every word need not be searched.
    if len(prefix) > max(map(len, words), default=0):
        return False
    prefix = fold_case(prefix)
    return any(word.startswith(prefix) for word in words)


def fold_case(word):
    """Returns a word as words are compared with what is typed: in lower case, with `'` for `’`."""
    return word.replace("’", "'").lower()


def _word_start(run):
    start = len(run)
    while start > 0 and is_word_character(run[start - 1]):
        start -= 1
    return start


def _known(vocabulary, word):
    return next((form for form in (word, word.lower()) if form in vocabulary), None)


def _ends(text, inner):
    """Returns the start and end of a text without surrounding punctuation, except signs that may end a word."""
    start = next((i for i, c in enumerate(text) if is_word_character(c) or c in "'’"), len(text))
    inside = [i for i in range(start, len(text)) if is_word_character(text[i]) or text[i] in inner]
    return start, inside[-1] + 1 if inside else start


def _parts(vocabulary, text):
    for inner in "'’.", "'’":  # "(U.S.," may contain the word "U.S.", or "U.S" without the last stop
        start, end = _ends(text, inner)
        if end - start < len(text) and (known := _known(vocabulary, text[start:end])):
            yield from _parts(vocabulary, text[:start])
            yield known, text[start:end]
            yield from _parts(vocabulary, text[end:])
            return
    for token, is_word in split_tokens(text):
        if not is_word:
            if token in vocabulary:
                yield token, token
        elif known := _known(vocabulary, token):
            yield known, token
        else:
            yield (NUMBER if is_numeral(token) and NUMBER in vocabulary else token), token
