"""Recurrent layers with separate states for training and for evaluation."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from kerasptb.cells import Cell
from kerasptb.compat.keras import get_keras_mask, in_symbolic_scope, is_exported
from kerasptb.layers.evaluation_states import EvaluationStates
from kerasptb.layers.fused import Fused
from kerasptb.layers.fused_lstm import FusedLSTM
from kerasptb.layers.fused_rnn import FusedRNN
from kerasptb.layers.keras_cell import make
from kerasptb.ops.backend import ON_JAX
from kerasptb.utils.types import Tensor


def stateful_layer(
    cell: Cell,
    units: int,
    *,
    recurrent_dropout: float,
    dtype: keras.DTypePolicy,
    of_cell: Mapping[str, Any],
    **others: Any,
) -> keras.layers.RNN:
    """Returns the layer of a `LanguageModel`, with one mask for all gates in dropout of h."""
    forget_bias = {"unit_forget_bias": False} if "f" in cell.gates else {}
    of_cell = {**of_cell, **forget_bias, "recurrent_dropout": recurrent_dropout, "dtype": dtype}
    others |= {"return_sequences": True, "shared_recurrent_dropout": recurrent_dropout > 0}
    if cell.name == "lstm":
        return StatefulLSTM(units, **of_cell, **others)
    return StatefulRNN(make(cell, units, **of_cell), dtype=dtype, **others)


class Stateful(Fused):
    """A layer beside a `Fused` one among a class's bases: see `StatefulLSTM` for what it adds."""

    def _prepare_state(self, stateful: bool | None) -> bool:
        if not (stateful is None or stateful):
            name = type(self).__name__
            raise ValueError(
                f"{name} is always stateful; use {name.replace('Stateful', 'Fused')}. Received: stateful=False"
            )
        self._evaluation_states = EvaluationStates()  # of calls outside of an evaluation that has its own
        return True

    def build(self, sequences_shape: Sequence[int | None], *args: Any, **kwargs: Any) -> None:
        """Makes the weights and the state of training, for batches of this size."""
        super().build(sequences_shape, *args, **kwargs)
        if ON_JAX:
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
                f"{type(self).__name__.replace('Stateful', 'Fused')}. "
                f"Received: an export of {self.name}"
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

    def _state_to_continue(self, sequences: Tensor, training: bool) -> list[keras.Variable]:
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
        self._states_in_use().reset(batch_size)

    def _states_in_use(self) -> EvaluationStates:
        return EvaluationStates.in_use() or self._evaluation_states

    def _states_of_evaluation(self, batch_size: Any) -> list[keras.Variable]:
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

    def make_evaluation_states(self, batch_size: int) -> None:
        """Makes the state of evaluation for batches of this size, unless it exists.

        Args:
            batch_size: rows B of the batches, an int.

        Raises:
            ValueError: inside a step, if the backend does not allow new variables there.
        """
        self._states_in_use().of(self, batch_size)

    def state_variables(self) -> list[keras.Variable]:
        """Returns a list of the variables of the training state and of the layer's own evaluation states."""
        return [*super().state_variables(), *self._evaluation_states.variables()]


@keras.saving.register_keras_serializable(package="kerasptb")
class StatefulLSTM(FusedLSTM, Stateful):
    """A stateful LSTM with one recurrent state for training and another for evaluation.

    `keras.layers.LSTM(stateful=True)` has a single state. It flows from training into validation and back into
    training, and fixes the batch size of both. Here, calls with `training=True` read and write the training state
    (`states`, as in Keras, of the batch size that the layer is built with). All other calls use the evaluation
    state, which takes any batch size. For each new batch size it begins at zero. `evaluate` and `predict` of a
    `LanguageModel` have evaluation states of their own; a call that is given its `state` uses none.

    Args:
        units: dimensionality H of the output.
        **kwargs: as all arguments that are not named here, those of `FusedLSTM`; `stateful` is always true.

    Call arguments:
        sequences: float tensor [B, T, D].
        initial_state: optional list of h0 and c0, each [B, H], in place of the state.
        mask: optional boolean tensor [B, T].
        training: whether to continue from the training state.
        resets: as in `FusedLSTM`.
        state: optional list of h0 and c0, each [B, H]: the call then neither reads nor writes a state of the layer,
            and returns the output followed by h_T and c_T. Several threads may make such calls.

    Returns:
        As `FusedLSTM`: [B, T, H] with `return_sequences=True`, else [B, H]; followed by h_T and c_T with
        `return_state=True` or a `state`.

    Raises:
        ValueError: if it is exported with its state, or evaluated on a batch of unknown size.
    """


@keras.saving.register_keras_serializable(package="kerasptb")
class StatefulRNN(FusedRNN, Stateful):
    """A stateful recurrent layer of any cell, with its states as `StatefulLSTM` has them.

    Args:
        cell: as in `FusedRNN`.
        **kwargs: the other arguments of `FusedRNN`; `stateful` is always true.

    Call arguments:
        sequences: float tensor [B, T, D].
        initial_state: optional list of the tensors of a state, each [B, H], in place of the state.
        mask: optional boolean tensor [B, T].
        training: whether to continue from the training state.
        resets: as in `FusedLSTM`.
        state: as in `StatefulLSTM`.

    Returns:
        As `FusedRNN`, followed by the state with `return_state=True` or a `state`.

    Raises:
        ValueError: if it is exported with its state, or evaluated on a batch of unknown size.
    """
