"""What a callback that looks at earlier epochs needs to go on in a resumed training."""

from typing import Any

import keras

from kerasptb.callbacks.progress import Progress


class Resumable(keras.callbacks.Callback):
    """Knows the epochs before, also those of the training that a `Checkpoint` goes on with; beside a Keras callback.

    The Keras callback has a `monitor`, the name of a metric in the logs of an epoch.
    """

    monitor: str

    def past(self, epoch: int) -> list[float]:
        """Returns the monitored values of the epochs before an epoch, its number from 0."""
        return [row[self.monitor] for row in Progress.of(self).before(epoch) if self.monitor in row]

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Begins an epoch."""
        super().on_epoch_begin(epoch, logs)
        Progress.of(self).begin_epoch(epoch)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Keeps the epoch's value."""
        super().on_epoch_end(epoch, logs)
        if self.monitor in (logs := logs or {}):
            Progress.of(self).record(epoch, {self.monitor: float(logs[self.monitor])})
