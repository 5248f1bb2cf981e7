"""Words as the Penn Treebank has them: lower case, numbers as `N`, no punctuation, clitics split off."""

import re

_CLITIC = re.compile(r"(?<=\w)(n't|'(?:s|re|ve|ll|d|m))\b")
_TOKEN = re.compile(r"n't\b|'(?:s|re|ve|ll|d|m)\b|\w+(?:[.-]\w+)*|[$%&]")
_NUMBER = re.compile(r"\d+(?:[.-]\d+)*")


def tokenize(sentence: str) -> list[str]:
    r"""Returns the words of a sentence in PTB's manner.

    Args:
        sentence: English text.

    Example:
        >>> tokenize('It doesn\'t return "None", but 3.12 well-known *values*.')
        ['it', 'does', "n't", 'return', 'none', 'but', 'N', 'well-known', 'values']
    """
    text = _CLITIC.sub(r" \1", sentence.replace("’", "'").lower())
    return ["N" if _NUMBER.fullmatch(token) else token for token in _TOKEN.findall(text)]
