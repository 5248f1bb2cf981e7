"""An LSTM with separate states for training and for evaluation."""

import contextlib
import threading
from collections.abc import Sequence
from typing import Any

import keras

from kerasptb.compat.keras import in_stateless_scope, in_symbolic_scope, is_exported
from kerasptb.layers.fused_lstm import FusedLSTM
from kerasptb.ops.sharding import place_rows
from kerasptb.utils.types import Tensor
from kerasptb.utils.untracked import Untracked

# A thread that uses the evaluation state holds this from the reset of the state to its last use.
EVALUATION = threading.RLock()


@keras.saving.register_keras_serializable(package="kerasptb")
class StatefulLSTM(FusedLSTM):
    """A stateful LSTM with one recurrent state for training and another for evaluation.

    `keras.layers.LSTM(stateful=True)` has a single state. It flows from training into validation and back into
    training, and fixes the batch size of both. Here, calls with `training=True` read and write the training state
    (`states`, as in Keras, of the batch size that the layer is built with). All other calls use the evaluation
    state, which takes any batch size. For each new batch size it begins at zero.

    Args:
        units: dimensionality H of the output.
        **kwargs: as all arguments that are not named here, those of `FusedLSTM`; `stateful` is always true.

    Call arguments:
        sequences: float tensor [B, T, D].
        initial_state: optional list of h0 and c0, each [B, H], in place of the state.
        mask: optional boolean tensor [B, T].
        training: whether to continue from the training state.
        resets: as in `FusedLSTM`.

    Returns:
        As `FusedLSTM`: [B, T, H] with `return_sequences=True`, else [B, H]; followed by h_T and c_T with
        `return_state=True`.

    Raises:
        ValueError: if it is exported with its state, or evaluated on a batch of unknown size.
    """

    def _prepare_state(self, stateful):
        if not (stateful is None or stateful):
            raise ValueError("StatefulLSTM is always stateful; use FusedLSTM. Received: stateful=False")
        # By batch size. State is not a weight. If tracked, it would be saved, and none could be added after `build`.
        self._evaluation_states = Untracked({})
        return True

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
    ) -> Tensor:
        """Runs the layer from the training state or the evaluation state, and stores the new state."""
        if is_exported():
            raise ValueError(
                "A StatefulLSTM cannot be exported: all clients of the export would share its state. A LanguageModel "
                "has an `export` of its own, without state; in another model give the weights to a FusedLSTM. "
                f"Received: an export of {self.name}"
            )
        return super().call(sequences, initial_state, mask, training, resets)

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
        """Zeroes the state of evaluation.

        Args:
            batch_size: rows B of the batches whose state to zero; `None` for all sizes.
        """
        by_size = self._evaluation_states.value
        for size in list(by_size) if batch_size is None else [batch_size]:
            for state in by_size.get(size, ()):
                state.assign(keras.ops.zeros_like(state.value))

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
        self.make_evaluation_states(batch_size)
        return self._evaluation_states.value[batch_size]

    def has_evaluation_states(self, batch_size: int) -> bool:
        """Returns whether the state of evaluation for batches of this size exists."""
        return batch_size in self._evaluation_states.value

    def make_evaluation_states(self, batch_size: int) -> None:
        """Makes the state of evaluation for batches of this size, unless it exists.

        Args:
            batch_size: rows B of the batches, an int.

        Raises:
            ValueError: inside a step, if the backend does not allow new variables there.
        """
        if self.has_evaluation_states(batch_size):
            return
        if in_stateless_scope():
            raise ValueError(
                f"With {keras.backend.backend()} no state can be made inside of a step. Call "
                "`layer.make_evaluation_states(batch_size)` "
                f"before the size is met, as a LanguageModel does by itself. Received: batches of {batch_size} rows"
            )
        # This may run while a graph is traced: the variables must outlive it.
        with EVALUATION, _outside_graph():
            if batch_size not in self._evaluation_states.value:
                self._evaluation_states.value[batch_size] = [
                    keras.Variable(zeros, trainable=False, dtype=self.variable_dtype, name="rnn_state")
                    for zeros in self.get_initial_state(batch_size)
                ]
                for variable in self._evaluation_states.value[batch_size]:
                    place_rows(variable)

    def state_variables(self) -> list[keras.Variable]:
        """Returns a list of the variables of the training state and the evaluation states."""
        return [*super().state_variables(), *keras.tree.flatten(list(self._evaluation_states.value.values()))]


@contextlib.contextmanager
def _outside_graph():
    """Lets the body make variables that outlive the graph being traced, if there is one."""
    if keras.backend.backend() != "tensorflow":
        yield
        return
    import tensorflow as tf  # noqa: PLC0415  (the other backends do without)

    from kerasptb.compat.tensorflow import create_variable  # noqa: PLC0415

    # Not the creator of `tf.function`: it guards against functions that make new variables in each call, and here they
    # are made once for each batch size.
    scope = tf.variable_creator_scope(create_variable)
    with tf.init_scope(), scope if tf.executing_eagerly() else contextlib.nullcontext():
        yield
