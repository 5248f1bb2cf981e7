"""Lowers the learning rate when validation no longer improves."""

from typing import Any

import keras

from kerasptb.callbacks.progress import Resumable
from kerasptb.data.streams import check_sizes


class ReduceLROnPlateau(Resumable, keras.callbacks.ReduceLROnPlateau):
    """`keras.callbacks.ReduceLROnPlateau` that goes on with its count when a training is resumed (`Checkpoint`).

    Args:
        monitor: name of the metric in the logs of an epoch, of which lower values are better.
        factor: by which the rate is multiplied.
        patience: number of epochs without improvement after which it is.
        **kwargs: further arguments of Keras' class, except `mode`, `min_delta` and `cooldown`.

    Raises:
        ValueError: for a patience below 1.
    """

    best: float | None
    wait: int

    def __init__(self, monitor: str = "val_perplexity", factor: float = 0.25, patience: int = 1, **kwargs: Any) -> None:
        check_sizes(patience=patience)
        super().__init__(monitor, factor, patience, mode="min", min_delta=0.0, **kwargs)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Takes up the count of the epochs before."""
        super().on_epoch_begin(epoch, logs)
        self.best, self.wait = None, 0
        for value in self.past(epoch):
            if self.best is None or value < self.best:
                self.best, self.wait = value, 0
            else:
                self.wait = (self.wait + 1) % self.patience
