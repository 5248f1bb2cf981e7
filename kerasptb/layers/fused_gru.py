"""A keras.layers.GRU whose inner loop is `kerasptb.ops.gru`."""

import inspect
from typing import Any, Literal

import keras

from kerasptb.layers.fused import Fused
from kerasptb.utils.types import Backend, Precision

# What `FusedGRU` hands on as it was given.
_KERAS_ARGUMENTS = inspect.signature(keras.layers.GRU).parameters.keys() - {"kwargs"}


@keras.saving.register_keras_serializable(package="kerasptb")
class FusedGRU(Fused, keras.layers.GRU):
    """GRU layer with a choice of backend: a drop-in replacement for `keras.layers.GRU`.

    Weights, their layout and every other argument are those of `keras.layers.GRU`. What is said of `FusedLSTM` holds
    here too, but there are no CUDA kernels: on a GPU cuDNN or Keras' loop runs. With `reset_after=False` a step has two
    products, one after the other, and its kernels are in float32 only.

    Args:
        units: number of units H.
        backend: `"auto"`, `"reference"`, `"keras"` or `"native"`; see `kerasptb.ops.plan`.
        precision: as in `FusedLSTM`.
        shared_recurrent_dropout: as in `FusedLSTM`.
        recurrent_kernel_dropout: as in `FusedLSTM`.
        **kwargs: as all arguments that are not named here, those of `keras.layers.GRU`; `stateful=None` is `False`.

    Call arguments:
        sequences: float tensor [B, T, D].
        initial_state: optional h0 [B, H], or a list of it.
        mask: optional boolean tensor [B, T]: false for steps to skip.
        training: whether dropout applies.
        resets: as in `FusedLSTM`.

    Returns:
        As `keras.layers.GRU`: [B, H], or [B, T, H] with `return_sequences=True`. With `return_state=True`, a tuple of
        this output and h_T [B, H].

    Raises:
        ValueError: for unknown names, or a call that the named backend cannot serve.
        NativeUnavailableError: if `backend="native"` and the native library cannot be used; the message says why.

    Example:
        >>> layer = FusedGRU(4, return_sequences=True)
        >>> layer(np.zeros((2, 5, 3), "float32")).shape
        TensorShape([2, 5, 4])
    """

    # fmt: off
    def __init__(
        self, units: int, activation: Any = "tanh", recurrent_activation: Any = "sigmoid", use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform", recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros", kernel_regularizer: Any = None, recurrent_regularizer: Any = None,
        bias_regularizer: Any = None, activity_regularizer: Any = None, kernel_constraint: Any = None,
        recurrent_constraint: Any = None, bias_constraint: Any = None, dropout: float = 0.0,
        recurrent_dropout: float = 0.0, seed: int | None = None, return_sequences: bool = False,
        return_state: bool = False, go_backwards: bool = False, stateful: bool | None = None, unroll: bool = False,
        reset_after: bool = True, use_cudnn: bool | Literal["auto"] = "auto", *, backend: Backend = "auto",
        precision: Precision | None = None, shared_recurrent_dropout: bool = False,
        recurrent_kernel_dropout: float = 0.0, **kwargs: Any,
    ) -> None:
        stateful = bool(stateful)
        keras_own = {name: value for name, value in locals().items() if name in _KERAS_ARGUMENTS}
        super().__init__(**keras_own, **kwargs)
        self.serve(backend, precision, shared_recurrent_dropout, recurrent_kernel_dropout)
    # fmt: on
