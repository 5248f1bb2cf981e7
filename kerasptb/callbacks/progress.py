"""How far a training has come: one object for the callbacks of a `fit` that count, also if it was resumed."""

from collections.abc import Mapping, MutableMapping
from typing import Any, Self

import keras


class Progress:
    """The epochs of a training so far, those before it was resumed included.

    It is in the dict of parameters that Keras gives the callbacks of a `fit`: a new one, unless a `Checkpoint` puts its
    own in its place.
    """

    def __init__(self) -> None:
        self.epoch, self.batch = 0, 0  # whole epochs that are done, and batches of the next one
        self.history: list[dict[str, float]] = []  # the results of epochs, each with its "epoch" from 1

    @classmethod
    def of(cls, callback: keras.callbacks.Callback) -> Self:
        """Returns that of the `fit` that a callback takes part in."""
        if callback.params is None:  # outside of a `fit`
            callback.params = {}
        return callback.params.setdefault("progress", cls())

    def share(self, params: MutableMapping[str, Any]) -> None:
        """Makes this the progress of the `fit` whose callbacks have these parameters."""
        params["progress"] = self

    def begin_epoch(self, epoch: int) -> None:
        """Begins an epoch, its number from 0. What was done of it and of later ones, but for a part, is void."""
        self.history[:] = self.before(epoch)
        if epoch != self.epoch:
            self.epoch, self.batch = epoch, 0

    def record(self, epoch: int, results: Mapping[str, float]) -> None:
        """Adds to the results of an epoch, its number from 0."""
        if not self.history or self.history[-1]["epoch"] <= epoch:
            self.history.append({"epoch": epoch + 1})
        self.history[-1].update(results)

    def before(self, epoch: int) -> list[dict[str, float]]:
        """Returns the results of the epochs before an epoch, its number from 0."""
        return [row for row in self.history if row["epoch"] <= epoch]


class Resumable(keras.callbacks.Callback):
    """Knows the epochs before, also those of the training that a `Checkpoint` goes on with; beside a Keras callback."""

    monitor: str  # name of a metric in the logs of an epoch

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
