"""Ends a training whose validation no longer improves."""

from typing import Any

import keras

from kerasptb.callbacks.progress import Resumable
from kerasptb.data.streams import check_sizes


def has_stalled(values: list[float], patience: int) -> bool:
    """Returns whether `patience` epochs have followed the one with the lowest value."""
    return len(values) - 1 - values.index(min(values)) >= patience


class EarlyStopping(Resumable, keras.callbacks.Callback):
    """Ends the training after some epochs without a lower validation perplexity.

    As `keras.callbacks.EarlyStopping`, but it goes on with the count when a training is resumed (`Checkpoint`).

    Args:
        patience: number of epochs.
        monitor: name of the metric in the logs of an epoch, of which lower values are better.

    Raises:
        ValueError: for a patience below 1; after the first epoch, if the metric is not among its logs.
    """

    def __init__(self, *, patience: int, monitor: str = "val_perplexity") -> None:
        super().__init__()
        check_sizes(patience=patience)
        self.patience = patience
        self.monitor = monitor

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Ends the training if none of the last epochs was the best."""
        logs = logs or {}
        if self.monitor not in logs:
            raise ValueError(
                f"Expected {self.monitor} among an epoch's logs; the training may lack validation data. Received: "
                f"{', '.join(logs)}"
            )
        super().on_epoch_end(epoch, logs)
        if has_stalled([*self.past(epoch), float(logs[self.monitor])], self.patience):
            self.model.stop_training = True
