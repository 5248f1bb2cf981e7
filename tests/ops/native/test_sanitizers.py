"""Kernels that look for wrong memory accesses, undefined behaviour and races while they run."""

import concurrent.futures
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from kerasptb.ops import native
from kerasptb.ops.native import build

FLAGS = "-fsanitize=address,undefined -g -O1 -fno-omit-frame-pointer -fno-sanitize-recover=undefined"
OPS = Path(__file__).parent.parent

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("level", ["avx2", "avx512bf16", "amx"])
def test_no_sanitizer_speaks(native_library, emulated_amx, level, monkeypatch):
    compiler = build.find_compiler()
    flags = FLAGS
    if native.cpu_level() == "avx512bf16":
        flags += f" {emulated_amx}"
    monkeypatch.setenv("KERASPTB_CXXFLAGS", flags)
    monkeypatch.setenv("KERASPTB_NVCC", "")  # CUDA code needs a GPU to run
    build.build()
    # The runtimes must be loaded first, and libstdc++ with them, so that the first finds the functions to intercept.
    runtimes = [
        subprocess.run(
            [*compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=True
        ).stdout.strip()
        for name in ("libasan.so", "libubsan.so", "libstdc++.so.6")
    ]
    environment = os.environ | {
        "LD_PRELOAD": " ".join(runtimes),
        # Not the leaks: TensorFlow has its own, at exit. Nor the use of frames after a return: the frames that the
        # sanitizer then makes are not aligned to the 64 bytes that g++'s stores of vectors into them expect.
        "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0",
        "KERASPTB_CPU": level,
        "KERASPTB_THREADS": "3",
        "XLA_FLAGS": "--xla_backend_optimization_level=0",  # it is not XLA's code that is looked at
    }
    # The sanitizer takes minutes for the allocations of XLA's compiler.
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-k", "not jit", "-m", "not slow", "-p", "no:cacheprovider"]
    kernels = [
        OPS / "native" / f"test_{name}.py" for name in ("lstm_layer", "linear_cross_entropy", "softmax_cross_entropy")
    ]
    names = ["bfloat16"]
    if level != "amx":  # there these take the kernels of avx512 too, see KERASPTB_DISPATCH in common/cpu.h
        names += ["lstm", "global_norm", "clipped_sgd", "clipped_adamw", "dropout"]
    operations = [OPS / f"test_{name}.py" for name in names]
    result = subprocess.run(
        [*command, *operations, *kernels], env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "runtime error" not in result.stdout + result.stderr


@pytest.fixture(scope="module")
def races(native_library, emulated_amx, tmp_path_factory):
    """The program of `races.cc` and all kernels, with the thread sanitizer."""
    folder, compiler = tmp_path_factory.mktemp("races"), build.find_compiler()
    flags = ["-O1", "-g", "-fsanitize=thread", f"-I{build.SOURCES}"]
    if native.cpu_level() == "avx512bf16":
        flags += shlex.split(emulated_amx)
    units = [unit for unit in build.translation_units() if not unit[0].startswith(("ffi", "cuda"))]
    units.append(("races", Path(__file__).parent / "races.cc", ()))

    def compile_unit(unit):
        name, source, own_flags = unit
        command = [*compiler, *build.COMMON_FLAGS, *own_flags, *flags, "-c", str(source), "-o", f"{folder}/{name}.o"]
        subprocess.run(command, check=True, capture_output=True, text=True)

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(compile_unit, units))
    link = [*compiler, *flags, "-pthread", *map(str, folder.glob("*.o")), "-o", str(folder / "races")]
    subprocess.run(link, check=True, capture_output=True, text=True)
    return folder / "races"


@pytest.mark.parametrize("level", ["avx2", "avx512", "avx512bf16", "amx"])
def test_no_threads_race(races, level):
    environment = os.environ | {"KERASPTB_CPU": level, "KERASPTB_THREADS": "4"}
    result = subprocess.run([races], env=environment, capture_output=True, text=True, check=False)
    if (found := result.stdout.strip()) != level and result.returncode == 0:
        pytest.skip(f"this processor has no {level}, but {found}")
    assert (result.returncode, result.stderr) == (0, "")
