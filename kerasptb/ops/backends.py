"""The implementations of an operation, and which of them can be used here.

| backend | what runs |
|---|---|
| `"reference"` | a few plain lines of `keras.ops`: the specification |
| `"keras"` | what Keras itself would run, cuDNN included |
| `"native"` | the native library's kernels: for processors, and for NVIDIA GPUs of compute capability 9.0 and later |
| `"auto"` | `"native"` where it can serve the call, else `"keras"` |

A backend asked for by name is used or raises; only `"auto"` chooses.
"""

import warnings

import keras

from kerasptb.ops.native import loader

BACKENDS = ("auto", "reference", "keras", "native")
PRECISIONS = loader.PRECISIONS


def check_names(backend, precision):
    """Raises ValueError unless both are names of the tables above."""
    if backend not in BACKENDS:
        raise ValueError(f"`backend` must be one of {BACKENDS}. Received: backend={backend!r}")
    if precision not in PRECISIONS:
        raise ValueError(f"`precision` must be one of {PRECISIONS}. Received: precision={precision!r}")
    if precision != "float32" and backend in ("reference", "keras"):
        raise ValueError(
            f'`precision={precision!r}` is available only with backend="native" or "auto". '
            f"Received: backend={backend!r}, precision={precision!r}"
        )


def visible_gpus():
    """Returns the numbers of the GPUs that Keras' backend runs on; an empty list if it runs on the processor."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf  # noqa: PLC0415  (the other Keras backends do without)

        return [int(device.name.rsplit(":", 1)[1]) for device in tf.config.get_visible_devices("GPU")]
    if keras.backend.backend() == "jax":
        import jax  # noqa: PLC0415  (the other Keras backends do without)

        # A device without a hardware number counts as the first.
        gpus = jax.local_devices() if jax.default_backend() == "gpu" else []
        return [max(device.local_hardware_id or 0, 0) for device in gpus]
    return []


def native_obstacle(precision="float32"):
    """Returns one line on why the native library serves no call of this precision in this process, or None."""
    state = loader.status()
    if not state.available:
        return state.reason
    if gpus := visible_gpus():
        if precision == "bfloat16x3":
            return "`precision='bfloat16x3'` is for CPUs: the kernels for GPUs compute in float32 and bfloat16."
        return next((obstacle for gpu in gpus if (obstacle := loader.cuda_obstacle(gpu)) is not None), None)
    if precision != "float32" and (level := loader.cpu_level()) not in loader.BFLOAT16_LEVELS:
        missing = "".join(f" The library was built without {part}." for part in loader.levels_left_out())
        return (
            f"`precision={precision!r}` needs a processor with AVX512-BF16 or AMX. "
            f"This one is used as {level!r}.{missing}"
        )
    return None


def dtype_obstacle(policy, precision="float32"):
    """Returns one line on why the native library cannot serve layers with a dtype policy, or None if it can."""
    rounded_by_kernels = policy.name == "mixed_bfloat16" and precision == "bfloat16"
    if policy.compute_dtype == "float32" or rounded_by_kernels:
        return None
    return f"The native backend takes float32. Received: dtype policy {policy.name}."


def precision_note(precision):
    """Returns one line on the drawback of a precision that can be used in this process, or None."""
    if precision == "bfloat16x3" and not visible_gpus() and loader.cpu_level() == "avx512bf16":
        # It needs three bfloat16 products, each only twice as fast as a float32 one; with AMX four times or more.
        return "slower than float32 on this processor, which has AVX512-BF16 but no AMX"
    return None


def precision_of_policy(backend="auto", policy=None):
    """Returns the default precision of the matrix products, used where none was named.

    Args:
        backend: one of `BACKENDS`.
        policy: a Keras dtype policy; `None` for the global one.

    Returns:
        `"bfloat16"` under the policy `mixed_bfloat16`, if the backend is `"native"`, or is `"auto"` and the native
        library supports bfloat16 in this process; else `"float32"`.
    """
    policy = keras.config.dtype_policy() if policy is None else policy
    native = backend == "native" or (backend == "auto" and native_obstacle("bfloat16") is None)
    return "bfloat16" if native and policy.name == "mixed_bfloat16" else "float32"


def most_units(precision="float32"):
    """Returns the most units that the CUDA recurrence takes on every visible GPU, in float32 or bfloat16."""
    return min(loader.cuda_most_units(precision, gpu) for gpu in visible_gpus())


def units_obstacle(units, precision="float32"):
    """Returns one line on why the native recurrence cannot have this many units in this process.

    Returns None if it can, or if it serves no call of this precision at all, which `native_obstacle` explains.
    """
    if not visible_gpus() or native_obstacle(precision) is not None:
        return None
    # Sizes that fit in float32 also fit in bfloat16 on every GPU, so the driver need not be asked.
    if units <= most_units() or units <= (most := most_units(precision)):
        return None
    return f"The native backend takes at most {most} units in {precision} on this GPU. Received: units={units}."


def replacements(config):
    """Returns a dict with the values that this process must replace of "backend" and "precision" in a saved config.

    A model can thus be loaded where its backend or precision is not available; a warning says what is replaced.
    """
    backend, precision = config.get("backend", "auto"), config.get("precision") or "float32"
    replaced = {}
    if precision != "float32" and (obstacle := native_obstacle(precision)) is not None:
        replaced["precision"] = "float32"
    if backend == "native" and (missing := native_obstacle()) is not None:
        replaced["backend"], obstacle = "auto", missing
    if replaced:
        values = ", ".join(f"{argument}={value!r}" for argument, value in replaced.items())
        warnings.warn(f"Loaded with {values}: {obstacle}", stacklevel=3)
    return replaced


def resolve(backend, precision="float32", obstacle=None):
    """Returns the backend that serves a call.

    Args:
        backend: one of `BACKENDS`.
        precision: one of `PRECISIONS`.
        obstacle: a sentence on why only Keras' own implementation can serve this call; `None` if others can too.

    Returns:
        `"reference"`, `"keras"` or `"native"`.

    Raises:
        ValueError: for unknown names, or if the obstacle prevents the named backend from serving the call.
        NativeUnavailableError: if `"native"`, or a precision that only it has, is named and it cannot be used.
    """
    check_names(backend, precision)
    if backend == "keras":
        return "keras"
    named = backend != "auto" or precision != "float32"
    others = 'backend="auto" or "keras"' if precision == "float32" else 'precision="float32"'
    if obstacle is not None:
        if named:
            raise ValueError(f"{obstacle} Use {others}. Received: backend={backend!r}, precision={precision!r}")
        return "keras"
    if backend == "reference":
        return "reference"
    if (problem := native_obstacle(precision)) is None:
        return "native"
    if named:
        raise loader.NativeUnavailableError(
            f"{problem} Use {others}. Received: backend={backend!r}, precision={precision!r}"
        )
    return "keras"
