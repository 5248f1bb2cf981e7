"""A learning rate that is constant for some epochs and then falls by a factor each epoch."""

import warnings
import weakref
from typing import Any

import keras

from kerasptb.optimizers.averaging import inner_optimizer

# Of each optimizer the base rate and the lowered rate that it was left with: for the callback of a later `fit`, which
# would otherwise take the lowered rate as its base.
_LEFT: weakref.WeakKeyDictionary[keras.optimizers.Optimizer, tuple[float, float]] = weakref.WeakKeyDictionary()


class LearningRateDecay(keras.callbacks.Callback):
    """Keeps the learning rate for some epochs, then multiplies it by a factor in each further epoch.

    In epoch `e` (from 0) the rate is `learning_rate * decay ** max(e + 1 - constant_epochs, 0)`: with the
    defaults 1.0 in the first five epochs, then 0.5, 0.25, … as in the original tutorial. The rate is computed
    from the base rate, not from the previous rate, so it is also right for a training that continues at
    `initial_epoch`. An optimizer that was loaded with the rate of a later epoch, or restored by
    `keras.callbacks.BackupAndRestore` before this callback, no longer holds its base rate: pass it as
    `learning_rate`. Without it, a training that begins after its first epoch gives a warning.

    The history has the rate of each epoch as `learning_rate`. If another callback changes the rate, such as
    `keras.callbacks.ReduceLROnPlateau`, the change lasts until the end of the epoch, and a warning follows.

    Args:
        constant_epochs: number of epochs at the base rate.
        decay: factor of each further epoch, in (0, 1].
        learning_rate: base rate; `None` takes the optimizer's rate when a training begins, or, if an earlier
            `LearningRateDecay` lowered it, the base rate of that one.

    Raises:
        ValueError: if an argument is out of range, or the optimizer's rate follows a schedule of its own.
    """

    def __init__(self, constant_epochs: int = 5, decay: float = 0.5, learning_rate: float | None = None) -> None:
        super().__init__()
        if constant_epochs < 0:
            raise ValueError(f"`constant_epochs` must be 0 or more. Received: constant_epochs={constant_epochs}")
        if not 0 < decay <= 1:
            raise ValueError(f"`decay` must be above 0 and at most 1. Received: decay={decay}")
        self.constant_epochs = constant_epochs
        self.decay = decay
        self.learning_rate = learning_rate
        self._taken: float | None = None  # the optimizer's, if none was given
        self._is_taken_at_begin = False
        self._last_set: float | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Takes the optimizer's learning rate as the base, unless one was given."""
        self._last_set = None
        schedule = getattr(inner_optimizer(self.model.optimizer), "_learning_rate", None)
        if isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
            raise ValueError(
                "LearningRateDecay sets the learning rate itself; build the optimizer with a float. "
                f"Received: learning_rate={type(schedule).__name__}"
            )
        if self.learning_rate is None:
            base, lowered = _LEFT.get(self.model.optimizer, (None, None))
            present = float(self.model.optimizer.learning_rate)
            self._taken = base if present == lowered else present
            self._is_taken_at_begin = present != lowered

    def rate(self, epoch: int) -> float:
        """Returns the learning rate of an epoch, its number from 0; raises ValueError while the base is not known."""
        return float(self._base() * self.decay ** max(epoch + 1 - self.constant_epochs, 0))

    def _base(self) -> float:
        base = self._taken if self.learning_rate is None else self.learning_rate
        if base is None:
            raise ValueError("Before training begins the rate is not known, unless it is given as learning_rate.")
        return float(base)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Sets the learning rate of the epoch."""
        if self._is_taken_at_begin and epoch > 0:
            warnings.warn(
                f"LearningRateDecay takes the optimizer's rate, {self._base():g}, for that of the first epoch, "
                f"and the training begins at epoch {epoch + 1}. If it is the rate of a later one, name the first "
                "epoch's: LearningRateDecay(learning_rate=...).",
                stacklevel=2,
            )
        self._is_taken_at_begin = False
        optimizer = self.model.optimizer
        found = float(optimizer.learning_rate)
        if self._last_set not in (None, found):
            warnings.warn(
                f"Something else has set the learning rate to {found:g}, and LearningRateDecay sets it to "
                f"{self.rate(epoch):g} for epoch {epoch + 1}. Train with one of the two.",
                stacklevel=2,
            )
        optimizer.learning_rate = self.rate(epoch)
        self._last_set = float(optimizer.learning_rate)
        _LEFT[optimizer] = self._base(), float(optimizer.learning_rate)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Adds the learning rate to the epoch's logs."""
        if logs is not None:
            logs["learning_rate"] = float(self.model.optimizer.learning_rate)
