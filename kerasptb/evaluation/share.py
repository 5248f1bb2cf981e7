"""A share that was found in a sample."""

from __future__ import annotations

import dataclasses
import math

# Of the standard normal distribution, 95 % lie within as much of its mean.
_Z = 1.959964


@dataclasses.dataclass(frozen=True)
class Share:
    """A share that was found in a sample, and the 95 % interval of the true one.

    Attributes:
        value: the share.
        low: the lower end of the interval.
        high: the upper end.
    """

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, count: float, total: int) -> Share:
        """Returns the share of some among a total, with the score interval.

        It is that of Wilson (1927, "Probable Inference, the Law of Succession, and Statistical Inference").
        """
        if not total:
            return cls(0.0, 0.0, 1.0)
        value, weight = count / total, _Z**2 / total
        centre, half = value + weight / 2, math.sqrt(weight * (value * (1 - value) + weight / 4))
        return cls(value, max((centre - half) / (1 + weight), 0.0), min((centre + half) / (1 + weight), 1.0))

    def __str__(self) -> str:
        return f"{self.value:.1%} ({self.low:.1%} to {self.high:.1%})"
