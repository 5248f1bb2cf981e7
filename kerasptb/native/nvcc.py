"""Compiles the CUDA kernels, `src/cuda/kernels.cu`, to one file of device code that the library contains as bytes.

nvcc makes device code only. The library's host code calls the CUDA driver, which it looks for at run time. So building
the library needs neither CUDA's runtime nor a GPU, and a library with CUDA code also runs on machines without CUDA.
"""

import importlib.util
import itertools
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

# Compute capability 9.0 introduced thread-block clusters, which the recurrence is based on. The driver compiles the PTX
# on GPUs that none of the other codes fits. nvcc knows 10.0 and 12.0 from CUDA 12.8 on.
ARCHITECTURES = (90, 100, 120)
PTX = (90, 120)
CODES = tuple((n, f"sm_{n}") for n in ARCHITECTURES) + tuple((n, f"compute_{n}") for n in PTX)
# The host compiler reads the sources for device code only, so any version of it works.
FLAGS = ("-fatbin", "-O3", "-std=c++17", "--threads", "0", "-allow-unsupported-compiler")
TOOLKIT = Path("/usr/local/cuda")
HINT = (
    "Install it (NVIDIA's CUDA toolkit, or in kerasptb's sources `pip install -e '.[cuda]'`) and run `kerasptb build`."
)


def kernels(sources: Path) -> Path | None:
    """Returns the source file of the CUDA kernels in a source folder, which includes all others; None if missing."""
    path = sources / "cuda" / "kernels.cu"
    return path if path.is_file() else None


def find() -> str | None:
    """Returns the path of nvcc: in `$CUDA_HOME`, on the PATH, in /usr/local/cuda, or of the extra `cuda`; else None.

    `KERASPTB_NVCC` names another nvcc. If it is empty, the library is built without CUDA code, in half the time.
    """
    if (wish := os.environ.get("KERASPTB_NVCC")) is not None:
        return shutil.which(wish) if wish else None
    folders = [Path(home) / "bin" for home in [os.environ.get("CUDA_HOME")] if home]
    folders += [Path(entry) for entry in os.environ.get("PATH", "").split(os.pathsep) if entry]
    folders += [TOOLKIT / "bin", *_folders_of_packages()]
    return shutil.which("nvcc", path=os.pathsep.join(str(folder) for folder in folders))


def command(nvcc: str, sources: Path, fatbin: Path, compiler: Sequence[str]) -> list[str]:
    """Returns the command that compiles a source folder's kernels into `fatbin`, for our GPUs that nvcc knows."""
    # The last word before the flags: another program, such as `ccache`, may come first.
    *_, program = itertools.takewhile(lambda word: not word.startswith("-"), compiler)
    host = [] if program == "g++" else ["-ccbin", program]  # nvcc uses g++ by default
    known = re.findall(r"compute_(\d+)\b", _answer(nvcc, "--list-gpu-arch"))
    codes = [(n, code) for n, code in CODES if str(n) in known] or CODES
    architectures = [flag for n, code in codes for flag in ("-gencode", f"arch=compute_{n},code={code}")]
    return [nvcc, *FLAGS, *architectures, *host, f"-I{sources}", str(kernels(sources)), "-o", str(fatbin)]


def major_version(nvcc: str) -> int:
    """Returns nvcc's major CUDA version, such as 12 or 13, or 0 if unknown. Older drivers do not take its code."""
    found = re.search(r"release (\d+)\.", _answer(nvcc, "--version"))
    return int(found[1]) if found else 0


def _answer(nvcc: str, question: str) -> str:
    try:
        return subprocess.run([nvcc, question], capture_output=True, text=True, check=False).stdout
    except OSError:
        return ""


def _folders_of_packages() -> list[Path]:
    """Returns the folders in which the PyPI packages of CUDA 13 have their programs."""
    spec = importlib.util.find_spec("nvidia")  # a namespace package, which several distributions share
    return [Path(folder) / "cu13" / "bin" for folder in (spec.submodule_search_locations or [] if spec else [])]
