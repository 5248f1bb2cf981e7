"""What makes a recurrent layer of Keras run on `kerasptb.ops.recurrence`, whatever its cell."""

from collections.abc import Sequence
from typing import Any, Self, cast

import keras
from keras import ops

from kerasptb.cells import Cell
from kerasptb.compat.keras import get_keras_mask, in_symbolic_scope, is_exported, without_autocast
from kerasptb.layers.keras_cell import kind_of, limit_of_activations, weights_of
from kerasptb.ops.backend import ON_JAX
from kerasptb.ops.dropout import check_rates, dropout
from kerasptb.ops.dropout import plan as plan_dropout
from kerasptb.ops.dropout import run as run_dropout
from kerasptb.ops.plan import Plan, available_here, dtype_limit, warn_if_slower
from kerasptb.ops.recurrence import check_masks, plan, run
from kerasptb.ops.sharding import place_rows
from kerasptb.ops.tensors import as_tensor, compiled_by_xla
from kerasptb.ops.types import Mask, Tensors
from kerasptb.utils.types import Backend, Precision, Tensor


class Fused(keras.layers.RNN):
    """A layer before one of Keras' recurrent layers among a class's bases: see `FusedLSTM` for what it adds."""

    backend: Backend
    precision: Precision | None
    shared_recurrent_dropout: bool
    recurrent_kernel_dropout: float

    def serve(
        self,
        backend: Backend = "auto",
        precision: Precision | None = None,
        shared_recurrent_dropout: bool = False,
        recurrent_kernel_dropout: float = 0.0,
    ) -> None:
        """Sets what Keras' layer does not have: once, at the end of a constructor."""
        self.backend = backend
        self.precision = precision
        self.shared_recurrent_dropout = shared_recurrent_dropout
        check_rates(recurrent_kernel_dropout=recurrent_kernel_dropout)
        self.recurrent_kernel_dropout = recurrent_kernel_dropout
        if shared_recurrent_dropout and self.cell.recurrent_dropout > 0 and self._draws_each_gate():
            del self.cell.dropout_mask_count  # the cell then draws one mask
        if self._is_ours():
            self._check_ours()
        # Raises early if the named backend cannot be used, and tells Keras whether XLA can compile the model: only
        # Keras' cuDNN operation prevents it.
        if self.plan().implementation != "keras":
            self.supports_jit = True

    @property
    def kind(self) -> Cell:
        """The cell's constants and its step."""
        return cast(Cell, kind_of(self.cell))

    def _prepare_state(self, stateful: bool | None) -> bool:
        """Returns whether the layer is stateful, by the constructor's argument."""
        return bool(stateful)

    def build(self, sequences_shape: Sequence[int | None], *args: Any, **kwargs: Any) -> None:
        """Makes the weights, and of a stateful layer the state."""
        super().build(sequences_shape, *args, **kwargs)
        self.supports_masking = True  # for layers after it; from Keras 3.16 on its own hand no mask on
        for variable in self.state_variables():
            place_rows(variable)

    def call(
        self,
        sequences: Tensor,
        initial_state: Sequence[Tensor] | None = None,
        mask: Mask = None,
        training: bool = False,
        resets: Mask = None,
    ) -> Tensor:
        """Runs the layer; see "Call arguments" of the class."""
        variables = self._state_to_continue(sequences, training)
        begin = [*map(as_tensor, variables)] if initial_state is None else keras.tree.flatten(initial_state)
        output, state = self._run_from(begin, sequences, mask, training, resets)
        for variable, value in zip(variables, state, strict=False):
            variable.assign(value)
        return (output, *state) if self.return_state else output

    def _run_from(
        self, begin: Tensors, sequences: Tensor, mask: Mask, training: bool, resets: Mask
    ) -> tuple[Tensor, Tensors]:
        """Runs the layer from a state, from zeros if `begin` is empty; returns the output and the state after it."""
        # As in `keras.layers.RNN.call`, but the state is passed: to another thread the layer looks the same meanwhile.
        state = begin or self.get_initial_state(ops.shape(sequences)[0])
        state = [ops.convert_to_tensor(x, self.cell.compute_dtype) for x in state]
        if mask is None and resets is not None:
            mask = get_keras_mask(sequences)  # of several tensors Keras hands on no mask
        mask = mask[0] if isinstance(mask, list | tuple) else mask
        given = {name: m for name, m in (("mask", mask), ("resets", resets)) if m is not None}
        check_masks(self.kind, given, sequences.shape, self.cell.units, resets_of_rows=True)
        if resets is not None and len(resets.shape) == 1:
            state, resets = [ops.where(resets[:, None], ops.zeros_like(x), x) for x in state], None
        plan = self.plan(sequences.shape, mask=mask is not None, resets=resets is not None, training=bool(training))
        if self.kind.why_no_kernels is None:
            warn_if_slower(plan)
        if resets is not None:
            self._check_ours()
        if plan.implementation == "keras" and resets is None and not self._is_ours():
            self._maybe_config_dropout_masks(self.cell, sequences[:, 0, :], state)
            last, outputs, state = self._keras_loop(sequences, state, mask, training)
        else:
            last, outputs, state = self._run(plan, sequences, state, mask, resets, training)
            if mask is not None and not self.zero_output_for_mask and begin and not self._puts_out_its_state:
                # As in Keras: before its first step a row puts out zeros, whatever its state is.
                begun = ops.cumsum(ops.cast(self._in_order(mask), "int32"), axis=1) > 0
                outputs = ops.where(begun[:, :, None], outputs, ops.zeros_like(outputs))
                last = outputs[:, -1]
        last, outputs, *state = (ops.cast(x, self.compute_dtype) for x in (last, outputs, *state))
        self._maybe_reset_dropout_masks(self.cell)
        return outputs if self.return_sequences else last, state

    @property
    def _puts_out_its_state(self) -> bool:
        """Whether Keras' loop puts out a row's state before the row's first step: on JAX, in place of zeros."""
        return ON_JAX and not self.unroll

    def _state_to_continue(self, sequences: Tensor, training: bool) -> list[keras.Variable]:
        """The variables of the state from which the call goes on, and in which it leaves its own; none for zeros."""
        if not self.stateful:
            return []
        if sequences.shape[0] not in (None, self._expected_batch_size):
            raise ValueError(
                f"A stateful layer has the rows of batches of {self._expected_batch_size}. Received: sequences of "
                f"shape {tuple(sequences.shape)}"
            )
        return self.states

    def _keras_loop(
        self, sequences: Tensor, state: Tensors, mask: Mask, training: bool
    ) -> tuple[Tensor, Tensor, Tensors]:
        if self.backend != "keras" and compiled_by_xla():
            # XLA compiles the model because this layer allowed it, before it knew about this call. Keras would use
            # cuDNN on a GPU, an operation that TensorFlow's XLA does not have.
            return keras.layers.RNN.inner_loop(self, sequences, state, mask, training=training)
        return self.inner_loop(sequences, state, mask, training=training)

    def _in_order(self, x: Tensor) -> Tensor:
        """`x` [B, T, ...] in the order of the steps."""
        return ops.flip(x, axis=1) if self.go_backwards else x

    def _run(
        self, plan: Plan, sequences: Tensor, state: Tensors, mask: Mask, resets: Mask, training: bool
    ) -> tuple[Tensor, Tensor, Tensors]:
        """Runs `kerasptb.ops.recurrence`; returns what `keras.layers.RNN.inner_loop` does."""
        masks = {name: self._in_order(m) for name, m in (("mask", mask), ("resets", resets)) if m is not None}
        x = self._in_order(sequences)
        if training:
            masks |= self._draw(plan, sequences[:, 0, :], state[0])
        weights = self._weights(training)
        x, *state = (ops.cast(as_tensor(tensor), weights[0].dtype) for tensor in (x, *state))
        outputs, *state = run(plan, self.kind, x, state, weights, **masks)
        if mask is not None and self.zero_output_for_mask:
            outputs = ops.where(masks["mask"][:, :, None], outputs, ops.zeros_like(outputs))
            return outputs[:, -1], outputs, state
        return state[0], outputs, state

    def _draw(self, plan: Plan, x: Tensor, h: Tensor) -> dict[str, Tensor]:
        """Draws the masks of dropout, of the inputs x and the state h of a step; one for each gate as in Keras."""
        if not (rates := self._rates()):
            return {}
        of = {"input_mask": x, "recurrent_mask": h}
        drop = plan_dropout(None, self.compute_dtype)
        if plan.is_native and drop.is_native:
            # One operation, whose numbers XLA does not draw anew at each step that reads them.
            gates = [len(self.kind.gates)] * self._draws_each_gate()
            ones = {name: ops.ones((*gates, *ops.shape(of[name])), "float32") for name in rates}
            return {name: run_dropout(drop, ones[name], rate, self.cell.seed_generator) for name, rate in rates.items()}
        draw = {"input_mask": self.cell.get_dropout_mask, "recurrent_mask": self.cell.get_recurrent_dropout_mask}
        masks = {name: draw[name](of[name]) for name in rates}
        return {name: ops.stack(mask) if isinstance(mask, list) else mask for name, mask in masks.items()}

    def _rates(self) -> dict[str, float]:
        """The rates of the masks that a call in training draws."""
        rates = {"input_mask": self.cell.dropout, "recurrent_mask": self.cell.recurrent_dropout}
        return {name: rate for name, rate in rates.items() if 0 < rate < 1}

    def _draws_each_gate(self) -> bool:
        """Whether these are of each gate, as Keras' are unless one product computes all gates."""
        return hasattr(self.cell, "dropout_mask_count")

    def plan(
        self, shape: Sequence[int | None] | None = None, mask: bool = False, resets: bool = False, training: bool = True
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
        return plan(
            self.kind,
            None if shape is None else tuple(shape),
            self.cell.units,
            backend=backend,
            precision=precision,
            masks=(*["mask"] * mask, *["resets"] * resets, *drawn),
            each_gate=bool(drawn) and self._draws_each_gate(),
            limit=self._limit(backend),
        )

    @property
    def variables(self) -> list[keras.Variable]:
        """The layer's variables; with JAX also those of its recurrent state, since its steps carry no others."""
        return [*super().variables, *(self.state_variables() if ON_JAX else [])]

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

    def _weights(self, training: bool) -> list[Tensor]:
        """The tensors of the weights; zeros for a bias that is left out."""
        # Under a mixed policy the kernels round the operands of products themselves. If the weights were rounded here,
        # their gradients would be rounded too.
        with without_autocast():
            tensors: list[Tensor] = [None if x is None else as_tensor(x) for x in weights_of(self.cell)]
        shapes = self.kind.weight_shapes(1, self.cell.units).values()
        dtype = tensors[0].dtype
        tensors = [ops.zeros(shape, dtype) if x is None else x for x, (_, shape) in zip(tensors, shapes, strict=True)]
        if training and self.recurrent_kernel_dropout > 0:
            tensors[1] = dropout(tensors[1], self.recurrent_kernel_dropout, self.cell.seed_generator)
        return tensors

    def _is_ours(self) -> bool:
        """Whether the layer does what Keras' own does not."""
        return self.recurrent_kernel_dropout > 0 or (self.shared_recurrent_dropout and self.cell.recurrent_dropout > 0)

    def _check_ours(self) -> None:
        """Raises for what neither Keras' loop nor ours can do."""
        if (limit := limit_of_activations(self.kind, self.cell)) is not None:
            ours = "resets, shared_recurrent_dropout or recurrent_kernel_dropout"
            raise ValueError(f"{limit} It has no {ours}.")

    def _limit(self, backend: Backend) -> str | None:
        """Why only Keras' loop can serve a layer with these settings, or None."""
        if (limit := limit_of_activations(self.kind, self.cell)) is not None or backend not in ("auto", "native"):
            return limit
        if is_exported():
            return "An export cannot hold the native backend's operations, which only this package runs."
        return dtype_limit(self.dtype_policy)
