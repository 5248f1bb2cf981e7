"""What the trainers need of a model."""

from typing import Any, Protocol, runtime_checkable

import keras

from kerasptb.layers.embedding import Embedding
from kerasptb.losses import LOSSES_OF_FACTORS
from kerasptb.utils.types import Tensor


@runtime_checkable
class StatefulLayer(Protocol):
    """A recurrent layer with a state of training and others of evaluation, whatever its cell: all that is asked of it.

    A layer that has these methods is one, such as `StatefulLSTM`.
    """

    def get_initial_state(self, batch_size: int) -> list[Tensor]:
        """Returns a state of zeros, each [B, H]."""

    def reset_state(self) -> None:
        """Zeroes the states of training and of evaluation."""

    def reset_evaluation_state(self, batch_size: int | None = None) -> None:
        """Zeroes the states of evaluation, or that of batches of this size."""

    def has_evaluation_states(self, batch_size: int) -> bool:
        """Returns whether the state of evaluation for batches of this size exists."""

    def make_evaluation_states(self, batch_size: int) -> None:
        """Makes the state of evaluation for batches of this size, unless it exists."""

    def state_variables(self) -> list[keras.Variable]:
        """Returns a list of the variables of all its states."""


class StatefulModel(keras.Model):
    """A functional `keras.Model` that reads word ids [B, T] and has recurrent state: all that a trainer asks it.

    A model sets the attributes. The methods have answers that fit most models, and may be overridden.
    """

    vocabulary_size: int  # V
    batch_size: int  # rows of a training batch, and of any batch whose size is not known beforehand
    num_steps: int  # words of a row of a training batch, as far as they are known beforehand

    def stateful_layers(self) -> list[StatefulLayer]:
        """Returns a list of the model's layers with a state of training and others of evaluation, from the first on."""
        return [layer for layer in self._flatten_layers() if isinstance(layer, StatefulLayer)]

    def lookup_layer(self) -> Embedding | None:
        """Returns the `layers.Embedding` that reads the model's inputs if it may be looked up apart, else None."""
        return None

    def word_ids(self, batch: Any) -> dict[str, Tensor]:
        """Returns what of a batch are word ids in [0, V): a dict of "inputs", and "targets" that our losses read."""
        x, y, *_ = keras.utils.unpack_x_y_sample_weight(batch)
        losses = keras.tree.flatten(self.loss)
        ours = y is not None and all(isinstance(loss, LOSSES_OF_FACTORS) for loss in losses)
        return {"inputs": keras.tree.flatten(x)[0], **({"targets": keras.tree.flatten(y)[0]} if ours else {})}

    def ignored(self, name: str) -> int | None:
        """Returns the id out of range that word ids of this name may have, or None."""
        return getattr(keras.tree.flatten(self.loss)[0], "ignore_class", None) if name == "targets" else None
