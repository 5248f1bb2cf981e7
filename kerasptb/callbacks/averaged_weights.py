"""Evaluates averages of the weights, and decides when averaging begins."""

import contextlib
from typing import Any

import keras

from kerasptb.callbacks.progress import Resumable
from kerasptb.data.streams import check_sizes
from kerasptb.optimizers.averaging import averaged_weights, inner_optimizer


class AveragedWeights(Resumable, keras.callbacks.Callback):
    """Validates with the averages of the weights that the optimizer keeps, and trains on from the weights themselves.

    With `patience` it is NT-ASGD, "non-monotonically triggered averaged SGD" (Merity et al., 2017, "Regularizing and
    Optimizing LSTM Language Models", section 4): averaging begins after the first epoch whose validation is worse than
    the best one of those more than `patience` epochs before. The optimizer needs `polyak_averaging=True`.

    Without it, it serves any Keras optimizer with `use_ema=True`. Unlike `keras.callbacks.SwapEMAWeights` it changes no
    bit of either. When `fit` ends, Keras puts the averages in the weights' place.

    Args:
        patience: epochs without improvement after which averaging begins; `None` leaves that to the optimizer.
        monitor: name of the metric in the logs of an epoch, of which lower values are better.

    Raises:
        ValueError: for a patience below 1; when training begins, if the optimizer keeps no averages.
    """

    def __init__(self, *, patience: int | None = None, monitor: str = "val_perplexity") -> None:
        super().__init__()
        check_sizes(patience=1 if patience is None else patience)
        self.patience = patience
        self.monitor = monitor
        self._evaluation = contextlib.ExitStack()

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Checks the optimizer."""
        super().on_train_begin(logs)
        self._evaluation.close()  # of an evaluation that was interrupted
        optimizer = inner_optimizer(self.model.optimizer)
        needs = "use_ema=True" if self.patience is None else "polyak_averaging=True"
        if not getattr(optimizer, needs.partition("=")[0], False):
            raise ValueError(f"Expected an optimizer with {needs}. Received: {type(optimizer).__name__} without it")

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Puts the averages in the weights' place."""
        self._evaluation.close()
        self._evaluation.enter_context(averaged_weights(self.model))

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        """Puts the weights back."""
        self._evaluation.close()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Starts averaging if validation has stopped to improve."""
        super().on_epoch_end(epoch, logs)
        value = (logs or {}).get(self.monitor)
        if self.patience is None or value is None:
            return
        before = self.past(epoch)[: -self.patience]
        if before and value > min(before):
            inner_optimizer(self.model.optimizer).start_averaging()
