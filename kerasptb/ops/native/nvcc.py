"""Compiles the CUDA kernels, `src/cuda/kernels.cu`, to one file of device code that the library carries as bytes.

nvcc makes device code only: the library's host side talks to the CUDA driver, which it looks for when it runs. So the
library needs neither CUDA's runtime nor a GPU to be built, and a library that holds CUDA code runs where there is none.
"""

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

# Compute capability 9.0 brought thread-block clusters, which the recurrence is made of. PTX is for the driver to
# compile on the GPUs that none of the others fits. nvcc knows 10.0 and 12.0 from 12.8 on.
ARCHITECTURES = (90, 100, 120)
PTX = (90, 120)
CODES = tuple((n, f"sm_{n}") for n in ARCHITECTURES) + tuple((n, f"compute_{n}") for n in PTX)
# The host compiler reads the sources only as far as device code goes, so any version of it does.
FLAGS = ("-fatbin", "-O3", "-std=c++17", "--threads", "0", "-allow-unsupported-compiler")
TOOLKIT = Path("/usr/local/cuda")
HINT = (
    "Install it (NVIDIA's CUDA toolkit, or in kerasptb's sources `pip install -e '.[cuda]'`) and run `kerasptb build`."
)


def kernels(sources):
    """The source of a source folder's kernels, which includes the others; None where it has none."""
    path = sources / "cuda" / "kernels.cu"
    return path if path.is_file() else None


def find():
    """The path of nvcc: in `$CUDA_HOME`, on the PATH, in /usr/local/cuda, or of the extra `cuda`; None if nowhere.

    `KERASPTB_NVCC` names another one, or, empty, none: the library is then built without CUDA code, in half the time.
    """
    if (wish := os.environ.get("KERASPTB_NVCC")) is not None:
        return shutil.which(wish) if wish else None
    folders = [Path(home) / "bin" for home in [os.environ.get("CUDA_HOME")] if home]
    folders += [Path(entry) for entry in os.environ.get("PATH", "").split(os.pathsep) if entry]
    folders += [TOOLKIT / "bin", *_folders_of_packages()]
    return shutil.which("nvcc", path=os.pathsep.join(str(folder) for folder in folders))


def command(nvcc, sources, fatbin, compiler):
    """The command that compiles the kernels of a source folder into the file `fatbin`: a list of words.

    It is for those of our architectures that this nvcc knows; an nvcc that does not tell is asked for all.

    Args:
        nvcc: path of nvcc.
        sources: the source folder.
        fatbin: the file to write.
        compiler: the host compiler's command, a list of words, of which the last one that is no flag is taken: before
            it there may be a `ccache`.
    """
    program = [word for word in compiler if not word.startswith("-")][-1]
    host = [] if program == "g++" else ["-ccbin", program]  # nvcc asks for g++ by that name
    known = re.findall(r"compute_(\d+)\b", _answer(nvcc, "--list-gpu-arch"))
    codes = [(n, code) for n, code in CODES if str(n) in known] or CODES
    architectures = [flag for n, code in codes for flag in ("-gencode", f"arch=compute_{n},code={code}")]
    return [nvcc, *FLAGS, *architectures, *host, str(kernels(sources)), "-o", str(fatbin)]


def major_version(nvcc):
    """The CUDA version that an nvcc is of, as 12 or 13: drivers of an older one do not take its code. 0: not known."""
    found = re.search(r"release (\d+)\.", _answer(nvcc, "--version"))
    return int(found[1]) if found else 0


def _answer(nvcc, question):
    try:
        return subprocess.run([nvcc, question], capture_output=True, text=True, check=False).stdout
    except OSError:
        return ""


def _folders_of_packages():
    """Where the PyPI packages of CUDA 13 have their programs."""
    spec = importlib.util.find_spec("nvidia")  # a package without __init__.py, which several others share
    return [Path(folder) / "cu13" / "bin" for folder in (spec.submodule_search_locations or [] if spec else [])]
