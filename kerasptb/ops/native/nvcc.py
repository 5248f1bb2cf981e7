"""Compile the CUDA kernels, ``src/cuda/*.cu``, to one file of device code that the library carries as bytes.

nvcc makes device code only: the library's host side talks to the CUDA driver, which it looks for when it runs. So the
library needs neither CUDA's runtime nor a GPU to be built, and a library that holds CUDA code runs where there is none.
"""

import importlib.util
import os
import shutil
from pathlib import Path

# Compute capability 9.0 brought thread-block clusters, which the recurrence is made of. The code for 9.0 is kept as PTX
# too, which the driver compiles for the GPUs that none of the others fits.
ARCHITECTURES = (90, 100, 120)
FLAGS = (
    *("-fatbin", "-O3", "-std=c++17", "--threads", "0"),
    # The host compiler reads the sources only as far as device code goes, so any version of it does.
    "-allow-unsupported-compiler",
    *(flag for n in ARCHITECTURES for flag in ("-gencode", f"arch=compute_{n},code=sm_{n}")),
    *("-gencode", f"arch=compute_{ARCHITECTURES[0]},code=compute_{ARCHITECTURES[0]}"),
)
HINT = "Install it (`pip install kerasptb[cuda]`, or NVIDIA's CUDA toolkit) and run `kerasptb build`."


def kernels(sources):
    """The kernels of a source folder: a sorted list of paths, empty where it has none."""
    return sorted((sources / "cuda").glob("*.cu"))


def find():
    """The path of nvcc: in `$CUDA_HOME`, on the PATH, in /usr/local/cuda, or of the extra `cuda`; None if nowhere."""
    folders = [Path(home) / "bin" for home in [os.environ.get("CUDA_HOME")] if home]
    folders += [Path(entry) for entry in os.environ.get("PATH", "").split(os.pathsep) if entry]
    folders += [Path("/usr/local/cuda/bin"), *_folders_of_packages()]
    return shutil.which("nvcc", path=os.pathsep.join(str(folder) for folder in folders))


def command(nvcc, sources, scratch):
    """The command that compiles the kernels into `scratch`/kernels.fatbin: a list of words.

    They are one translation unit, since the driver loads one image, in which it looks for each kernel.
    """
    unit = scratch / "kernels.cu"
    unit.write_text("".join(f'#include "{path}"\n' for path in kernels(sources)))
    # nvcc asks for g++ by that name.
    host = [] if shutil.which("g++") else ["-ccbin", shutil.which("clang++") or "c++"]
    return [nvcc, *FLAGS, *host, "-I", str(sources), str(unit), "-o", str(scratch / "kernels.fatbin")]


def _folders_of_packages():
    """Where the PyPI packages of CUDA 13 have their programs."""
    spec = importlib.util.find_spec("nvidia")  # a package without __init__.py, which several others share
    return [Path(folder) / "cu13" / "bin" for folder in (spec.submodule_search_locations or [] if spec else [])]
