"""Adam with decoupled weight decay that clips the gradients' global norm."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from kerasptb.ops.backend import ON_TENSORFLOW, tf
from kerasptb.ops.clipped_adamw import run as run_clipped_adamw
from kerasptb.ops.clipped_step import clipped_rate
from kerasptb.ops.plan import Plan
from kerasptb.ops.types import Gradients, Tensors
from kerasptb.optimizers.one_pass import OnePassStep, RowGradient, norm_of_gradients
from kerasptb.utils.types import Tensor


@keras.saving.register_keras_serializable(package="kerasptb")
class ClippedAdamW(OnePassStep, keras.optimizers.AdamW):
    """`keras.optimizers.AdamW` that clips the global norm of the gradients.

    Loshchilov and Hutter, 2019, "Decoupled Weight Decay Regularization"; Kingma and Ba, 2015, "Adam". The update is
    Keras': `w ← w - lr · weight_decay · w`, then Adam's step from the gradients times `min(1, clip / ‖g‖)`. Biases do
    not decay, unless `exclude_from_weight_decay` is called anew. A step that XLA compiles is one native operation for
    all variables. As in `tf.clip_by_global_norm`, a row that occurs several times in a sparse gradient enters the norm
    once for each occurrence.

    Args:
        learning_rate: step size; a float, or a `keras.optimizers.schedules.LearningRateSchedule`, such as `OneCycle`.
        weight_decay: rate of the decay, relative to the learning rate; `None` or 0 does not decay.
        beta_1: decay of the mean of the gradients.
        beta_2: decay of the mean of their squares.
        epsilon: added to the root of the mean of squares.
        global_clipnorm: largest global norm of the gradients; `None`, or 0 as in Keras, does not clip.
        polyak_averaging: whether to keep the mean of the weights, see `callbacks.AveragedWeights`.
        name: name of the optimizer.
        **kwargs: further arguments of `keras.optimizers.AdamW`.

    Raises:
        ValueError: for a clip norm below 0, or NaN.
    """

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule = 0.001,
        weight_decay: float | None = 0.01,
        beta_1: float = 0.9,
        beta_2: float = 0.99,
        epsilon: float = 1e-7,
        global_clipnorm: float | None = 5.0,
        polyak_averaging: bool = False,
        name: str = "clipped_adamw",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            learning_rate=learning_rate,
            weight_decay=weight_decay or 0.0,  # Keras' AdamW takes no `None`
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            global_clipnorm=global_clipnorm,
            polyak_averaging=polyak_averaging,
            name=name,
            **kwargs,
        )
        # With TensorFlow the names are paths, such as "debiased/kernel:0"; a normalised LSTM has a "state_bias".
        self.exclude_from_weight_decay(var_names=[r"(^|/|_)bias(:\d+)?$"])

    def _clip_gradients(self, grads: Sequence[Any]) -> Sequence[Any]:
        if self.global_clipnorm is None or not any(isinstance(gradient, RowGradient) for gradient in grads):
            return super()._clip_gradients(grads)
        factor = clipped_rate(1.0, norm_of_gradients(grads), self.global_clipnorm)
        return [_times(gradient, factor) for gradient in grads]

    def update_step(self, gradient: Tensor, variable: keras.Variable, learning_rate: Tensor) -> None:
        """Does Keras' step, from a dense gradient."""
        if ON_TENSORFLOW:
            # Of a row that occurs several times in a sparse gradient, Keras' Adam would square each part by itself.
            gradient = tf.convert_to_tensor(gradient)
        elif isinstance(gradient, RowGradient):
            gradient = ops.zeros_like(variable.value).at[gradient.rows].add(gradient.values)
        super().update_step(gradient, variable, learning_rate)

    def _plan_of_one_pass(self, gradients: Sequence[Any], variables: Sequence[Any]) -> Plan | None:
        return None if self.amsgrad else super()._plan_of_one_pass(gradients, variables)

    def _slot_lists(self) -> list[list[keras.Variable]]:
        return [self._momentums, self._velocities]

    def _updated(
        self,
        plan: Plan,
        arrays: Sequence[Tensors],
        gradients: Gradients,
        learning_rate: Tensor,
        **options: Any,
    ) -> tuple[Sequence[Tensors], Tensors]:
        numbers = (learning_rate, self.iterations + 1, self.beta_1, self.beta_2, self.epsilon)
        weights, means, squares = arrays
        *updated, averages = run_clipped_adamw(plan, weights, means, squares, gradients, *numbers, **options)
        return updated, averages


def _times(gradient: Any, factor: Tensor) -> Any:
    if isinstance(gradient, RowGradient):
        return gradient._replace(values=_times(gradient.values, factor))
    return gradient * ops.cast(factor, gradient.dtype)
