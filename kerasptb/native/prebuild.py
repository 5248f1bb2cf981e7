"""Compiles the library that a wheel brings: `python -m kerasptb.native.prebuild aarch64`, which `make wheel` does.

It must load wherever the wheel installs, so it is compiled with zig's clang, which links against any glibc and has its
C++ runtime in the library. It has no CUDA code.
"""

import os
import platform
import shutil
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from kerasptb.native import build
from kerasptb.utils.files import read_json, write_json
from kerasptb.utils.status_line import Watching, at_work

GLIBC = "2.28"  # of RHEL 8, Debian 10, Ubuntu 20.04: manylinux_2_28


def prebuild(machine: str) -> Path:
    """Compiles the library for a processor, "x86_64" or "aarch64", into the package's folder; returns its path."""
    if find_spec("ziglang") is None:
        raise build.NativeBuildError("A library for any glibc is compiled with zig: pip install ziglang")
    shutil.rmtree(build.PREBUILT, ignore_errors=True)  # one for this machine would be taken for it
    with tempfile.TemporaryDirectory() as cache:
        os.environ |= {
            "CXX": f"{sys.executable} -m ziglang c++ -target {machine}-linux-gnu.{GLIBC}",
            "KERASPTB_CACHE": cache,
            "KERASPTB_NVCC": "",
        }
        with Watching(), at_work("Compiling the kernels") as stage:
            path = build.build(report=stage.tell)
        record = read_json(path.parent / "build.json") | {"machine": ["Linux", machine], "glibc": GLIBC}
        build.PREBUILT.mkdir()
        shutil.copy(path, build.PREBUILT)
    write_json(build.PREBUILT / "build.json", record)
    return Path(build.PREBUILT, path.name)


if __name__ == "__main__":
    print(prebuild(*(sys.argv[1:] or [platform.machine()])))
