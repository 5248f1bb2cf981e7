"""A step of Adam with weight decay that clips the global norm, for all variables together."""

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
    means: Tensors,
    squares: Tensors,
    gradients: Gradients,
    learning_rate: Tensor,
    step: Tensor,
    beta_1: float,
    beta_2: float,
    epsilon: float,
    global_clipnorm: float | None,
    *,
    weight_decays: Sequence[float] | None = None,
    averages: Tensors | None = None,
    average_momentum: Tensor = 0.0,
) -> tuple[Tensors, Tensors, Tensors, Tensors]:
    """Returns the variables after a step of Adam, as `keras.optimizers.AdamW` computes it.

    Kingma and Ba, 2015, "Adam: A Method for Stochastic Optimization", in the form before its section 2.1; Loshchilov
    and Hutter, 2019, "Decoupled Weight Decay Regularization". With the gradient `g` times `min(1, clip / ‖g‖)`:

        w ← w - learning_rate · weight_decay · w
        m ← m + (1 - beta_1) (g - m)
        v ← v + (1 - beta_2) (g² - v)
        w ← w - learning_rate · √(1 - beta_2ᵗ) / (1 - beta_1ᵗ) · m / (√v + epsilon)

    Weights, means m and squares v are lists of float32 tensors, and returned so, then the averages; the step t counts
    from 1. All else is as in `clipped_sgd`. A row without a gradient has zeros: its moments decay, and move it.
    """
    gradients = clipped_step.in_float32(gradients)
    learning_rate, momentum, step = (ops.cast(x, "float32") for x in (learning_rate, average_momentum, step))
    corrections = [1 - ops.power(ops.cast(beta, "float32"), step) for beta in (beta_1, beta_2)]
    alpha = learning_rate * ops.sqrt(corrections[1]) / corrections[0]
    if plan.implementation == "native":
        clip = -1.0 if global_clipnorm is None else global_clipnorm
        numbers = [learning_rate, clip, momentum, alpha, 1 - beta_1, 1 - beta_2, epsilon]
        (weights, means, squares), averages = clipped_step.call_native(
            "kerasptb_clipped_adamw_float32",
            [ops.cast(x, "float32") for x in numbers],
            [weights, means, squares],
            averages,
            gradients,
            weight_decays,
        )
        return weights, means, squares, averages
    factor = clipped_step.clipped(plan, 1.0, gradients, global_clipnorm)
    gradients = [factor * clipped_step.dense(g, w.shape) for g, w in zip(gradients, weights, strict=True)]
    means = [m + (g - m) * (1 - beta_1) for m, g in zip(means, gradients, strict=True)]
    squares = [v + (ops.square(g) - v) * (1 - beta_2) for v, g in zip(squares, gradients, strict=True)]
    weights = [
        w - alpha * m / (ops.sqrt(v) + epsilon)
        for w, m, v in zip(clipped_step.decayed(weights, learning_rate, weight_decays), means, squares, strict=True)
    ]
    return weights, means, squares, clipped_step.averaged(averages, weights, momentum)
