"""The tests of the operations, on a library that looks for wrong memory accesses and undefined behaviour."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kerasptb.ops import native
from kerasptb.ops.native import build

FLAGS = "-fsanitize=address,undefined -g -O1 -fno-omit-frame-pointer -fno-sanitize-recover=undefined"
OPS = Path(__file__).parent.parent


@pytest.mark.skipif(
    "KERASPTB_TEST_SANITIZERS" not in os.environ, reason="takes minutes; set KERASPTB_TEST_SANITIZERS=1 to run it"
)
@pytest.mark.parametrize("level", ["avx2", "avx512bf16", "amx"])
def test_no_sanitizer_speaks(native_library, emulated_amx, level, monkeypatch):
    compiler = build.find_compiler()
    flags = FLAGS
    if native.cpu_level() == "avx512bf16":
        flags += f" {emulated_amx}"
    monkeypatch.setenv("KERASPTB_CXXFLAGS", flags)
    monkeypatch.setenv("KERASPTB_NVCC", "")  # its code runs on a GPU
    build.build()
    # The runtimes have to come before everything else; libstdc++ so that the first of them finds what it intercepts.
    runtimes = [
        subprocess.run(
            [*compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=True
        ).stdout.strip()
        for name in ("libasan.so", "libubsan.so", "libstdc++.so.6")
    ]
    environment = os.environ | {
        "LD_PRELOAD": " ".join(runtimes),
        "ASAN_OPTIONS": "detect_leaks=0",  # TensorFlow's own, at exit
        "KERASPTB_CPU": level,
        "KERASPTB_THREADS": "3",
    }
    # XLA's compiler allocates in ways that the sanitizer takes minutes over.
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-k", "not jit", "-p", "no:cacheprovider"]
    kernels = [OPS / "native" / f"test_{name}.py" for name in ("linear_cross_entropy", "softmax_cross_entropy")]
    tests = [OPS / "test_lstm.py", OPS / "test_bfloat16.py", *kernels]
    result = subprocess.run([*command, *tests], env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "runtime error" not in result.stdout + result.stderr
