"""A learning rate that rises once and falls once."""

import math

import keras
from keras import ops

from kerasptb.utils.types import Tensor


@keras.saving.register_keras_serializable(package="kerasptb")
class OneCycle(keras.optimizers.schedules.LearningRateSchedule):
    """One cycle: a rise from a small rate to the largest, and a longer fall to almost zero, both along a cosine.

    Smith and Topin, 2019, "Super-Convergence: Very Fast Training of Neural Networks Using Large Learning Rates", with
    the shape that fastai gave it. In step `s` of `total_steps` S, with `warmup = warmup_fraction S`,
    `start = largest / start_divisor` and `end = largest / end_divisor`, the rate is

        start + (largest - start) (1 - cos(π s / warmup)) / 2                  up to `warmup`
        end + (largest - end) (1 + cos(π (s - warmup) / (S - warmup))) / 2     after it

    Args:
        learning_rate: the largest rate.
        total_steps: steps S of the whole training; later steps have the last rate.
        warmup_fraction: part of the steps in which the rate rises, in [0, 1).
        start_divisor: the largest rate divided by the first.
        end_divisor: the largest rate divided by the last.

    Raises:
        ValueError: if an argument is out of range.

    Example:
    >>> schedule = OneCycle(0.005, total_steps=1000)
    >>> optimizer = keras.optimizers.AdamW(schedule)
    """

    def __init__(
        self,
        learning_rate: float,
        total_steps: int,
        warmup_fraction: float = 0.25,
        start_divisor: float = 25.0,
        end_divisor: float = 1e4,
    ) -> None:
        if total_steps < 1 or not 0 <= warmup_fraction < 1 or start_divisor < 1 or end_divisor < 1:
            raise ValueError(
                "Expected total_steps of at least 1, warmup_fraction in [0, 1) and divisors of at least 1. Received: "
                f"total_steps={total_steps}, warmup_fraction={warmup_fraction}, start_divisor={start_divisor}, "
                f"end_divisor={end_divisor}"
            )
        self.learning_rate = float(learning_rate)
        self.total_steps = int(total_steps)
        self.warmup_fraction = float(warmup_fraction)
        self.start_divisor = float(start_divisor)
        self.end_divisor = float(end_divisor)

    def __call__(self, step: Tensor) -> Tensor:
        """Returns the rate of a step, a float32 scalar; steps count from 0."""
        step = ops.cast(step, "float32")
        warmup = self.warmup_fraction * self.total_steps
        rise = ops.clip(step / max(warmup, 1e-9), 0.0, 1.0)
        fall = ops.clip((step - warmup) / (self.total_steps - warmup), 0.0, 1.0)
        start, end = self.learning_rate / self.start_divisor, self.learning_rate / self.end_divisor
        rising = start + (self.learning_rate - start) * (1 - ops.cos(math.pi * rise)) / 2
        falling = end + (self.learning_rate - end) * (1 + ops.cos(math.pi * fall)) / 2
        return ops.where(step < warmup, rising, falling)

    def get_config(self) -> dict[str, float]:
        """Returns the arguments of the constructor."""
        return {
            "learning_rate": self.learning_rate,
            "total_steps": self.total_steps,
            "warmup_fraction": self.warmup_fraction,
            "start_divisor": self.start_divisor,
            "end_divisor": self.end_divisor,
        }
