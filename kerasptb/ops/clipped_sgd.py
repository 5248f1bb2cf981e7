"""A step of gradient descent that clips the global norm, for all variables together."""

from collections.abc import Sequence

from keras import ops

from kerasptb.ops import clipped_step
from kerasptb.ops.plan import Plan
from kerasptb.ops.types import Gradients, Tensors
from kerasptb.utils.types import Tensor

plan = clipped_step.plan


def run(
    plan: Plan,
    weights: Tensors,
    gradients: Gradients,
    learning_rate: Tensor,
    global_clipnorm: float | None = None,
    *,
    weight_decays: Sequence[float] | None = None,
    averages: Tensors | None = None,
    average_momentum: Tensor = 0.0,
) -> tuple[list[Tensor], list[Tensor]]:
    """Returns `w - learning_rate · min(1, clip / ‖g‖) · g` for each variable, `‖g‖` over all gradients; and averages.

    Pascanu et al., 2013, "On the difficulty of training recurrent neural networks", section 3.2. A norm that is not
    finite gives NaN. Variables are float32 tensors. A gradient has its variable's shape, or is a pair of rows, int32
    [N], and values, float [N, D], of a matrix [V, D]. A row that occurs several times has the sum of its values, and as
    in `tf.clip_by_global_norm` enters the norm once for each occurrence; one outside [0, V) is left out.

    The options are `weight_decays`, floats by which a variable decays before the step, `w ← w - learning_rate ·
    weight_decay · w`; and `averages`, tensors that become `momentum · average + (1 - momentum) · w` after it, with
    `average_momentum`. Each is `None` for none.
    """
    gradients = clipped_step.in_float32(gradients)
    learning_rate, momentum = (ops.cast(x, "float32") for x in (learning_rate, average_momentum))
    if plan.implementation == "native":
        clip = ops.cast(-1.0 if global_clipnorm is None else global_clipnorm, "float32")
        numbers = [learning_rate, clip, momentum]
        (updated,), means = clipped_step.call_native(
            "kerasptb_clipped_sgd_float32", numbers, [weights], averages, gradients, weight_decays
        )
        return updated, means
    rate = clipped_step.clipped(plan, learning_rate, gradients, global_clipnorm)
    weights = clipped_step.decayed(weights, learning_rate, weight_decays)
    weights = [w - rate * clipped_step.dense(g, w.shape) for w, g in zip(weights, gradients, strict=True)]
    return weights, clipped_step.averaged(averages, weights, momentum)
