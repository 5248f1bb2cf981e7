"""What values an argument takes, and how a word of the command line becomes one.

`read` returns a value as Python and JSON have it (NumPy's numbers are welcome), or raises ValueError; `parse` does so
with a word; `expected` says in words what is taken.
"""

import dataclasses
import math
import numbers
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Whole:
    """Whole numbers from `least` on."""

    least: int = 1

    @property
    def expected(self) -> str:
        """What is taken."""
        return f"a whole number of at least {self.least}"

    def read(self, value: Any) -> int:
        """Returns the value as an int."""
        if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < self.least:
            raise ValueError
        return int(value)

    def parse(self, word: str) -> int:
        """Returns a word as an int."""
        return self.read(int(word))


@dataclasses.dataclass(frozen=True)
class Number:
    """Finite numbers from `low` to `high`, with both ends unless one is left out."""

    low: float
    high: float = math.inf
    without_low: bool = False
    without_high: bool = False

    @property
    def expected(self) -> str:
        """What is taken."""
        low = f"{'above' if self.without_low else 'of at least'} {self.low:g}"
        if self.high == math.inf:
            return f"a number {low}"
        return f"a number {low} and {'below' if self.without_high else 'at most'} {self.high:g}"

    def read(self, value: Any) -> float:
        """Returns the value as a float."""
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise ValueError
        number = float(value)
        low_fits = number > self.low if self.without_low else number >= self.low
        high_fits = number < self.high if self.without_high or self.high == math.inf else number <= self.high
        if not (low_fits and high_fits):
            raise ValueError
        return number

    def parse(self, word: str) -> float:
        """Returns a word as a float."""
        return self.read(float(word))


@dataclasses.dataclass(frozen=True)
class Flag:
    """True or False."""

    expected = "True or False"

    def read(self, value: Any) -> bool:
        """Returns the value as a bool."""
        if not isinstance(value, bool | np.bool_):
            raise ValueError
        return bool(value)


@dataclasses.dataclass(frozen=True)
class Text:
    """Strings that are not empty."""

    expected = "a text"

    def read(self, value: Any) -> str:
        """Returns the value."""
        if not isinstance(value, str) or not value:
            raise ValueError
        return value

    parse = read


@dataclasses.dataclass(frozen=True)
class Choice:
    """One of some names."""

    names: tuple[str, ...]

    @property
    def expected(self) -> str:
        """What is taken."""
        return f"one of {', '.join(self.names)}"

    def read(self, value: Any) -> str:
        """Returns the value."""
        if not isinstance(value, str) or value not in self.names:
            raise ValueError
        return value

    parse = read


@dataclasses.dataclass(frozen=True)
class Several:
    """One or more values of a kind, as a tuple; a single value stands for a tuple of one."""

    kind: Whole | Text

    @property
    def expected(self) -> str:
        """What is taken."""
        return f"a list, each {self.kind.expected}"

    def read(self, value: Any) -> tuple:
        """Returns the values as a tuple."""
        if isinstance(value, str | numbers.Number) or np.ndim(value) == 0:
            value = (value,)
        values = tuple(self.kind.read(each) for each in value)
        if not values:
            raise ValueError
        return values

    def parse(self, word: str) -> Any:
        """Returns one of several words as a value of the kind."""
        return self.kind.parse(word)
