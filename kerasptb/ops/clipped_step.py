"""What `clipped_sgd` and `clipped_adamw` have in common: clipping, weight decay, averages, the native call."""

from collections.abc import Sequence

import keras
from keras import ops

from kerasptb.ops import calls
from kerasptb.ops import platform as platforms
from kerasptb.ops.global_norm import run as run_global_norm
from kerasptb.ops.plan import Plan, choose
from kerasptb.ops.types import Gradients, Shape, Tensors
from kerasptb.utils.types import Backend, Tensor


def plan(
    shapes: Sequence[Shape],
    dtypes: Sequence[str],
    by_rows: Sequence[bool],
    *,
    backend: Backend = "auto",
    platform: platforms.Platform | None = None,
) -> Plan:
    """Returns the `Plan` of a step of all variables; `by_rows` says whether each gradient is that of some rows."""
    platform = platform or platforms.this_process()
    limits = {"The native kernels that update all variables are for processors.": platform.gpu}
    for shape, dtype, rows in zip(shapes, dtypes, by_rows, strict=True):
        if dtype != "float32":
            limits[f"The native backend updates float32 weights. Received: dtype={dtype}."] = True
        if rows and len(shape) != 2:
            limits[f"The native backend updates rows of matrices. Received: weights of shape {shape}."] = True
    return choose(backend, limits=limits, platform=platform)


def plan_of(weights: Tensors, gradients: Gradients, backend: Backend = "auto") -> Plan:
    """Returns the `Plan` of a step of these tensors or variables, from gradients as `clipped_sgd.run` takes them."""
    return plan(
        [tuple(w.shape) for w in weights],
        [keras.backend.standardize_dtype(w.dtype) for w in weights],
        [isinstance(g, tuple) for g in gradients],
        backend=backend,
    )


def in_float32(gradients: Gradients) -> Gradients:
    """Returns the gradients in float32, and their rows in int32."""
    return [
        (ops.cast(g[0], "int32"), ops.cast(g[1], "float32")) if isinstance(g, tuple) else ops.cast(g, "float32")
        for g in gradients
    ]


def clipped_rate(learning_rate: Tensor, norm: Tensor, global_clipnorm: float) -> Tensor:
    """Returns `learning_rate · min(1, clip / norm)`, a scalar like these; NaN if the norm is not finite."""
    # An infinite norm gives NaN, as when every gradient is scaled. A factor of 0 would stop training silently.
    norm = ops.where(ops.isfinite(norm), norm, float("nan"))
    # For norms below the limit the factor is exactly 1, since max(norm, clip) is then clip itself.
    return learning_rate * (global_clipnorm / ops.maximum(norm, global_clipnorm))


def clipped(plan: Plan, rate: Tensor, gradients: Gradients, global_clipnorm: float | None) -> Tensor:
    """Returns `rate · min(1, clip / ‖g‖)`, with the norm over all gradients; `rate` without a limit."""
    if global_clipnorm is None:
        return rate
    norm = run_global_norm(plan, [g[1] if isinstance(g, tuple) else g for g in gradients])
    return clipped_rate(rate, norm, global_clipnorm)


def dense(gradient: Tensor | tuple[Tensor, Tensor], shape: Shape) -> Tensor:
    """Returns a gradient of that shape, zero in the rows that it has none for."""
    if not isinstance(gradient, tuple):
        return gradient
    rows, values = gradient
    inside = ops.cast((rows >= 0) & (rows < shape[0]), "float32")
    rows = ops.clip(rows, 0, shape[0] - 1)
    return ops.scatter(rows[:, None], values * inside[:, None], shape)


def decayed(weights: Tensors, learning_rate: Tensor, weight_decays: Sequence[float] | None) -> list[Tensor]:
    """Returns `w - learning_rate · weight_decay · w` for each variable that decays, and `w` for the others."""
    decays = weight_decays or [0.0] * len(weights)
    return [w - learning_rate * decay * w if decay else w for w, decay in zip(weights, decays, strict=True)]


def averaged(averages: Tensors | None, weights: Tensors, momentum: Tensor) -> list[Tensor]:
    """Returns `momentum · average + (1 - momentum) · w` for each variable; an empty list for `None`."""
    if averages is None:
        return []
    return [w + momentum * (average - w) for average, w in zip(averages, weights, strict=True)]


def call_native(
    target: str,
    scalars: Tensors,
    arrays: Sequence[Tensors],
    averages: Tensors | None,
    gradients: Gradients,
    weight_decays: Sequence[float] | None,
) -> tuple[list[list[Tensor]], list[Tensor]]:
    """Runs a native step (`optimizers/trained_variable.h`); returns the new arrays, and the averages, empty for none.

    The arrays are lists of the variables' tensors: the weights, then the optimizer's own.
    """
    weights, *state = arrays
    updated = [weights, *([] if averages is None else [averages]), *state]
    decays = ops.convert_to_tensor(weight_decays or [0.0] * len(weights), "float32")
    arguments = [ops.stack(scalars), ops.reshape(decays, [-1])]
    aliases: dict[int, int] = {}
    shapes: list[Shape] = []
    sized_by = None
    for *slots, gradient in zip(*updated, gradients, strict=True):
        for array in slots:
            aliases[len(arguments)] = len(shapes)
            shapes.append(tuple(array.shape))
            arguments.append(array)
        arguments += gradient if isinstance(gradient, tuple) else [gradient]
        sized_by = len(arguments) - 1 if isinstance(gradient, tuple) else sized_by  # the rows may be open
    attributes = {"averages": averages is not None}
    results = calls.call(target, arguments, shapes, aliases, attributes, sized_by)
    columns = [list(results[i :: len(updated)]) for i in range(len(updated))]
    return [columns[0], *columns[len(updated) - len(state) :]], [] if averages is None else columns[1]
