"""A dense layer over the vocabulary, whose logits need not be computed for their cross-entropy."""

from collections.abc import Callable, Sequence
from typing import Any, Self

import keras
from keras import ops

from kerasptb.compat.keras import in_symbolic_scope, outermost_layer, takes_logits, without_autocast
from kerasptb.ops.linear_cross_entropy import plan as plan_cross_entropy
from kerasptb.ops.logits import LogitFactors, attach, logits_or_none_read, warn_of_reading
from kerasptb.ops.plan import Plan, available_here, check_names
from kerasptb.ops.tensors import as_tensor
from kerasptb.utils.types import Backend, Precision, Tensor


class CarriesFactors(keras.layers.Layer):
    """A base of layers over the vocabulary: what a loss needs beside logits, and how it is computed from that."""

    units: int
    bias: Any
    _matrix = "kernel"  # the name of W, [D, V]; any other is of its transpose

    def __init__(self, *args: Any, backend: Backend, precision: Precision | None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        check_names(backend, precision or "float32")
        self.backend = backend
        self.precision = precision

    def get_config(self) -> dict[str, Any]:
        """Returns the layer's arguments, for serialisation."""
        return {**super().get_config(), "backend": self.backend, "precision": self.precision}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Makes the layer from the result of `get_config`, with a backend and precision that this process has."""
        return super().from_config(available_here(config))

    def plan(self, shape: Sequence[int | None]) -> Plan:
        """Returns the `Plan` of the logits' cross-entropy; the shape is the inputs', [..., D], None if not known."""
        precision = self.precision or self.dtype_policy
        return plan_cross_entropy(
            tuple(shape), self.units, self.variable_dtype, backend=self.backend, precision=precision
        )

    def factors(self, inputs: Tensor) -> LogitFactors:
        """Returns the `LogitFactors` of the layer's logits of these inputs, float [..., D]."""
        with without_autocast():  # the kernels round operands themselves; sums and gradients stay float32
            kernel, bias = as_tensor(getattr(self, self._matrix)), as_tensor(self.bias)
        return LogitFactors(inputs, kernel, bias, self._matrix != "kernel", self.plan(inputs.shape))

    def _hand_on(self, compute: Callable[[], Tensor], inputs: Tensor) -> Tensor:
        """Returns the logits, which carry their factors, unless Keras asks for shapes alone: none may be known."""
        if in_symbolic_scope():
            return compute()
        logits = logits_or_none_read(compute, (*ops.shape(inputs)[:-1], self.units), self.compute_dtype)
        attach(logits, self.factors(inputs))
        model = outermost_layer()
        (loss, *others) = keras.tree.flatten(getattr(model, "loss", None)) or [None]
        outputs = [getattr(x, "_keras_history", (self,))[0] for x in getattr(model, "outputs", None) or []]
        is_last = not outputs or self in outputs  # of a subclass it is not known
        if type(loss) is keras.losses.SparseCategoricalCrossentropy and takes_logits(loss) and is_last and not others:
            warn_of_reading(
                "keras.losses.SparseCategoricalCrossentropy",
                "write loss=kerasptb.losses.SparseCategoricalCrossentropy(), which computes the same without them",
            )
        return logits


@keras.saving.register_keras_serializable(package="kerasptb")
class Dense(CarriesFactors, keras.layers.Dense):
    """`keras.layers.Dense` over the vocabulary: its outputs, logits, carry what they were made of.

    Our losses and `Perplexity` read that instead of the logits (`kerasptb.ops.logits`). In a compiled step the logits
    are then never computed, unless something else reads them; Keras' cross-entropy does, and a warning says so.
    With an activation, without a bias, or quantized, the layer is Keras' own.

    Args:
        units: number V of words.
        backend: what runs the cross-entropy: "auto", "reference", "keras" or "native".
        precision: of its products: "float32", "bfloat16x3" or "bfloat16"; `None` follows the dtype policy, as in
            `FusedLSTM`. The logits themselves are Keras'.
        **kwargs: as all arguments that are not named here, those of `keras.layers.Dense`.

    Call arguments:
        inputs: float tensor [..., D].

    Returns:
        [..., V] in the layer's compute dtype.

    Example:
        >>> model = keras.Sequential([Embedding(100, 8), FusedLSTM(16, return_sequences=True), Dense(100)])
        >>> model.compile("sgd", loss=SequenceCrossEntropy(), metrics=[Perplexity()])
    """

    # fmt: off
    def __init__(
        self, units: int, activation: Any = None, use_bias: bool = True, kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros", kernel_regularizer: Any = None, bias_regularizer: Any = None,
        activity_regularizer: Any = None, kernel_constraint: Any = None, bias_constraint: Any = None,
        lora_rank: int | None = None, lora_alpha: float | None = None, *, backend: Backend = "auto",
        precision: Precision | None = None, **kwargs: Any,
    ) -> None:
        super().__init__(
            units, activation, use_bias, kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer,
            activity_regularizer, kernel_constraint, bias_constraint, lora_rank, lora_alpha, backend=backend,
            precision=precision, **kwargs,
        )

    # fmt: on
    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        """Returns the logits."""

        def compute() -> Tensor:
            return super(Dense, self).call(inputs, training=training)

        return compute() if self._why_keras() else self._hand_on(compute, inputs)

    def plan(self, shape: Sequence[int | None]) -> Plan:
        """Returns the `Plan` of the logits' cross-entropy; the shape is the inputs', [..., D], None if not known."""
        reason = self._why_keras()
        return Plan("keras", reason=reason) if reason else super().plan(shape)

    def _why_keras(self) -> str | None:
        """Returns one line on why the layer is Keras' own, or None."""
        if self.activation is keras.activations.linear and self.use_bias and self.quantization_mode is None:
            return None
        return "With an activation, without a bias, or quantized, the layer is Keras' own."
