"""What a layer with separate states for training and for evaluation does, whatever its cell is."""

from collections.abc import Sequence
from typing import Any

import keras

from kerasptb.compat.keras import get_keras_mask, in_symbolic_scope, is_exported
from kerasptb.layers.evaluation_states import EvaluationStates
from kerasptb.utils.types import Tensor


class TwoStates(keras.layers.RNN):
    """A mixin before the class of a fused recurrent layer, such as `FusedLSTM`; see `StatefulLSTM`."""

    def _prepare_state(self, stateful):
        if not (stateful is None or stateful):
            raise ValueError(f"{type(self).__name__} is always stateful; use {self._base()}. Received: stateful=False")
        self._evaluation_states = EvaluationStates()  # of calls outside of an evaluation that has its own
        return True

    @classmethod
    def _base(cls):
        """Returns the name of the class that does the same with one state or none."""
        return cls.__mro__[cls.__mro__.index(TwoStates) + 1].__name__

    def build(self, sequences_shape: Sequence[int | None], *args: Any, **kwargs: Any) -> None:
        """Makes the weights and the state of training, for batches of this size."""
        super().build(sequences_shape, *args, **kwargs)
        if keras.backend.backend() == "jax":
            # New variables made later would cause the training step to be compiled again. Evaluation mostly uses the
            # same batch size.
            self.make_evaluation_states(self._expected_batch_size)

    def call(
        self,
        sequences: Tensor,
        initial_state: Sequence[Tensor] | None = None,
        mask: Tensor | None = None,
        training: bool = False,
        resets: Tensor | None = None,
        state: Sequence[Tensor] | None = None,
    ) -> Any:
        """Runs the layer from the training state or the evaluation state, and stores the new state."""
        if is_exported():
            raise ValueError(
                f"A {type(self).__name__} cannot be exported: all clients of the export would share its state. A "
                "LanguageModel has an `export` of its own, without state; in another model give the weights to a "
                f"{self._base()}. Received: an export of {self.name}"
            )
        if state is not None:
            mask = get_keras_mask(sequences) if mask is None else mask  # of several tensors Keras hands on no mask
            output, after = self._run_from(state, sequences, mask, training, resets)
            return (output, *after)
        return super().call(sequences, initial_state, mask, training, resets)

    def compute_output_shape(
        self, sequences_shape: Sequence[int | None], initial_state_shape: Any = None, state_shape: Any = None
    ) -> Any:
        """Returns the shapes of what a call returns."""
        shapes = super().compute_output_shape(sequences_shape, initial_state_shape)
        return shapes if state_shape is None or self.return_state else (shapes, *map(tuple, state_shape))

    def _state_to_continue(self, sequences, training):
        if not training:
            return self._states_of_evaluation(sequences.shape[0])
        if sequences.shape[0] not in (None, self._expected_batch_size):
            raise ValueError(
                f"The training state has the rows of batches of {self._expected_batch_size}. Received: sequences of "
                f"shape {tuple(sequences.shape)} with training=True. Evaluation takes any batch size"
            )
        return self.states

    def reset_state(self) -> None:
        """Zeroes the training state and the evaluation states."""
        super().reset_state()
        self.reset_evaluation_state()

    def reset_evaluation_state(self, batch_size: int | None = None) -> None:
        """Zeroes the state of evaluation for batches of this number of rows; `None` for all."""
        self._states_in_use().reset(batch_size)

    def _states_in_use(self):
        return EvaluationStates.in_use() or self._evaluation_states

    def _states_of_evaluation(self, batch_size):
        """Returns the variables of the evaluation state of this batch size; none while Keras asks for shapes."""
        if in_symbolic_scope():
            return []  # Keras asks for shapes: no variable may be made
        if not isinstance(batch_size, int):
            raise ValueError(
                "A stateful model needs batches of a fixed size, such as `dataset.batch(n, drop_remainder=True)` "
                "gives. Received: a batch of unknown size. If it is fixed, but another than before, set "
                "`model.test_function = None` (or `predict_function`) first, as a LanguageModel does by itself"
            )
        return self._states_in_use().of(self, batch_size)

    def has_evaluation_states(self, batch_size: int) -> bool:
        """Returns whether the state of evaluation for batches of this size exists."""
        return self._states_in_use().has(self, batch_size)

    def make_evaluation_states(self, batch_size: int) -> None:
        """Makes the state of evaluation for batches of this size, unless it exists; with JAX not inside a step."""
        self._states_in_use().of(self, batch_size)

    def state_variables(self) -> list[keras.Variable]:
        """Returns a list of the variables of the training state and of the layer's own evaluation states."""
        return [*super().state_variables(), *self._evaluation_states.variables()]
