"""Ends a training whose validation no longer improves."""

from typing import Any

import keras

from kerasptb.callbacks.resumable import Resumable


class EarlyStopping(Resumable, keras.callbacks.Callback):
    """Ends the training after some epochs without a lower validation perplexity.

    As `keras.callbacks.EarlyStopping`, but it goes on with the count when a training is resumed (`Checkpoint`).

    Args:
        patience: number of epochs.
        monitor: name of the metric in the logs of an epoch, of which lower values are better.
    """

    def __init__(self, patience: int, monitor: str = "val_perplexity") -> None:
        super().__init__()
        self.patience = patience
        self.monitor = monitor

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Ends the training if none of the last epochs was the best."""
        self._past = [*self._past, (logs or {})[self.monitor]]
        if len(self._past) - 1 - self._past.index(min(self._past)) >= self.patience:
            self.model.stop_training = True
