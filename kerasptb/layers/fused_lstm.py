"""A keras.layers.LSTM whose inner loop is `kerasptb.ops.lstm`."""

import keras

from kerasptb.compat.keras import in_symbolic_scope, is_exported, without_autocast
from kerasptb.ops.lstm import keras_only
from kerasptb.ops.lstm import run as run_lstm
from kerasptb.ops.plan import Plan, available_here, choose, default_precision, dtype_limit
from kerasptb.ops.tensors import as_tensor, compiled_by_xla


@keras.saving.register_keras_serializable(package="kerasptb")
class FusedLSTM(keras.layers.LSTM):
    """LSTM layer with a choice of backend: a drop-in replacement for `keras.layers.LSTM`.

    Weights, their layout and every other argument are those of `keras.layers.LSTM`. Masks, dropout, activations other
    than tanh and sigmoid, `go_backwards`, `unroll`, `use_bias=False`, and a number of steps that is not static are
    served by Keras' own loop under `backend="auto"`, and raise under `"reference"` and `"native"`. Exports use Keras'
    loop too, because they run where this package is not installed (but your own `tf.function`, if traced before it is
    saved, still contains the native operation). The native backend has first-order reverse-mode gradients only. For
    second derivatives and forward-mode gradients use `backend="keras"`.

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
        *args: further positional arguments of `keras.layers.LSTM`.
        **kwargs: further arguments of `keras.layers.LSTM`.

    Call arguments:
        sequences: float tensor [B, T, D].
        initial_state: optional list of h0 and c0, each [B, H].
        mask: optional boolean tensor [B, T].
        training: whether dropout applies.

    Returns:
        As `keras.layers.LSTM`: [B, H], or [B, T, H] with `return_sequences=True`. With `return_state=True`, a list of
        this output, h_T [B, H] and c_T [B, H].

    Raises:
        ValueError: for unknown names, or a call that the named backend cannot serve.
        NativeUnavailableError: if `backend="native"` and the native library cannot be used; the message says why.

    Example:
        >>> layer = FusedLSTM(4, return_sequences=True)
        >>> layer(np.zeros((2, 5, 3), "float32")).shape
        TensorShape([2, 5, 4])
    """

    def __init__(self, units, *args, backend="auto", precision=None, **kwargs):
        super().__init__(units, *args, **kwargs)
        self.backend = backend
        self.precision = precision
        # Raises early if the named backend cannot be used, and tells Keras whether XLA can compile the model: only
        # Keras' own cuDNN operation prevents it.
        if self.expected_backend() != "keras":
            self.supports_jit = True

    def inner_loop(self, sequences, initial_state, mask, training=False):
        """Runs the recurrence; see `keras.layers.RNN`."""
        if isinstance(mask, (list, tuple)):
            mask = mask[0]
        plan = self.plan(sequences.shape, mask=mask is not None)
        if plan.implementation == "keras" and self.backend != "keras" and compiled_by_xla():
            # XLA compiles the model because this layer allowed it, before it knew about, say, this call's mask. Keras
            # would use cuDNN on a GPU, an operation that TensorFlow's XLA does not have.
            return keras.layers.RNN.inner_loop(self, sequences, initial_state, mask, training=training)
        if plan.implementation == "keras":
            return super().inner_loop(sequences, initial_state, mask, training=training)
        h_seq, h_T, c_T = run_lstm(plan, *self._arguments(sequences, *initial_state))
        return h_T, h_seq, [h_T, c_T]

    def plan(self, shape=None, mask=False):
        """Returns the `Plan` of the layer's calls: what runs, and why nothing faster does.

        Args:
            shape: (B, T, D) of the sequences, with None for unknown sizes; `None` if all of them will be known.
            mask: whether the calls have a mask.

        Raises:
            ValueError: if the named backend cannot serve such a call.
            NativeUnavailableError: if the native backend or a precision was named and cannot be used.
        """
        limit, precision = self._limit(mask), self._precision()
        if limit is None and self.backend in ("auto", "native"):
            limit = dtype_limit(self.dtype_policy, precision)
        if limit is None:
            limit = keras_only(None if shape is None else tuple(shape), self.units, self.backend, precision)
            if limit is not None and in_symbolic_scope():
                # Keras is building a model from `Input`s, whose batch size may be open: nothing runs yet.
                return Plan("keras", reason=limit)
        if limit is not None and self.backend == "auto" and self.precision is None:
            return Plan("keras", reason=limit)
        return choose(self.backend, precision, limit)

    def expected_backend(self):
        """Returns "reference", "keras" or "native": what serves the layer's calls, unless one has, say, a mask."""
        return self.plan().implementation

    @property
    def variables(self):
        """The layer's variables; with JAX also those of its recurrent state.

        Keras' JAX trainer carries only these variables from step to step. The state variables are not weights, so they
        are not saved.
        """
        if keras.backend.backend() != "jax":
            return super().variables
        return [*super().variables, *self.state_variables()]

    def state_variables(self):
        """Returns a list of the recurrent state's variables; empty if the layer is not stateful or not built."""
        return keras.tree.flatten(getattr(self, "states", None) or [])

    def get_config(self):
        """Returns the layer's arguments, for serialisation."""
        return {**super().get_config(), "backend": self.backend, "precision": self.precision}

    @classmethod
    def from_config(cls, config):
        """Makes the layer from the result of `get_config`, with a backend and precision that this process has."""
        return super().from_config(available_here(config))

    def _precision(self):
        """The precision in which a native backend would serve this layer."""
        return self.precision or default_precision(self.backend, self.dtype_policy)

    def _arguments(self, sequences, h0, c0):
        """The tensors to pass to `kerasptb.ops.lstm`."""
        weights = self.cell.kernel, self.cell.recurrent_kernel, self.cell.bias
        if self._precision() != "bfloat16" or self.dtype_policy.name != "mixed_bfloat16":
            return [as_tensor(x) for x in (sequences, h0, c0, *weights)]
        # The kernels round the operands of products themselves. If the weights were rounded here, their gradients
        # would be rounded too.
        with without_autocast():
            weights = [as_tensor(weight) for weight in weights]
        return [*(keras.ops.cast(x, "float32") for x in (sequences, h0, c0)), *weights]

    def _limit(self, mask):
        """Why only Keras' own loop can serve a layer with these settings, or None."""
        unsupported = {
            "mask": mask,
            "activation": self.activation is not keras.activations.tanh,
            "recurrent_activation": self.recurrent_activation is not keras.activations.sigmoid,
            "use_bias": not self.use_bias,
            "dropout": self.dropout > 0,
            "recurrent_dropout": self.recurrent_dropout > 0,
            "go_backwards": self.go_backwards,
            "unroll": self.unroll,
        }
        if found := [name for name, value in unsupported.items() if value]:
            values = ", ".join(f"{name}={'given' if name == 'mask' else repr(getattr(self, name))}" for name in found)
            return f"Only Keras' own loop serves an LSTM with {values}."
        if self.backend in ("auto", "native") and is_exported():
            return "An export cannot hold the native backend's operations, which only this package runs."
        return None
