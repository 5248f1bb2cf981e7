"""Words as in the Penn Treebank: lower case, numbers as `N`, no punctuation, clitics split off."""

import re
import unicodedata
from collections.abc import Iterator

NUMBER = "N"

# Words that are written together with the previous word, as a regular expression for Python and for RE2.
CLITICS = r"[nN]'[tT]|'(?:[sS]|[rR][eE]|[vV][eE]|[lL][lL]|[dD]|[mM])"
_CLITIC = re.compile(rf"(?<=\w)(?:{CLITICS})\b")
_TOKEN = re.compile(rf"(?P<word>(?:{CLITICS})\b|\w+(?:[.-]\w+)*|[$%&])|[^\s']")
_MAY_BE_MARK = re.compile("[\u0300-\U0010ffff]")
_NUMERAL = re.compile(r"\d+(?:[.-]\d+)*")


def tokenize(sentence: str) -> list[str]:
    r"""Returns the words of an English sentence, split as in PTB.

    Example:
        >>> tokenize('It doesn\'t return "None", but 3.12 well-known *values*.')
        ['it', 'does', "n't", 'return', 'none', 'but', 'N', 'well-known', 'values']
    """
    words = (token for token, is_word in split_tokens(sentence.lower()) if is_word)
    return [NUMBER if is_numeral(word) else word for word in words]


def split_tokens(text: str) -> Iterator[tuple[str, bool]]:
    r"""Yields each word and each other character of a text as it is written, with whether it is a word.

    Clitics are words of their own; `’` is read as `'`. White space and apostrophes outside of words are left out.

    >>> list(split_tokens("(Don't go."))
    [('(', False), ('Do', True), ("n't", True), ('go', True), ('.', False)]
    """
    text = text.replace("’", "'")
    letters = letters_for_marks(text)
    begin = 0
    for end in (*(match.start() for match in _CLITIC.finditer(letters)), len(text)):
        for match in _TOKEN.finditer(letters[begin:end]):
            yield text[begin + match.start() : begin + match.end()], match["word"] is not None
        begin = end


def is_numeral(word: str) -> bool:
    """Returns whether a word is a number, which PTB writes as `N`."""
    return _NUMERAL.fullmatch(word) is not None


def is_word_character(character: str) -> bool:
    """Returns whether a character can be part of a word: a letter or its combining mark, a digit, or `_`."""
    return character.isalnum() or character == "_" or _is_mark(character)


def letters_for_marks(text: str) -> str:
    """Returns a text with a letter in place of each combining mark, which is of its letter but of no word to `re`."""
    return _MAY_BE_MARK.sub(lambda match: "a" if _is_mark(match[0]) else match[0], text)


def _is_mark(character: str) -> bool:
    # Includes the zero-width joiner and non-joiner, which shape letters of Indic scripts and Persian.
    return character in "\u200c\u200d" or unicodedata.category(character).startswith("M")
