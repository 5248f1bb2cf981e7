"""How far a training has come: one object for the callbacks of a `fit` that count."""

from collections.abc import Mapping, MutableMapping
from typing import Any, Self

import keras


class Progress:
    """The epochs of a training so far, those before it was resumed included.

    Keras gives the callbacks of a `fit` the same dict of parameters; it is in there. So each `fit` begins with a new
    one, unless a `Checkpoint` puts its own in its place, before the training begins.
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
        """Says that an epoch begins, its number from 0. What was done of it and of later ones, but for a part, is void.

        Like `record`, each callback that counts calls this: what is said twice is said once.
        """
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
