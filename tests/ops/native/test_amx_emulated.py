"""The kernels for AMX on a processor without it: compiled with functions in the place of AMX's instructions."""

import subprocess
import sys
from pathlib import Path

import pytest

from kerasptb.ops import native
from kerasptb.ops.native import build

pytestmark = pytest.mark.slow

TESTS = Path(__file__).parent.parent / "test_bfloat16.py"
LEFT_OUT = "handlers or compiled_by_xla or targets_outside or no_words"  # these do not depend on AMX


def test_bfloat16_kernels(native_library, emulated_amx, compile_once, tmp_path, monkeypatch):
    levels = native.loader.CPU_LEVELS
    if native.cpu_level() == "amx":
        pytest.skip("this processor has AMX, so the other tests run these kernels as they are")
    if levels.index(native.cpu_level()) < levels.index("avx512bf16"):
        pytest.skip("this processor has no avx512bf16, which the kernels for AMX need as well")
    compile_once()  # as tests/ops/native/test_build.py compiles the kernels
    flags = f"{emulated_amx} -O1"
    for name, value in {"KERASPTB_CACHE": str(tmp_path), "KERASPTB_CXXFLAGS": flags, "KERASPTB_NVCC": ""}.items():
        monkeypatch.setenv(name, value)
    build.build()
    level = [sys.executable, "-c", "from kerasptb.ops import native; print(native.cpu_level())"]
    assert subprocess.run(level, capture_output=True, text=True, check=True).stdout.split() == ["amx"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", f"not ({LEFT_OUT})", TESTS]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "skipped" not in result.stdout
