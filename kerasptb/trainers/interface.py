"""What the trainers need of a layer."""

from typing import Any, Protocol, runtime_checkable

import keras

from kerasptb.utils.types import Tensor


@runtime_checkable
class StatefulLayer(Protocol):
    """A recurrent layer with a state of training and others of evaluation, whatever its cell: all that is asked of it.

    A layer that has these methods is one, such as `StatefulLSTM`.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the layer, as `StatefulLSTM` does."""

    def get_initial_state(self, batch_size: int) -> list[Tensor]:
        """Returns a state of zeros, each [B, H]."""

    def reset_state(self) -> None:
        """Zeroes the states of training and of evaluation."""

    def reset_evaluation_state(self, batch_size: int | None = None) -> None:
        """Zeroes the states of evaluation, or that of batches of this size."""

    def state_variables(self) -> list[keras.Variable]:
        """Returns a list of the variables of all its states."""
