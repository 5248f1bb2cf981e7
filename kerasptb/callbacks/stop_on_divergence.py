"""Stops a training whose loss is no longer a number."""

import math
from typing import Any

import keras

from kerasptb.callbacks.progress import Progress


class TrainingDivergedError(ArithmeticError):
    """The loss, or the perplexity of the validation text, became NaN or infinite."""


class StopOnDivergence(keras.callbacks.Callback):
    """Raises `TrainingDivergedError` at the first batch or epoch whose loss or perplexity is NaN or infinite.

    Unlike `keras.callbacks.TerminateOnNaN`, it raises, so that the callbacks after it do not save or report the
    ruined epoch as if it had ended.
    """

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Begins an epoch."""
        Progress.of(self).begin_epoch(epoch)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Checks the running loss. With several steps per execution this happens after the last of them."""
        loss = (logs or {}).get("loss")
        if loss is not None and not math.isfinite(loss):
            raise _error(f"the loss became {loss}", f"in epoch {Progress.of(self).epoch + 1}, step {batch + 1}")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Checks the epoch's results and those of validation."""
        for name, value in (logs or {}).items():
            if name.removeprefix("val_") in ("loss", "perplexity") and not math.isfinite(value):
                raise _error(f"{name} became {value}", f"in epoch {epoch + 1}")


def _error(what: str, where: str) -> TrainingDivergedError:
    return TrainingDivergedError(
        f"training diverged: {what} {where}; try a smaller learning rate, or clip the gradients lower"
    )
