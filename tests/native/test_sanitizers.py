"""Kernels that look for wrong memory accesses, undefined behaviour and races while they run."""

import concurrent.futures
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from kerasptb import native
from kerasptb.native import build

# Checks as calls, not inline, and lines alone for the debugger: both save most of the time that the compiler takes.
FLAGS = (
    "-fsanitize=address,undefined --param asan-instrumentation-with-call-threshold=0 "
    "-g1 -O1 -fno-omit-frame-pointer -fno-sanitize-recover=undefined"
)
NATIVE = Path(__file__).parent
TESTS, OPS = NATIVE.parent, NATIVE.with_name("ops")
PYTEST = ["-m", "pytest", "-q", "-s", "-p", "no:cacheprovider"]
# Which level has kernels of its own: see KERASPTB_DISPATCH in common/cpu.h.
IN_FLOAT32 = [
    *("ops/test_lstm.py", "ops/test_native_cells.py", "ops/test_global_norm.py", "ops/test_clipped_sgd.py"),
    *("ops/test_clipped_adamw.py", "ops/test_dropout.py", "native/test_lstm_layer.py"),
    *("native/test_linear_cross_entropy.py", "native/test_softmax_cross_entropy.py"),
]

pytestmark = pytest.mark.slow


@pytest.fixture
def sanitized(native_library, emulated_amx, monkeypatch):
    """Runs Python with the kernels of a level compiled with `FLAGS`, those for AMX emulated where there is none."""
    compiler, flags, highest = build.find_compiler(), FLAGS, native.cpu_level()
    if highest == "avx512bf16":
        flags, highest = f"{flags} {emulated_amx}", "amx"
    monkeypatch.setenv("KERASPTB_CXXFLAGS", flags)
    monkeypatch.setenv("KERASPTB_NVCC", "")  # CUDA code needs a GPU to run
    # The runtimes must be loaded first, and libstdc++ with them, so that the first finds the functions to intercept.
    runtimes = [
        subprocess.run(
            [*compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=True
        ).stdout.strip()
        for name in ("libasan.so", "libubsan.so", "libstdc++.so.6")
    ]

    def run(level, *arguments):
        levels = native.loader.CPU_LEVELS
        if levels.index(highest) < levels.index(level):
            pytest.skip(f"this processor has no {level}")
        build.build()
        environment = os.environ | {
            "LD_PRELOAD": " ".join(runtimes),
            # Not the leaks: TensorFlow has its own, at exit. Nor the use of frames after a return: the frames that the
            # sanitizer then makes are not aligned to the 64 bytes that g++'s stores of vectors into them expect.
            "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0",
            "KERASPTB_CPU": level,
            "KERASPTB_THREADS": "3",
            "XLA_FLAGS": "--xla_backend_optimization_level=0",  # it is not XLA's code that is looked at
        }
        result = subprocess.run(
            [sys.executable, *map(str, arguments)], env=environment, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout + result.stderr

    return run


@pytest.mark.parametrize(
    ("level", "names"),
    [
        ("avx2", [*IN_FLOAT32, "reading/test_counts.py", "keyboard/test_taps.py"]),
        ("avx512bf16", [*IN_FLOAT32, "ops/test_bfloat16.py"]),
    ],
)
def test_no_sanitizer_speaks(sanitized, level, names):
    # Nothing that runs without our kernels; nor XLA's compiler, for whose allocations the sanitizer takes minutes.
    chosen = ["-k", "not jit and not keras and not reference", "-m", "not slow"]
    told = sanitized(level, *PYTEST, *chosen, *(TESTS / name for name in names))
    assert "runtime error" not in told


def test_no_sanitizer_speaks_of_amx(sanitized):
    """The first run of these kernels, too, on a processor without AMX: with the slow tests, and none that skips."""
    level = "from kerasptb import native; print(native.cpu_level())"
    assert sanitized("amx", "-c", level).splitlines()[0] == "amx"
    told = sanitized("amx", *PYTEST, "-k", "not jit", OPS / "test_bfloat16.py", NATIVE / "test_lstm_layer.py")
    told += sanitized("amx", *PYTEST, "-k", "bfloat16 or wide", TESTS / "frozen" / "test_frozen.py")
    assert "runtime error" not in told
    assert native.cpu_level() == "amx" or "skipped" not in told


@pytest.fixture(scope="module")
def objects(native_library, emulated_amx, tmp_path_factory):
    """The object files of `races.cc` and of all kernels with the thread sanitizer, by the names of their units."""
    folder, compiler = tmp_path_factory.mktemp("races"), build.find_compiler()
    flags = ["-O1", "-g1", "-fsanitize=thread", f"-I{build.SOURCES}"]
    if native.cpu_level() != "amx":
        flags += shlex.split(emulated_amx)
    units = [unit for unit in build.translation_units() if not unit[0].startswith(("ffi", "cuda"))]
    units.append(("races", NATIVE / "races.cc", ()))

    def compile_unit(unit):
        name, source, own_flags = unit
        path = folder / f"{name}.o"
        build.run([*compiler, *build.COMMON_FLAGS, *own_flags, *flags, "-c", str(source), "-o", str(path)])
        return name, path

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(pool.map(compile_unit, units))


def test_kernels_share_no_symbols_across_levels(objects):
    """Weak symbols have their level's name: of others the linker might keep the copy for AVX-512 for all levels."""
    shared = {}
    for name, path in objects.items():
        # What is out of line in the library, with -O3, is with -O1 too. The units of the baseline are on any processor
        # what they should be.
        level = name.rsplit("-", 1)[-1]
        if level not in build.LEVELS or level == "baseline":
            continue
        names = subprocess.run(["nm", path], check=True, capture_output=True, text=True).stdout.splitlines()
        weak = [line for line in names if line.split()[-2] in "WVu" and "personality" not in line]
        shared[name] = [line for line in weak if f"8kerasptb{len(level)}{level}" not in line]
    assert shared == {name: [] for name in shared}


@pytest.fixture(scope="module")
def races(objects):
    program = objects["races"].with_suffix("")
    build.run(
        [*build.find_compiler(), "-fsanitize=thread", "-pthread", *map(str, objects.values()), "-o", str(program)]
    )
    return program


@pytest.mark.parametrize("level", ["avx2", "avx512", "avx512bf16", "amx"])
def test_no_threads_race(races, level):
    environment = os.environ | {"KERASPTB_CPU": level, "KERASPTB_THREADS": "4"}
    result = subprocess.run([races], env=environment, capture_output=True, text=True, check=False)
    if (found := result.stdout.strip()) != level and result.returncode == 0:
        pytest.skip(f"this processor has no {level}, but {found}")
    assert (result.returncode, result.stderr) == (0, "")
