"""Text that a person types: the words that a vocabulary finds in it, and the one that is being typed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from kerasptb.data.tokenizers.prefixes import PrefixIndex
from kerasptb.data.tokenizers.ptb_words import NUMBER, is_numeral, is_word_character, split_tokens
from kerasptb.data.tokenizers.tokenizer import EOS, Tokenizer, WordsThatBegin

# The white space that ends a line. Every other kind, such as a form feed, separates words like a space.
LINE_END = re.compile(r"\r\n|[\r\n]")


def read_words(vocabulary: Any, text: str) -> Iterator[tuple[str, str]]:
    """Yields the words of a text that a person typed, as a `Vocabulary` has them, else as they were typed.

    With each come the characters that were typed for it; `’` may have become `'`.
    """
    for i, line in enumerate(LINE_END.split(text)):
        if i and EOS in vocabulary:
            yield EOS, "\n"
        for part in line.split():
            yield from vocabulary.read_part(part)


def read_part(vocabulary: Tokenizer, part: str) -> tuple[tuple[str, str], ...]:
    """Returns the words of a part of a text without white space, as `read_words` yields them."""
    known = _known(vocabulary, part)
    return ((known, part),) if known else tuple(_parts(vocabulary, part))


def split_words(index: PrefixIndex, text: str, others: WordsThatBegin | None = None) -> tuple[str, str]:
    """Splits a text into the finished part and the beginning of the word that is being typed, as `split_typed`.

    The last word is unfinished unless white space follows it. At an apostrophe it is split as in the Penn Treebank
    (`it` and `'s`, `do` and `n't`). Punctuation in front (`"the`, `and/or`) is not part of it unless a word begins so:
    one in the index of what words write, or of the others. After other punctuation (`hello,`) a new word begins.
    """
    if not text or text[-1].isspace():
        return text, ""
    run = text.rsplit(None, 1)[-1]
    for start in _starts(index, run):
        begun = run[start:]
        if begun and (len(index.beginning(f" {begun}")) or (others is not None and len(others.beginning(begun)))):
            break
    else:
        start = _word_start(run)
    cut = len(text) - len(run) + start
    return text[:cut], text[cut:]


def _starts(index: PrefixIndex, run: str) -> Iterator[int]:
    """Yields the places in a run of characters without white space where a word may begin, the likeliest first."""
    yield 0
    first = next((i for i, character in enumerate(run) if is_word_character(character)), len(run))
    yield first
    apostrophe = max(run.rfind("'"), run.rfind("’"))
    if apostrophe > 0:
        if run[apostrophe - 1] in "nN" and f" {run[first : apostrophe - 1]}" in index:
            yield apostrophe - 1
        yield apostrophe
    yield _word_start(run)


def _word_start(run: str) -> int:
    return next((i for i in range(len(run), 0, -1) if not is_word_character(run[i - 1])), 0)


def _known(vocabulary: Tokenizer, word: str) -> str | None:
    return next((form for form in (word, word.lower()) if form in vocabulary), None)


def _ends(text: str, inner: str) -> tuple[int, int]:
    """Returns the start and end of a text without surrounding punctuation, except signs that may end a word."""
    start = next((i for i, c in enumerate(text) if is_word_character(c) or c in "'’"), len(text))
    inside = [i for i in range(start, len(text)) if is_word_character(text[i]) or text[i] in inner]
    return start, inside[-1] + 1 if inside else start


def _parts(vocabulary: Tokenizer, text: str) -> Iterator[tuple[str, str]]:
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
