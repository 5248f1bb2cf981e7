"""What the characters of Unicode are to the core: a table, which would take a second to make.

`python -m kerasptb.reading.characters` writes it anew, by the Unicode of that Python.
"""

import functools
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from kerasptb.data.scripts import is_unspaced

_TABLE = Path(__file__).parent / "characters.txt"
_LETTER, _MARK, _DIGIT, _NUMBER, _SPACE, _OPENING, _UNSPACED = (1 << i for i in range(7))
_LAST = 0x110000


@functools.cache
def characters() -> tuple[np.ndarray, np.ndarray]:
    """Returns `lm_model.classes`, uint32 [N], and `lm_model.cases`, int32 [M, 4]."""
    _, classes, cases = _TABLE.read_text(encoding="utf-8").split("\n", 2)
    return np.array(classes.split(), "uint32"), np.array(cases.split(), "int32").reshape(-1, 4)


def scan() -> str:
    """Returns the table: the version of Unicode, a line of classes, and a line of each range of capitals."""
    cases = "".join(f"{' '.join(map(str, each))}\n" for each in _cases())
    return f"{unicodedata.unidata_version}\n{' '.join(map(str, _classes()))}\n{cases}"


def _classes() -> Iterator[int]:
    """Yields where the class of characters changes, and to what, in one number each."""
    before = -1
    for code in range(_LAST):
        if (of_code := _class_of(chr(code))) != before:
            yield code << 8 | of_code
            before = of_code


def _class_of(character: str) -> int:
    category = unicodedata.category(character)
    kinds = {"L": _LETTER, "M": _MARK, "N": _DIGIT if category == "Nd" else _NUMBER}
    if kind := kinds.get(category[0], 0):
        return kind | (_UNSPACED if is_unspaced(character) else 0)
    return _SPACE if character.isspace() else _OPENING if category == "Ps" else 0


def _cases() -> Iterator[tuple[int, int, int, int]]:
    """Yields ranges of capitals: the first, the last, the distance between two, and what makes each small."""
    smaller = {code: ord(lower) - code for code in range(_LAST) if len(lower := chr(code).lower()) == 1}
    capitals = [code for code, add in smaller.items() if add]
    while capitals:
        first, *rest = capitals
        add, last, every = smaller[first], first, 1
        if rest and rest[0] - first in (1, 2):  # in many scripts every second is a capital
            every = rest[0] - first
        for code in rest:
            if code - last != every or smaller[code] != add:
                break
            last = code
        yield first, last, every, add
        capitals = capitals[(last - first) // every + 1 :]


if __name__ == "__main__":
    _TABLE.write_text(scan(), encoding="utf-8")
