"""A step of gradient descent that clips the global norm, for all variables together."""

import keras
from keras import ops

from kerasptb.ops import platform as platforms
from kerasptb.ops.global_norm import global_norm
from kerasptb.ops.plan import choose


def clipped_sgd(weights, gradients, learning_rate, global_clipnorm=None, backend="auto"):
    """Returns `w - learning_rate · min(1, clip / ‖g‖) · g` for each variable, with `‖g‖` over all gradients.

    Pascanu et al., 2013, "On the difficulty of training recurrent neural networks", section 3.2. A norm that is not
    finite gives NaN. As in `tf.clip_by_global_norm`, a row that occurs several times enters the norm once for each
    occurrence.

    The native kernel reads the gradients once for their norm and once, still in the cache, for the update. It updates
    the memory of `weights` itself if XLA compiles the step, and a copy of it otherwise.

    Args:
        weights: list of float32 tensors.
        gradients: for each of them a tensor of its shape; or, for a matrix [V, D], a pair of rows, int32 [N], and
            values, float [N, D], for the gradient of these rows, which is zero elsewhere. A row that occurs several
            times has the sum of its values; one outside [0, V) is left out.
        learning_rate: float scalar.
        global_clipnorm: largest norm; `None` does not clip.
        backend: one of `kerasptb.ops.plan.BACKENDS`; "keras" is "reference".

    Returns:
        List of float32 tensors, as `weights`.

    Raises:
        ValueError: if the backend is unknown, or is named and cannot serve the call.
        NativeUnavailableError: if `"native"` is named and the native library cannot be used.
    """
    chosen = plan(weights, [isinstance(g, tuple) for g in gradients], backend=backend).implementation
    gradients = [
        (ops.cast(g[0], "int32"), ops.cast(g[1], "float32")) if isinstance(g, tuple) else ops.cast(g, "float32")
        for g in gradients
    ]
    learning_rate = ops.cast(learning_rate, "float32")
    if chosen == "native":
        from kerasptb.ops.native import calls  # noqa: PLC0415  (imports private parts of TensorFlow: only when used)

        clip = -1.0 if global_clipnorm is None else global_clipnorm
        arguments, aliases, sized_by = [learning_rate, ops.cast(clip, "float32")], {}, None
        for i, (w, g) in enumerate(zip(weights, gradients, strict=True)):
            aliases[len(arguments)] = i
            arguments += [w, *g] if isinstance(g, tuple) else [w, g]
            sized_by = len(arguments) - 1 if isinstance(g, tuple) else sized_by  # the rows may be open
        shapes = [tuple(w.shape) for w in weights]
        return calls.call("kerasptb_clipped_sgd_float32", arguments, shapes, aliases, sized_by=sized_by)
    if global_clipnorm is not None:
        norm = global_norm([g[1] if isinstance(g, tuple) else g for g in gradients], chosen)
        learning_rate = clipped_rate(learning_rate, norm, global_clipnorm)
    return [w - learning_rate * _dense(g, w.shape) for w, g in zip(weights, gradients, strict=True)]


def clipped_rate(learning_rate, norm, global_clipnorm):
    """Returns `learning_rate · min(1, clip / norm)`, a scalar like these; NaN if the norm is not finite."""
    # An infinite norm gives NaN, as when every gradient is scaled. A factor of 0 would stop training silently.
    norm = ops.where(ops.isfinite(norm), norm, float("nan"))
    # For norms below the limit the factor is exactly 1, since max(norm, clip) is then clip itself.
    return learning_rate * (global_clipnorm / ops.maximum(norm, global_clipnorm))


def plan(weights, by_rows, *, backend="auto", platform=None):
    """Returns the `Plan` of a call of `clipped_sgd`.

    Args:
        weights: list of tensors or variables, of which shapes and dtypes are read.
        by_rows: for each of them, whether its gradient is that of some rows.
        backend: one of `kerasptb.ops.plan.BACKENDS`.
        platform: a `Platform`; `None` for this process's.
    """
    platform = platform or platforms.this_process()
    limits = ["The native kernel of clipped gradient descent is for processors."] if platform.gpu else []
    for w, rows in zip(weights, by_rows, strict=True):
        if (dtype := keras.backend.standardize_dtype(w.dtype)) != "float32":
            limits.append(f"The native backend updates float32 weights. Received: dtype={dtype}.")
        if rows and len(w.shape) != 2:
            limits.append(f"The native backend updates rows of matrices. Received: weights of shape {tuple(w.shape)}.")
    limit = None if backend in ("reference", "keras") else next(iter(limits), None)
    return choose(backend, limit=limit, platform=platform)


def _dense(gradient, shape):
    if not isinstance(gradient, tuple):
        return gradient
    rows, values = gradient
    inside = ops.cast((rows >= 0) & (rows < shape[0]), "float32")
    rows = ops.clip(rows, 0, shape[0] - 1)
    return ops.scatter(rows[:, None], values * inside[:, None], shape)
