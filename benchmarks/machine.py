"""What a measurement ran on: names and versions, and the machine's own matrix rate."""

import importlib.metadata
import os
import platform
import time
from pathlib import Path

# A training step of the notebook model: multiply-adds per word of the five matrix products, forward.
MACS_PER_WORD = 200 * 1024 + 256 * 1024 + 256 * 512 + 128 * 512 + 128 * 10000


def training_flops(num_words):
    """Floating-point operations of a training step's matrix products: forward, and twice that backward."""
    return 3 * 2 * MACS_PER_WORD * num_words


def describe():
    """Returns the machine's processor, cores and the versions in use, as a dict of strings."""
    versions = {}
    for package in ("tensorflow", "jax", "jaxlib", "keras", "tf-keras", "torch", "numpy"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "python": platform.python_version(),
    } | versions


def matrix_rates(repeats=10, size=2048):
    """Measures the framework's own matrix products: the median rate in FLOP/s by dtype, float32 and bfloat16."""
    import tensorflow as tf  # noqa: PLC0415  (a contender's process imports its own framework only)

    rates = {}
    for dtype in ("float32", "bfloat16"):
        a, b = (tf.cast(tf.random.normal((size, size), seed=seed), dtype) for seed in (0, 1))
        product = tf.function(lambda a=a, b=b: tf.matmul(a, b))
        product()
        seconds = []
        for _ in range(repeats):
            begin = time.perf_counter()
            product().numpy()
            seconds.append(time.perf_counter() - begin)
        rates[dtype] = 2 * size**3 / sorted(seconds)[len(seconds) // 2]
    return rates


def _processor():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    flags = next((line.split(":")[1].split() for line in lines if line.startswith("flags")), [])
    return f"{name} ({'AMX' if 'amx_bf16' in flags else 'AVX-512' if 'avx512f' in flags else 'no AVX-512'})"
