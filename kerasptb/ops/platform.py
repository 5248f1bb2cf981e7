"""What this process can run: the GPUs that Keras sees, and what the native library serves here."""

import dataclasses
from collections.abc import Callable

from kerasptb.compat.keras import torch_device
from kerasptb.native import loader
from kerasptb.ops import hosts
from kerasptb.ops.backend import ON_JAX, ON_TENSORFLOW, ON_TORCH, jax, tf
from kerasptb.utils.processors import available_processors

PRECISIONS = loader.PRECISIONS


def visible_gpus() -> list[int]:
    """Returns the numbers of the GPUs that Keras' backend runs on; an empty list if it runs on the processor."""
    if ON_TENSORFLOW:
        return [int(device.name.rsplit(":", 1)[1]) for device in tf.config.get_visible_devices("GPU")]
    if ON_JAX:
        # A device without a hardware number counts as the first.
        gpus = jax.local_devices() if jax.default_backend() == "gpu" else []
        return [max(device.local_hardware_id or 0, 0) for device in gpus]
    return [] if not ON_TORCH or torch_device().startswith("cpu") else [0]


def processors() -> str:
    """Returns what this process computes with, on which last bits depend, such as "avx2, threads: 4"."""
    state = hosts.status()
    kernels = state.reason if state.available else f"no native kernels, threads: {available_processors()}"
    return f"{len(gpus)} GPUs, {kernels}" if (gpus := visible_gpus()) else kernels


def why_not_native(precision: str = "float32") -> str | None:
    """Returns one line on why the native library serves no call of this precision in this process, or None."""
    state = hosts.status()
    if not state.available:
        return state.reason
    if gpus := visible_gpus():
        if ON_TORCH:
            return f"With Keras on PyTorch the native kernels are for processors. Received: {torch_device()}."
        if precision == "bfloat16x3":
            return "`precision='bfloat16x3'` is for CPUs: the kernels for GPUs compute in float32 and bfloat16."
        return next((reason for gpu in gpus if (reason := loader.why_not_cuda(gpu)) is not None), None)
    return loader.why_not_precision(precision)


def max_units(precision: str = "float32") -> int:
    """Returns the most units that the CUDA recurrence takes on every visible GPU, in float32 or bfloat16."""
    return min(loader.cuda_max_units(precision, gpu) for gpu in visible_gpus())


def drawback(precision: str | None) -> str | None:
    """Returns one line on the drawback of a precision that can be used in this process, or None."""
    return None if visible_gpus() else loader.drawback(precision)


@dataclasses.dataclass(frozen=True)
class Platform:
    """What a plan needs to know of a process. The functions are called only for calls that depend on them."""

    gpu: bool  # whether Keras runs on GPUs
    why_not_native: Callable[[str], str | None]  # of a precision, or None if the native library serves its calls
    max_units: Callable[[str], int] = max_units  # the most units of the CUDA recurrence in a precision
    # Of D and V, up to how many words a float32 kernel reads the matrix in place; on a processor.
    few_words_limit: Callable[[int, int], int] = loader.few_words_limit


def this_process() -> Platform:
    """Returns the `Platform` of this process."""
    return Platform(bool(visible_gpus()), why_not_native)
