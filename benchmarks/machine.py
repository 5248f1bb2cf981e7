"""The machine of a measurement: names and versions, and the rate of its matrix products."""

import csv
import ctypes
import datetime
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

# Settings for all contenders. By default glibc returns freed large blocks to the system, and a PyTorch step then gets
# 200 MB of new pages (50,000 faults, a third of its time). PyTorch's guides recommend jemalloc or tcmalloc against
# this. These settings of glibc have the same effect, with nothing to install.
ALLOCATOR = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "8589934592",
    "MALLOC_TOP_PAD_": "268435456",
}
# These keep each library from using more than AVX2: ours, oneDNN (in TensorFlow and PyTorch), PyTorch, MKL and XLA.
_AVX2 = {
    "KERASPTB_CPU": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "XLA_FLAGS": "--xla_cpu_max_isa=AVX2",
}
_WIDEST = {"amx_bf16": "AMX", "avx512_bf16": "AVX512-BF16", "avx512f": "AVX-512"}


def add_options(parser, contenders):
    """Adds what benchmarks of contenders have in common; `contenders`: dict from name to (precision, function)."""
    parser.add_argument("--only", nargs="+", choices=contenders, default=list(contenders), metavar="NAME")
    parser.add_argument("--avx2", action="store_true", help="hold all float32 contenders to AVX2, and run no others")
    parser.add_argument("--csv", type=Path, help="file to write the table to")


def begin(options, contenders):
    """Returns the names of the contenders to run, and prints the machine; before any framework is imported."""
    precisions = {name: contenders[name][0] for name in options.only}
    if options.avx2:
        os.environ.update(_AVX2)  # of this process and of those that it starts
        precisions = {name: precision for name, precision in precisions.items() if precision == "float32"}
    names = that_run_here(precisions)
    print(", ".join(f"{key} {value}" for key, value in describe().items()))
    return names


def that_run_here(precisions):
    """Returns the contenders' names without those of ours that this machine cannot run; prints each of these, and why.

    Takes a dict from name to precision. Ends the program if our float32 kernels cannot run, because the rest would
    only compare the others, for minutes.
    """
    from kerasptb.cli.notices import import_keras  # noqa: PLC0415  (a contender's process imports its own framework only)

    import_keras()
    from kerasptb.ops import platform as platforms  # noqa: PLC0415

    kept = []
    for name, precision in precisions.items():
        reason = platforms.why_not_native(precision) if name.startswith("kerasptb, native") else None
        if reason and precision == "float32":
            sys.exit(f"{name}: {reason}")
        if reason:
            print(f"{name}: left out: {reason}")
        else:
            kept.append(name)
    return kept


def describe():
    """Returns the machine's processor, cores and the versions in use, as a dict of strings."""
    versions = {}
    for package in ("tensorflow", "jax", "jaxlib", "keras", "tf-keras", "torch", "numpy"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    limit = ", held to AVX2" if os.environ.get("KERASPTB_CPU") == "avx2" else ""
    return {
        "processor": processor() + limit,
        "cores": str(len(os.sched_getaffinity(0))),
        "python": platform.python_version(),
    } | versions


def quantiles(rounds):
    """Returns the median and quantiles in ms of the seconds of several rounds, a list of lists, and the best round's.

    A disturbance may last a whole round, so contenders are compared by the best of their rounds' medians.
    """
    low, median, high = (1e3 * float(ms) for ms in np.quantile(np.concatenate(rounds), [0.1, 0.5, 0.9]))
    return {
        "ms_median": median,
        "ms_p10": low,
        "ms_p90": high,
        "ms_best_round": 1e3 * float(min(map(np.median, rounds))),
    }


def with_allocator(module):
    """Starts `python -m module` again with `ALLOCATOR`, which glibc reads when a process begins, unless it is set."""
    if not ALLOCATOR.keys() <= os.environ.keys():
        os.execve(sys.executable, [sys.executable, "-m", module, *sys.argv[1:]], {**ALLOCATOR, **os.environ})


def matrix_rates(repeats=10, size=2048):
    """Measures the framework's own matrix products: the median rate in FLOP/s by dtype, float32 and bfloat16.

    Limited to AVX2, oneDNN has no bfloat16 products, and ends the process if one is requested.
    """
    import tensorflow as tf  # noqa: PLC0415  (a contender's process imports its own framework only)

    rates = {}
    avx2 = os.environ.get("ONEDNN_MAX_CPU_ISA") == _AVX2["ONEDNN_MAX_CPU_ISA"]
    for dtype in ("float32",) if avx2 else ("float32", "bfloat16"):
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


def best_rates(*measured):
    """Returns each dtype's highest rate: a floor is about the machine while nobody else uses it."""
    return {dtype: max(rates.get(dtype, 0.0) for rates in measured) for dtype in measured[-1]}


def write_csv(path, rows, **about):
    """Writes rows, a list of dicts, as a table, with `about`, date, machine and versions in each row."""
    about = {"date": f"{datetime.date.today()}", **about, **describe()}
    with Path(path).open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], *about])
        writer.writeheader()
        writer.writerows(row | about for row in rows)


def gpu():
    """Returns what the CUDA driver says of the first GPU that is visible, as a dict; None without a driver or a GPU.

    Keys: "name", "compute_capability", "driver_cuda" (the CUDA version that the driver serves), "multiprocessors",
    "l2_bytes", "memory_bytes" and "nominal_gigabytes_per_second" of its memory.
    """
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    device, number, size = ctypes.c_int(), ctypes.c_int(), ctypes.c_size_t()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(number)) or not number.value:
        return None
    driver.cuDeviceGet(ctypes.byref(device), 0)
    name = ctypes.create_string_buffer(256)
    driver.cuDeviceGetName(name, 256, device)
    driver.cuDeviceTotalMem_v2(ctypes.byref(size), device)
    driver.cuDriverGetVersion(ctypes.byref(number))
    version = number.value

    def attribute(which):
        return 0 if driver.cuDeviceGetAttribute(ctypes.byref(number), which, device) else number.value

    # The numbers are those of CUdevice_attribute. The memory's clock is in kHz, and it moves two bits a line and cycle.
    rate = 2 * 1e3 * attribute(36) * attribute(37) / 8
    return {
        "name": name.value.decode(),
        "compute_capability": f"{attribute(75)}.{attribute(76)}",
        "driver_cuda": f"{version // 1000}.{version % 1000 // 10}",
        "multiprocessors": attribute(16),
        "l2_bytes": attribute(38),
        "memory_bytes": size.value,
        "nominal_gigabytes_per_second": round(rate / 1e9) or None,
    }


def nvidia_smi():
    """Returns driver, clocks (MHz) and power (W) of the first GPU as `nvidia-smi` has them now; empty without it."""
    fields = (
        "driver_version",
        "clocks.sm",
        "clocks.max.sm",
        "clocks.mem",
        "clocks.max.mem",
        "power.draw",
        "power.limit",
    )
    if (program := shutil.which("nvidia-smi")) is None:
        return {}
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0] or "0"
    command = [program, f"--id={first}", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    values = [value.strip() for value in result.stdout.strip().split(",")]
    return dict(zip(fields, values, strict=True)) if len(values) == len(fields) else {}


def processor():
    """Returns the processor's name, its family and model where x86 has them, and its widest matrix instructions."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    fields = dict(re.findall(r"^([^\t:]+?)\s*:\s*(.*)$", text, flags=re.MULTILINE))
    flags = fields.get("flags", "").split()
    widest = next((name for flag, name in _WIDEST.items() if flag in flags), "no AVX-512")
    # Clouds may give all processors of a maker the same name; family and model distinguish Zen 4 from Zen 5.
    numbers = f", family {fields['cpu family']} model {fields['model']}" if "cpu family" in fields else ""
    return f"{fields.get('model name', platform.machine())}{numbers} ({widest})"
