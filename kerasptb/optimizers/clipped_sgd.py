"""Gradient descent that clips the gradients' global norm in one pass over them."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from kerasptb.ops.backend import ON_TENSORFLOW, ON_TORCH, tf
from kerasptb.ops.clipped_sgd import run as run_clipped_sgd
from kerasptb.ops.clipped_step import clipped_rate
from kerasptb.ops.plan import Plan
from kerasptb.ops.tensors import compiled_by_xla
from kerasptb.ops.types import Gradients, Tensors
from kerasptb.optimizers.one_pass import OnePassStep, RowGradient, norm_of_gradients
from kerasptb.utils.types import Tensor


@keras.saving.register_keras_serializable(package="kerasptb")
class ClippedSGD(OnePassStep, keras.optimizers.SGD):
    """Gradient descent without momentum that clips the global norm and keeps sparse gradients sparse.

    `keras.optimizers.SGD(global_clipnorm=...)` computes the same update, but scales every gradient into a new
    tensor, and turns an embedding's gradient (a few rows) into a dense matrix of the whole vocabulary. Here the
    clipping factor multiplies the learning rate instead: `w ← w - lr · min(1, clip / ‖g‖) · g`, with
    `‖g‖ = sqrt(Σ g²)` over all gradients (Pascanu et al., 2013, "On the difficulty of training recurrent neural
    networks", section 3.2). As in `tf.clip_by_global_norm`, a row that occurs several times in a sparse gradient
    enters the norm once for each occurrence.

    Args:
        learning_rate: step size; a float, or a `keras.optimizers.schedules.LearningRateSchedule`.
        global_clipnorm: largest global norm of the gradients; `None`, or 0 as in Keras, does not clip.
        polyak_averaging: whether to keep the mean of the weights, see `callbacks.AveragedWeights`.
        name: name of the optimizer.
        **kwargs: further arguments of `keras.optimizers.SGD`, except momentum and the other kinds of clipping.

    Raises:
        ValueError: if momentum or another kind of clipping is asked for; for a clip norm below 0; if several replicas
            of a `tf.distribute` strategy apply gradients, because each replica knows only its own gradients' norm.
    """

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule = 1.0,
        global_clipnorm: float | None = 5.0,
        polyak_averaging: bool = False,
        name: str = "clipped_sgd",
        **kwargs: Any,
    ) -> None:
        for argument in ("momentum", "nesterov", "clipnorm", "clipvalue"):
            if kwargs.pop(argument, None):
                raise ValueError(
                    f"ClippedSGD has no momentum and clips the global norm only; use keras.optimizers.SGD for "
                    f"`{argument}`. Received: {argument} set."
                )
        super().__init__(
            learning_rate=learning_rate,
            global_clipnorm=global_clipnorm,
            polyak_averaging=polyak_averaging,
            name=name,
            **kwargs,
        )

    def _clip_gradients(self, grads: Sequence[Any]) -> Sequence[Any]:
        """Leaves the gradients as they are: the factor goes into the learning rate."""
        return grads

    def _updated(
        self,
        plan: Plan,
        arrays: Sequence[Tensors],
        gradients: Gradients,
        learning_rate: Tensor,
        **options: Any,
    ) -> tuple[Sequence[Tensors], Tensors]:
        (weights,) = arrays
        weights, averages = run_clipped_sgd(plan, weights, gradients, learning_rate, **options)
        return [weights], averages

    def _backend_update_step(
        self, grads: Sequence[Any], trainable_variables: Sequence[keras.Variable], learning_rate: Tensor
    ) -> None:
        if ON_TENSORFLOW:
            _check_single_replica()
        if self.global_clipnorm is not None and self._plan is None:
            learning_rate = clipped_rate(learning_rate, norm_of_gradients(grads), self.global_clipnorm)
        super()._backend_update_step(grads, trainable_variables, learning_rate)

    def update_step(self, gradient: Tensor, variable: keras.Variable, learning_rate: Tensor) -> None:
        """Subtracts `learning_rate * gradient` from the variable, in place where the backend can."""
        if ON_TENSORFLOW:
            _subtract_in_place(variable, gradient, learning_rate)
        elif isinstance(gradient, RowGradient):
            step = ops.cast(gradient.values, variable.dtype) * ops.cast(learning_rate, variable.dtype)
            variable.assign(variable.value.at[gradient.rows].add(-step))
        elif ON_TORCH:
            variable.value.add_(gradient.to(variable.value.dtype), alpha=-float(learning_rate))
        else:
            super().update_step(gradient, variable, learning_rate)

    def takes_row_gradients(self) -> bool:
        """Whether `apply` takes the gradient of some rows: Keras' accumulation and scaling of gradients do not."""
        return not self.gradient_accumulation_steps and self.loss_scale_factor is None

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        config = super().get_config()
        for argument in ("momentum", "nesterov", "clipnorm", "clipvalue"):
            config.pop(argument)
        return config


def _check_single_replica() -> None:
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    if replicas > 1:
        raise ValueError(
            "ClippedSGD clips by the norm of one replica's gradients; use keras.optimizers.SGD(global_clipnorm=...). "
            f"Received: a strategy of {replicas} replicas"
        )


def _subtract_in_place(variable: keras.Variable, gradient: Tensor, learning_rate: Tensor) -> None:
    """`variable -= learning_rate * gradient` without a temporary the size of the variable."""
    value = variable.value if isinstance(variable, keras.Variable) else variable
    learning_rate = tf.cast(learning_rate, value.dtype)
    if isinstance(gradient, tf.IndexedSlices):
        value.scatter_sub(_summed_by_row(gradient, learning_rate))
    else:
        tf.raw_ops.ResourceApplyGradientDescent(
            var=value.handle, alpha=learning_rate, delta=tf.cast(gradient, value.dtype)
        )


def _summed_by_row(gradient: Any, learning_rate: Tensor) -> Any:
    """`learning_rate * gradient`, an IndexedSlices in which each row occurs once."""
    # The scatter would add the parts of a row in whatever order the threads run, so trainings with the same seed would
    # end with different weights. XLA's scatter on a CPU has a fixed order, and XLA compiles `tf.unique` to several
    # sorts and a loop over the rows.
    values, rows = tf.cast(gradient.values, learning_rate.dtype), gradient.indices
    if not compiled_by_xla():
        rows, row_of_slice = tf.unique(rows)
        values = tf.math.unsorted_segment_sum(values, row_of_slice, tf.size(rows))
    return tf.IndexedSlices(values * learning_rate, rows)
