"""Builds and runs the libFuzzer target of the native kernels: `python tests/fuzz/kernels.py [SECONDS]`."""

import concurrent.futures
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from kerasptb.native import build

HERE = Path(__file__).parent
SANITIZERS = [
    "-O1",
    "-g",
    "-Wno-missing-field-initializers",
    "-fsanitize=fuzzer,address,undefined",
    "-fno-sanitize-recover=undefined",
]


def main(seconds):
    """Runs the fuzzer; returns its exit status."""
    clang = next((path for name in ("clang++", "clang++-19") if (path := shutil.which(name))), None)
    if clang is None:
        print("kernels: left out, there is no clang++ (Debian: apt-get install clang)")
        return 0
    flags = [*SANITIZERS, f"-I{build.SOURCES}", f"-I{HERE.parent / 'native'}"]
    units = [unit for unit in build.translation_units() if not unit[0].startswith(("ffi", "cuda"))]
    units.append(("target", HERE / "kernels.cc", ()))
    with tempfile.TemporaryDirectory() as folder:

        def compile_unit(unit):
            name, source, own_flags = unit
            command = [clang, *build.COMMON_FLAGS, *own_flags, *flags, "-c", str(source), "-o", f"{folder}/{name}.o"]
            subprocess.run(command, check=True)

        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(compile_unit, units))
        program = f"{folder}/kernels"
        objects = [f"{folder}/{unit[0]}.o" for unit in units]
        subprocess.run([clang, *SANITIZERS, *objects, "-o", program, "-lpthread"], check=True)
        return subprocess.run([program, f"-max_total_time={seconds}", "-print_final_stats=1"], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "60"))
