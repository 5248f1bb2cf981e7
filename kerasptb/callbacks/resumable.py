"""What a callback that looks at earlier epochs needs to go on in a resumed training."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras


class Resumable(keras.callbacks.Callback):
    """Lets a callback take the epochs before from the training's `Checkpoint`; a base beside a Keras callback.

    The Keras callback has a `monitor`.
    """

    monitor: str
    _past: Sequence[float] = ()  # the monitored values of the epochs so far

    def restore(self, history: Iterable[Mapping[str, float]]) -> None:
        """Takes the epochs of a training that goes on: a list of dicts, the results of each."""
        self._past = [row[self.monitor] for row in history if self.monitor in row]

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Begins anew, or with the epochs of the training's `Checkpoint`, if it has one."""
        super().on_train_begin(logs)
        self._past = []
        if (checkpoint := getattr(self.model, "_checkpoint", None)) is not None:
            self.restore(checkpoint.history)
