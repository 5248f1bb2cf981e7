"""A keras.layers.RNN whose inner loop is `kerasptb.ops.recurrence`."""

from typing import Any

import keras

from kerasptb.layers.fused import Fused
from kerasptb.layers.keras_cell import kind_of
from kerasptb.utils.types import Backend, Precision


@keras.saving.register_keras_serializable(package="kerasptb")
class FusedRNN(Fused, keras.layers.RNN):
    """A recurrent layer of any cell, with a choice of backend: a drop-in replacement for `keras.layers.RNN`.

    What is said of `FusedLSTM` holds here too. Cells without kernels, such as "mogrifier", run in Keras' loop.

    Args:
        cell: a `keras.layers.LSTMCell`, a `keras.layers.GRUCell`, or a `RecurrentCell`.
        backend: `"auto"`, `"reference"`, `"keras"` or `"native"`; see `kerasptb.ops.plan`.
        precision: as in `FusedLSTM`.
        shared_recurrent_dropout: as in `FusedLSTM`.
        recurrent_kernel_dropout: as in `FusedLSTM`.
        **kwargs: as all arguments that are not named here, those of `keras.layers.RNN`; `stateful=None` is `False`.

    Call arguments:
        sequences: float tensor [B, T, D].
        initial_state: optional list of the tensors of a state, each [B, H].
        mask: optional boolean tensor [B, T]: false for steps to skip.
        training: whether dropout applies.
        resets: as in `FusedLSTM`.

    Returns:
        As `keras.layers.RNN`: [B, H], or [B, T, H] with `return_sequences=True`. With `return_state=True`, a tuple of
        this output and the tensors of the last state.

    Raises:
        ValueError: for another cell, unknown names, or a call that the named backend cannot serve.
        NativeUnavailableError: if `backend="native"` and the native library cannot be used; the message says why.
    """

    def __init__(
        self,
        cell: keras.layers.Layer,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool | None = None,
        unroll: bool = False,
        zero_output_for_mask: bool = False,
        *,
        backend: Backend = "auto",
        precision: Precision | None = None,
        shared_recurrent_dropout: bool = False,
        recurrent_kernel_dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        if kind_of(cell) is None:
            raise ValueError(
                "Expected a keras.layers.LSTMCell, a keras.layers.GRUCell or a RecurrentCell, which say what kernels "
                f"may do. Received: {type(cell).__name__}. keras.layers.RNN takes any cell"
            )
        super().__init__(
            cell,
            return_sequences,
            return_state,
            go_backwards,
            self._prepare_state(stateful),
            unroll,
            zero_output_for_mask,
            **kwargs,
        )
        self.serve(backend, precision, shared_recurrent_dropout, recurrent_kernel_dropout)

    @property
    def units(self) -> int:
        """The dimensionality H of the output."""
        return self.cell.units
