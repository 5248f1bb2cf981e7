"""A keras.layers.LSTM whose inner loop is `kerasptb.ops.lstm`."""

import inspect
from collections.abc import Sequence
from typing import Any, Literal, Self

import keras
from keras import ops

from kerasptb.compat.keras import get_keras_mask, in_symbolic_scope, is_exported, without_autocast
from kerasptb.ops.dropout import check_rates, dropout
from kerasptb.ops.dropout import plan as plan_dropout
from kerasptb.ops.dropout import run as run_dropout
from kerasptb.ops.lstm import GATES, check_masks
from kerasptb.ops.lstm import plan as plan_lstm
from kerasptb.ops.lstm import run as run_lstm
from kerasptb.ops.plan import Plan, available_here, dtype_limit, warn_if_slower
from kerasptb.ops.sharding import place_rows
from kerasptb.ops.tensors import as_tensor, compiled_by_xla
from kerasptb.utils.types import Backend, Precision, Tensor

# What `FusedLSTM` hands on as it was given.
_KERAS_ARGUMENTS = inspect.signature(keras.layers.LSTM).parameters.keys() - {"kwargs"}


@keras.saving.register_keras_serializable(package="kerasptb")
class FusedLSTM(keras.layers.LSTM):
    """LSTM layer with a choice of backend: a drop-in replacement for `keras.layers.LSTM`.

    Weights, their layout and every other argument are those of `keras.layers.LSTM`. Activations other than tanh and
    sigmoid are served by Keras' loop under `backend="auto"`, and raise under `"reference"` and `"native"`. So are,
    on a GPU, masks, resets, dropout on the recurrence and an open number of steps, by cuDNN or Keras' loop. Exports use
    Keras' loop too, because they run where this package is not installed (but your own `tf.function`, if traced before
    it is saved, still contains the native operation). Masks of dropout that the native library draws have other numbers
    than Keras' of the same seed. The native backend has first-order reverse-mode gradients only.
    For second derivatives and forward-mode gradients use `backend="keras"`.

    `set_weights(other.get_weights())`, on a layer or on a whole model, copies weights from or to a `keras.layers.LSTM`.
    A weights file (`.weights.h5`) cannot do so, because Keras names layers in it by their class. To replace the LSTMs
    of a built model use `keras.models.clone_model`, with a `clone_function` that returns
    `FusedLSTM.from_config(layer.get_config())` for them.

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
        self.backend = backend
        self.precision = precision
        self.shared_recurrent_dropout = shared_recurrent_dropout
        check_rates(recurrent_kernel_dropout=recurrent_kernel_dropout)
        self.recurrent_kernel_dropout = recurrent_kernel_dropout
        if shared_recurrent_dropout and self.recurrent_dropout > 0:
            del self.cell.dropout_mask_count  # the cell then draws one mask
        if self._is_ours():
            self._check_ours()
        # Raises early if the named backend cannot be used, and tells Keras whether XLA can compile the model: only
        # Keras' cuDNN operation prevents it.
        if self.plan().implementation != "keras":
            self.supports_jit = True

    # fmt: on
    def _prepare_state(self, stateful):
        """Returns whether the layer is stateful, by the constructor's argument."""
        return bool(stateful)

    def build(self, sequences_shape: Sequence[int | None], *args: Any, **kwargs: Any) -> None:
        """Makes the weights, and of a stateful layer the state."""
        super().build(sequences_shape, *args, **kwargs)
        for variable in self.state_variables():
            place_rows(variable)

    def call(
        self,
        sequences: Tensor,
        initial_state: Sequence[Tensor] | None = None,
        mask: Tensor | None = None,
        training: bool = False,
        resets: Tensor | None = None,
    ) -> Tensor:
        """Runs the layer; see "Call arguments" of the class."""
        variables = self._state_to_continue(sequences, training)
        begin = [*map(as_tensor, variables)] if initial_state is None else [*initial_state]
        output, state = self._run_from(begin, sequences, mask, training, resets)
        for variable, value in zip(variables, state, strict=False):
            variable.assign(value)
        return (output, *state) if self.return_state else output

    def _run_from(self, begin, sequences, mask, training, resets):
        """Runs the layer from a state, from zeros if `begin` is empty; returns the output and the state after it."""
        # As in `keras.layers.RNN.call`, but the state is passed: to another thread the layer looks the same meanwhile.
        state = begin or self.get_initial_state(ops.shape(sequences)[0])
        state = [ops.convert_to_tensor(x, self.cell.compute_dtype) for x in state]
        if mask is None and resets is not None:
            mask = get_keras_mask(sequences)  # of several tensors Keras hands on no mask
        mask = mask[0] if isinstance(mask, list | tuple) else mask
        given = {name: m for name, m in (("mask", mask), ("resets", resets)) if m is not None}
        check_masks(given, sequences.shape, self.units, resets_of_rows=True)
        if resets is not None and len(resets.shape) == 1:
            state, resets = [ops.where(resets[:, None], ops.zeros_like(x), x) for x in state], None
        plan = self.plan(sequences.shape, mask=mask is not None, resets=resets is not None, training=bool(training))
        warn_if_slower(plan)
        if resets is not None:
            self._check_ours()
        if plan.implementation == "keras" and resets is None and not self._is_ours():
            self._maybe_config_dropout_masks(self.cell, sequences[:, 0, :], state)
            last, outputs, state = self._keras_loop(sequences, state, mask, training)
        else:
            last, outputs, state = self._run(plan, sequences, state, mask, resets, training)
            if mask is not None and not self.zero_output_for_mask and begin:
                # As in Keras: before its first step a row puts out zeros, whatever its state is.
                begun = ops.cumsum(ops.cast(self._in_order(mask), "int32"), axis=1) > 0
                outputs = ops.where(begun[:, :, None], outputs, ops.zeros_like(outputs))
                last = outputs[:, -1]
        last, outputs, *state = (ops.cast(x, self.compute_dtype) for x in (last, outputs, *state))
        self._maybe_reset_dropout_masks(self.cell)
        return outputs if self.return_sequences else last, state

    def _state_to_continue(self, sequences, training):
        """The variables of the state from which the call goes on, and in which it leaves its own; none for zeros."""
        if not self.stateful:
            return []
        if sequences.shape[0] not in (None, self._expected_batch_size):
            raise ValueError(
                f"A stateful layer has the rows of batches of {self._expected_batch_size}. Received: sequences of "
                f"shape {tuple(sequences.shape)}"
            )
        return self.states

    def _keras_loop(self, sequences, state, mask, training):
        if self.backend != "keras" and compiled_by_xla():
            # XLA compiles the model because this layer allowed it, before it knew about this call. Keras would use
            # cuDNN on a GPU, an operation that TensorFlow's XLA does not have.
            return keras.layers.RNN.inner_loop(self, sequences, state, mask, training=training)
        return self.inner_loop(sequences, state, mask, training=training)

    def _in_order(self, x):
        """`x` [B, T, ...] in the order of the steps."""
        return ops.flip(x, axis=1) if self.go_backwards else x

    def _run(self, plan, sequences, state, mask, resets, training):
        """Runs `kerasptb.ops.lstm`; returns what `keras.layers.RNN.inner_loop` does."""
        masks = {"mask": mask, "resets": resets}
        masks = {name: self._in_order(m) for name, m in masks.items() if m is not None}
        x = self._in_order(sequences)
        if training:
            masks |= self._draw(plan, sequences[:, 0, :], state[0])
        outputs, *state = run_lstm(plan, *self._arguments(x, *state, training=training), **masks)
        if mask is not None and self.zero_output_for_mask:
            outputs = ops.where(masks["mask"][:, :, None], outputs, ops.zeros_like(outputs))
            return outputs[:, -1], outputs, state
        return state[0], outputs, state

    def _draw(self, plan, x, h):
        """Draws the masks of dropout, of the inputs x and the state h of a step; one for each gate as in Keras."""
        if not (rates := self._rates()):
            return {}
        of = {"input_mask": x, "recurrent_mask": h}
        drop = plan_dropout(None, self.compute_dtype)
        if plan.is_native and drop.is_native:
            # One operation, whose numbers XLA does not draw anew at each step that reads them.
            gates = [len(GATES)] * self._draws_each_gate()
            ones = {name: ops.ones((*gates, *ops.shape(of[name])), "float32") for name in rates}
            return {name: run_dropout(drop, ones[name], rate, self.cell.seed_generator) for name, rate in rates.items()}
        draw = {"input_mask": self.cell.get_dropout_mask, "recurrent_mask": self.cell.get_recurrent_dropout_mask}
        masks = {name: draw[name](of[name]) for name in rates}
        return {name: ops.stack(mask) if isinstance(mask, list) else mask for name, mask in masks.items()}

    def _rates(self):
        """The rates of the masks that a call in training draws."""
        rates = {"input_mask": self.dropout, "recurrent_mask": self.recurrent_dropout}
        return {name: rate for name, rate in rates.items() if 0 < rate < 1}

    def _draws_each_gate(self):
        """Whether these are of each gate, as Keras' are unless one product computes all gates."""
        return hasattr(self.cell, "dropout_mask_count")

    def plan(
        self,
        shape: Sequence[int | None] | None = None,
        mask: bool = False,
        resets: bool = False,
        training: bool = True,
    ) -> Plan:
        """Returns the `Plan` of the layer's calls: what runs, and why nothing faster does.

        Args:
            shape: (B, T, D) of the sequences, with None for unknown sizes; `None` if all of them will be known.
            mask: whether the calls have a mask.
            resets: whether the calls have resets [B, T].
            training: whether dropout applies.

        Raises:
            ValueError: if the named backend cannot serve such a call.
            NativeUnavailableError: if the native backend or a precision was named and cannot be used.
        """
        backend, precision = self.backend, self.precision or self.dtype_policy
        if backend != "keras" and in_symbolic_scope():
            # Keras is building a model from `Input`s, whose sizes may be open: nothing runs yet.
            backend, precision = "auto", "float32"
        drawn = self._rates() if training else {}
        return plan_lstm(
            None if shape is None else tuple(shape),
            self.units,
            backend=backend,
            precision=precision,
            masks=(*["mask"] * mask, *["resets"] * resets, *drawn),
            each_gate=bool(drawn) and self._draws_each_gate(),
            limit=self._limit(backend),
        )

    @property
    def variables(self) -> list[keras.Variable]:
        """The layer's variables; with JAX also those of its recurrent state, since its steps carry no others."""
        if keras.backend.backend() != "jax":
            return super().variables
        return [*super().variables, *self.state_variables()]

    def state_variables(self) -> list[keras.Variable]:
        """Returns a list of the recurrent state's variables; empty if the layer is not stateful or not built."""
        return keras.tree.flatten(getattr(self, "states", None) or [])

    def get_config(self) -> dict[str, Any]:
        """Returns the layer's arguments, for serialisation."""
        return {
            **super().get_config(),
            "backend": self.backend,
            "precision": self.precision,
            "shared_recurrent_dropout": self.shared_recurrent_dropout,
            "recurrent_kernel_dropout": self.recurrent_kernel_dropout,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Makes the layer from the result of `get_config`, with a backend and precision that this process has."""
        return super().from_config(available_here(config))

    def _arguments(self, *tensors, training):
        """The tensors to pass to `kerasptb.ops.lstm`, made of x, h0 and c0."""
        # Under a mixed policy the kernels round the operands of products themselves. If the weights were rounded here,
        # their gradients would be rounded too.
        with without_autocast():
            kernel, recurrent_kernel = as_tensor(self.cell.kernel), as_tensor(self.cell.recurrent_kernel)
            bias = as_tensor(self.cell.bias) if self.use_bias else ops.zeros((len(GATES) * self.units,), kernel.dtype)
        if training and self.recurrent_kernel_dropout > 0:
            recurrent_kernel = dropout(recurrent_kernel, self.recurrent_kernel_dropout, self.cell.seed_generator)
        return [*(ops.cast(as_tensor(x), kernel.dtype) for x in tensors), kernel, recurrent_kernel, bias]

    def _is_ours(self):
        """Whether the layer does what Keras' own does not."""
        return self.recurrent_kernel_dropout > 0 or (self.shared_recurrent_dropout and self.recurrent_dropout > 0)

    def _check_ours(self):
        """Raises for what neither Keras' loop nor ours can do."""
        if (limit := self._limit_of_settings()) is not None:
            ours = "resets, shared_recurrent_dropout or recurrent_kernel_dropout"
            raise ValueError(f"{limit} It has no {ours}.")

    def _limit_of_settings(self):
        served = {"activation": keras.activations.tanh, "recurrent_activation": keras.activations.sigmoid}
        found = [name for name, function in served.items() if getattr(self, name) is not function]
        values = ", ".join(f"{name}={keras.activations.serialize(getattr(self, name))!r}" for name in found)
        return f"Only Keras' loop serves an LSTM with {values}." if found else None

    def _limit(self, backend):
        """Why only Keras' loop can serve a layer with these settings, or None."""
        if (limit := self._limit_of_settings()) is not None or backend not in ("auto", "native"):
            return limit
        if is_exported():
            return "An export cannot hold the native backend's operations, which only this package runs."
        return dtype_limit(self.dtype_policy)
