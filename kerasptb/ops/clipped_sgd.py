"""A step of gradient descent that clips the global norm, for all variables together."""

from keras import ops

from kerasptb.ops import clipped_step

plan = clipped_step.plan


def run(
    plan,
    weights,
    gradients,
    learning_rate,
    global_clipnorm=None,
    *,
    weight_decays=None,
    averages=None,
    average_momentum=0.0,
):
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
        (weights,), averages = clipped_step.call_native(
            "kerasptb_clipped_sgd_float32", numbers, [weights], averages, gradients, weight_decays
        )
        return weights, averages
    rate = clipped_step.clipped(plan, learning_rate, gradients, global_clipnorm)
    weights = clipped_step.decayed(weights, learning_rate, weight_decays)
    weights = [w - rate * clipped_step.dense(g, w.shape) for w, g in zip(weights, gradients, strict=True)]
    return weights, clipped_step.averaged(averages, weights, momentum)
