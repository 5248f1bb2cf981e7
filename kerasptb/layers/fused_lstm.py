"""A keras.layers.LSTM whose inner loop is `kerasptb.ops.lstm`."""

import inspect
from typing import Any, Literal

import keras

from kerasptb.layers.fused import Fused
from kerasptb.utils.types import Backend, Precision

# What `FusedLSTM` hands on as it was given.
_KERAS_ARGUMENTS = inspect.signature(keras.layers.LSTM).parameters.keys() - {"kwargs"}


@keras.saving.register_keras_serializable(package="kerasptb")
class FusedLSTM(Fused, keras.layers.LSTM):
    """LSTM layer with a choice of backend: a drop-in replacement for `keras.layers.LSTM`.

    Weights, their layout and every other argument are those of `keras.layers.LSTM`. Activations other than tanh and
    sigmoid are served by Keras' loop under `backend="auto"`, and raise under `"reference"` and `"native"`. So are,
    on a GPU, masks, resets, dropout on the recurrence and an open number of steps, by cuDNN or Keras' loop. Exports use
    Keras' loop too, because they run where this package is not installed (but your own `tf.function`, if traced before
    it is saved, still contains the native operation). Masks of dropout that the native library draws have other numbers
    than Keras' of the same seed. The native backend has first-order reverse-mode gradients only.
    For second derivatives and forward-mode gradients use `backend="keras"`.

    `set_weights(other.get_weights())`, on a layer or on a whole model, copies weights from or to a `keras.layers.LSTM`.
    A weights file (`.weights.h5`) cannot do so, because Keras names layers in it by their class. The LSTMs of a model
    that is built are replaced by `kerasptb.accelerate`, files and all.

    If the saved backend or precision is not available where the layer is loaded, the layer uses another and warns.

    Args:
        units: number of units H.
        backend: `"auto"`, `"reference"`, `"keras"` or `"native"`; see `kerasptb.ops.plan`.
        precision: `"float32"`, `"bfloat16x3"` or `"bfloat16"`; see `kerasptb.ops.lstm`. `None` follows the layer's
            dtype policy: `"bfloat16"` under `mixed_bfloat16` if the native backend supports it here, else `"float32"`.
            Under that policy inputs, outputs and the state between calls are bfloat16, as in every Keras layer.
        shared_recurrent_dropout: whether `recurrent_dropout` draws one mask [B, H] of a call's h, for all gates and
            steps (Gal and Ghahramani, 2016, "A Theoretically Grounded Application of Dropout in Recurrent Neural
            Networks"), instead of Keras' one for each gate, which takes longer; `dropout` then has one mask too.
        recurrent_kernel_dropout: rate at which elements of the recurrent kernel are dropped, in training, with one mask
            a call for all rows and steps; the others are scaled by 1 / (1 - rate) (Merity et al., 2017, "Regularizing
            and Optimizing LSTM Language Models", section 2).
        **kwargs: as all arguments that are not named here, those of `keras.layers.LSTM`; `stateful=None` is `False`.

    Call arguments:
        sequences: float tensor [B, T, D].
        initial_state: optional list of h0 and c0, each [B, H].
        mask: optional boolean tensor [B, T]: false for steps to skip.
        training: whether dropout applies.
        resets: optional boolean tensor [B, T]: true for steps before which the state becomes zero, where a new document
            begins in a row; or [B], for the first step.

    Returns:
        As `keras.layers.LSTM`: [B, H], or [B, T, H] with `return_sequences=True`. With `return_state=True`, a tuple of
        this output, h_T [B, H] and c_T [B, H].

    Raises:
        ValueError: for unknown names, or a call that the named backend cannot serve.
        NativeUnavailableError: if `backend="native"` and the native library cannot be used; the message says why.

    Example:
        >>> layer = FusedLSTM(4, return_sequences=True)
        >>> layer(np.zeros((2, 5, 3), "float32")).shape
        TensorShape([2, 5, 4])
    """

    # All arguments are named, for editors, and nowhere else; a line each would take a screen.
    # fmt: off
    def __init__(
        self, units: int, activation: Any = "tanh", recurrent_activation: Any = "sigmoid", use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform", recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros", unit_forget_bias: bool = True, kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None, bias_regularizer: Any = None, activity_regularizer: Any = None,
        kernel_constraint: Any = None, recurrent_constraint: Any = None, bias_constraint: Any = None,
        dropout: float = 0.0, recurrent_dropout: float = 0.0, seed: int | None = None, return_sequences: bool = False,
        return_state: bool = False, go_backwards: bool = False, stateful: bool | None = None, unroll: bool = False,
        use_cudnn: bool | Literal["auto"] = "auto", *, backend: Backend = "auto", precision: Precision | None = None,
        shared_recurrent_dropout: bool = False, recurrent_kernel_dropout: float = 0.0, **kwargs: Any,
    ) -> None:
        stateful = self._prepare_state(stateful)
        keras_own = {name: value for name, value in locals().items() if name in _KERAS_ARGUMENTS}
        super().__init__(**keras_own, **kwargs)
        self.serve(backend, precision, shared_recurrent_dropout, recurrent_kernel_dropout)
    # fmt: on
