"""The step of all variables as one native operation, and averages of the weights."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import keras
from keras import ops

from kerasptb.ops.backend import ON_TENSORFLOW, ON_TORCH, tf
from kerasptb.ops.clipped_step import plan_of
from kerasptb.ops.global_norm import global_norm
from kerasptb.ops.plan import Plan
from kerasptb.ops.tensors import compiled_by_xla, without_gradients
from kerasptb.ops.types import Gradients, Tensors
from kerasptb.utils.types import Tensor


class RowGradient(NamedTuple):
    """The gradient of a matrix for some of its rows, zero elsewhere: JAX's counterpart of `tf.IndexedSlices`."""

    rows: Any  # int [...]; one that occurs several times has the sum of its values
    values: Any  # float [..., D]


class OnePassStep(keras.optimizers.Optimizer):
    """Lets an optimizer clip, decay, update and average all variables in one native operation; a base beside Keras'.

    Only on a processor, with PyTorch and in a step that XLA compiles: they let it update the variables' own memory, and
    XLA's operations, one for each variable, would wait for its threads. A subclass has `_slot_lists`, and `_updated`,
    which returns the arrays, weights and those of `_slot_lists`, after a step, and the averages.

    With `polyak_averaging` it keeps the mean of the weights after each step since `start_averaging` (Polyak and
    Juditsky, 1992, "Acceleration of Stochastic Approximation by Averaging"). The means are the variables of Keras'
    moving average (`use_ema`), with another factor: until the start they are the weights themselves.
    """

    _plan: Plan | None = None  # of the step that is being traced, if it is one pass

    def __init__(self, *, global_clipnorm: float | None, polyak_averaging: bool, **kwargs: Any) -> None:
        if global_clipnorm is not None and not global_clipnorm >= 0:
            raise ValueError(
                f"Expected global_clipnorm of at least 0, or None. Received: global_clipnorm={global_clipnorm}"
            )
        kwargs["use_ema"] = kwargs.get("use_ema", False) or polyak_averaging
        super().__init__(global_clipnorm=global_clipnorm or None, **kwargs)  # as in Keras 0 does not clip
        self.polyak_averaging = polyak_averaging

    def build(self, variables: list[keras.Variable]) -> None:
        """Makes the optimizer's variables."""
        if self.built:
            return
        super().build(variables)
        if self.polyak_averaging:
            # The step after which averaging began, counted from 1; 0 before.
            self._average_start = self.add_variable((), initializer="zeros", dtype="int", name="average_start")

    def start_averaging(self) -> None:
        """Begins the mean of the weights with the next step, if it has not begun; needs `polyak_averaging=True`."""
        if not (self.polyak_averaging and self.built):
            raise ValueError("Expected an optimizer with polyak_averaging=True that has been built.")
        if not self.is_averaging():
            self._average_start.assign(self.iterations + 1)

    def is_averaging(self) -> bool:
        """Whether the mean of the weights has begun."""
        return self.polyak_averaging and self.built and int(self._average_start) > 0

    def average_momentum(self) -> Tensor:
        """Returns what the averages keep of themselves in this step, a float32 scalar in [0, 1)."""
        if not self.polyak_averaging:
            return ops.where(ops.equal(self.iterations, 0), 0.0, float(self.ema_momentum))
        start = ops.cast(self._average_start, "int32")
        count = ops.cast(self.iterations, "int32") - start + 2
        count = ops.where(start > 0, ops.maximum(count, 1), 1)
        momentum = 1.0 - 1.0 / ops.cast(count, "float32")
        if self.gradient_accumulation_steps:  # of several steps only the last changes the weights
            last = ops.equal((self._iterations + 1) % self.gradient_accumulation_steps, 0)
            momentum = ops.where(ops.logical_or(last, start == 0), momentum, 1.0)
        return momentum

    def finalize_variable_values(self, var_list: list[keras.Variable]) -> None:
        """Puts the averages in the weights' place, as `fit` does at its end, if there was a step to average."""
        if int(self.iterations) > 0:
            super().finalize_variable_values(var_list)

    def _update_model_variables_moving_average(self, trainable_variables: Sequence[keras.Variable]) -> None:
        if self._plan is None:
            self._average(zip(trainable_variables, self._model_variables_moving_average, strict=True))

    def _average(self, pairs: Iterable[tuple[keras.Variable, keras.Variable | None]]) -> None:
        """Lets averages follow their variables; `pairs` of these, of which an average may be `None`."""
        momentum = self.average_momentum()
        for variable, average in pairs:
            if average is not None:
                new = ops.convert_to_tensor(variable)
                factor = ops.cast(momentum, new.dtype)
                average.assign(new + factor * (average - new))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "polyak_averaging": self.polyak_averaging}

    def _plan_of_one_pass(self, gradients: Sequence[Any], variables: Sequence[Any]) -> Plan | None:
        """Returns the `Plan` of the native operation that does the step of these variables, or None."""
        if not ON_TORCH and not (compiled_by_xla() and not tf.distribute.has_strategy()):
            return None
        if self.gradient_accumulation_steps or self.clipnorm or self.clipvalue:
            return None
        plan = plan_of(variables, _pairs(gradients))
        return plan if plan.is_native else None

    def takes_row_gradients(self) -> bool:
        """Whether `apply` of the built optimizer takes the gradient of a matrix for some of its rows.

        Keras' accumulation, scaling and other clipping of gradients do not, nor on PyTorch what is not one pass.
        """
        if self.gradient_accumulation_steps or self.loss_scale_factor is not None or self.clipnorm or self.clipvalue:
            return False
        variables = self._trainable_variables
        return not ON_TORCH or self._plan_of_one_pass(variables, variables) is not None

    def _slot_lists(self) -> list[list[keras.Variable]]:
        """Returns lists of the optimizer's own variables for all trainable variables."""
        return []

    def _backend_apply_gradients(self, grads: Sequence[Any], trainable_variables: Sequence[keras.Variable]) -> None:
        self._plan = self._plan_of_one_pass(grads, trainable_variables)
        try:
            with without_gradients():
                super()._backend_apply_gradients(grads, trainable_variables)
        finally:
            self._plan = None

    def _clip_gradients(self, grads: Sequence[Any]) -> Sequence[Any]:
        return super()._clip_gradients(grads) if self._plan is None else grads

    def _apply_weight_decay(self, variables: Sequence[keras.Variable]) -> None:
        if self._plan is None:
            super()._apply_weight_decay(variables)

    def _backend_update_step(
        self, grads: Sequence[Any], trainable_variables: Sequence[keras.Variable], learning_rate: Tensor
    ) -> None:
        if self._plan is None:
            super()._backend_update_step(grads, trainable_variables, learning_rate)
            return
        places = [self._get_variable_index(v) for v in trainable_variables]
        weights = [v.value if isinstance(v, keras.Variable) else v for v in trainable_variables]
        slots = [[of_all[i].value for i in places] for of_all in self._slot_lists()]
        options: dict[str, Any] = {"global_clipnorm": self.global_clipnorm}
        if self.weight_decay is not None:
            decay = self.weight_decay
            options["weight_decays"] = [decay if self._use_weight_decay(v) else 0.0 for v in trainable_variables]
        averages = []
        if self.use_ema:
            averages = [self._model_variables_moving_average[i].value for i in places]
            options |= {"averages": _tensors(averages), "average_momentum": self.average_momentum()}
        arrays = [_tensors(x) for x in (weights, *slots)]
        arrays, new_averages = self._updated(self._plan, arrays, _pairs(grads), learning_rate, **options)
        for variables, values in zip([weights, *slots, averages], [*arrays, new_averages], strict=True):
            for variable, value in zip(variables, values, strict=True):
                variable.copy_(value) if ON_TORCH else variable.assign(value)
        if self.use_ema:  # also of variables without a gradient
            followed = zip(self._trainable_variables, self._model_variables_moving_average, strict=True)
            self._average([pair for i, pair in enumerate(followed) if i not in places])


def _tensors(variables: Sequence[keras.Variable]) -> Tensors:
    return [ops.convert_to_tensor(v) for v in variables]


def _pairs(gradients: Sequence[Any]) -> Gradients:
    return [as_pair(gradient) for gradient in gradients]


def as_pair(gradient: Any) -> Tensor | tuple[Tensor, Tensor]:
    """Returns rows and values of the gradient of a matrix for some of its rows; another gradient as it is."""
    if ON_TENSORFLOW and isinstance(gradient, tf.IndexedSlices):
        return gradient.indices, gradient.values
    if ON_TORCH and getattr(gradient, "is_sparse", False):
        return gradient._indices()[0], gradient._values()  # the public ones sum the values of each row first
    return gradient


def norm_of_gradients(gradients: Sequence[Any]) -> Tensor:
    """Returns the norm of all gradients, a float32 scalar; those of some rows count by their values."""
    pairs = map(as_pair, gradients)
    return global_norm([g[1] if isinstance(g, tuple) else g for g in pairs])
