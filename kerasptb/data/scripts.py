"""Scripts that are written without spaces between their words."""

import re
import unicodedata

# Thai to Myanmar, Khmer, Tai; Chinese, Japanese, Yi and their signs, but not Korean, which has spaces.
UNSPACED = (
    "[\u0e00-\u109f\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf\u2e80-\u312f\u3190-\u9fff\ua000-\ua4cf\uf900-\ufaff"
    "\ufe30-\ufe4f\uff00-\uff9f\U00020000-\U0003ffff]"
)
# Signs that all scripts share: quotation marks, dashes, dots and digits are of the script beside them.
_SHARED = "[\u2018-\u201d\u2013-\u2015\u2026\u00b7\\d]*"
_RUN = re.compile(f"{UNSPACED}+")
# Letters of two columns: of these scripts the Chinese, Japanese and Yi, and Korean.
_WIDE = re.compile(
    "[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\U00020000-\U0003ffff]+"
)
_LINE_END = re.compile(f"({UNSPACED}{_SHARED})\n(?={_SHARED}{UNSPACED})")


def is_unspaced(character: str) -> bool:
    """Returns whether a character is a letter, a mark or a digit of such a script."""
    return character > "\u0dff" and unicodedata.category(character)[0] in "LMN" and bool(_RUN.match(character))


def count_unspaced(text: str) -> int:
    """Returns how many characters of a text are of such a script."""
    return _count(_RUN, text)


def width(text: str) -> int:
    """Returns how many columns a text has."""
    return len(text) + _count(_WIDE, text)


def _count(runs: re.Pattern[str], text: str) -> int:
    return 0 if text.isascii() else sum(map(len, runs.findall(text)))


def join_lines(lines: list[str]) -> str:
    """Returns lines as one: with a space between two, unless both are of such a script where they meet."""
    text = "\n".join(lines)
    return (text if text.isascii() else _LINE_END.sub(r"\1", text)).replace("\n", " ")
