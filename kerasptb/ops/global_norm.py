"""The norm of many tensors together."""

from collections.abc import Sequence

from keras import ops

from kerasptb.ops import calls
from kerasptb.ops import platform as platforms
from kerasptb.ops.backend import ON_TENSORFLOW, tf
from kerasptb.ops.plan import Plan, choose
from kerasptb.ops.types import Shape, Tensors
from kerasptb.utils.types import Backend, Tensor


def global_norm(tensors: Tensors, backend: Backend = "auto") -> Tensor:
    """Returns the square root of the sum of squares of all float tensors, a float32 scalar; it may be infinite."""
    return run(plan([tuple(x.shape) for x in tensors], backend=backend), tensors)


def plan(shapes: Sequence[Shape], *, backend: Backend = "auto", platform: platforms.Platform | None = None) -> Plan:
    """Returns the `Plan` of a call; the tensors' shapes have None for unknown sizes."""
    platform = platform or platforms.this_process()
    unknown = next((shape for shape in shapes if None in shape), None)
    limits = {
        "The native kernel of the global norm is for processors.": platform.gpu,
        f"The native backend needs static shapes. Received: a tensor of shape {unknown}.": unknown is not None,
    }
    return choose(backend, limits=limits, platform=platform)


def run(plan: Plan, tensors: Tensors) -> Tensor:
    """Computes the norm of a list of float tensors as planned, by this `plan` or that of the step it is part of."""
    tensors = [ops.cast(x, "float32") for x in tensors]
    if plan.implementation == "native":
        # One operation that keeps all cores busy. Of TensorFlow's, one for each tensor, those of the layers above run
        # while a layer's gradient should, and wait for each other: at the notebook's sizes a step took 1 ms longer.
        return calls.call("kerasptb_global_norm_float32", tensors, [()])[0]
    if plan.implementation == "keras" and ON_TENSORFLOW and tensors:
        # l2_loss needs one pass over each tensor; a square and a sum would need two and a temporary.
        return ops.sqrt(2.0 * tf.add_n([tf.nn.l2_loss(x) for x in tensors]))
    return ops.sqrt(sum((ops.sum(ops.square(x)) for x in tensors), start=ops.zeros((), "float32")))
