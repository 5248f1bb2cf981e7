"""An emulated GPU: the shipped kernels compiled as C++, a fake driver that runs them, and the shipped launchers on top."""

import concurrent.futures
import contextlib
import os
import pickle
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from kerasptb.ops.native import build

HERE = Path(__file__).parent
HOST_SOURCES = ("cuda_driver.cc", "column_sums_cuda.cc", "lstm_cuda.cc", "softmax_cross_entropy_cuda.cc")
FLAGS = ("-std=c++17", "-fPIC", "-shared", "-pthread", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror")


class KernelError(Exception):
    """The launcher's message, the driver's words in it."""


class EmulatedGpu:
    """The methods of `worker.Worker`, called in a process of their own."""

    def __init__(self, launchers, driver=None, environment=None):
        command = [sys.executable, str(HERE / "worker.py"), str(launchers), *([str(driver)] if driver else [])]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | (environment or {}),
        )

    def __getattr__(self, method):
        def call(*arguments, **keywords):
            try:
                pickle.dump((method, arguments, keywords), self._process.stdin)
                self._process.stdin.flush()
                result, error = pickle.load(self._process.stdout)
            except (BrokenPipeError, EOFError, pickle.UnpicklingError):
                _, message = self._process.communicate()
                raise KernelError(f"the process ended ({self._process.returncode}): {message.decode()}") from None
            if error is not None:
                raise KernelError(error)
            return result

        return call

    def close(self):
        """Everything that the process said on standard error."""
        with contextlib.suppress(BrokenPipeError, ValueError):  # a process that died was waited for already
            return self._process.communicate(timeout=60)[1].decode()
        return ""


def compile_driver(folder, sources, *flags):
    """The fake driver with the kernels of `sources`/cuda in it."""
    output = folder / "libcuda.so.1"
    # Loop pragmas are nvcc's.
    command = ["-DKERASPTB_EMULATE", "-Wno-unknown-pragmas", "-Wl,-soname,libcuda.so.1", f"-I{HERE}", *flags]
    inputs = ["-x", "c++", sources / "cuda" / "kernels.cu", HERE / "emulator.cc", HERE / "fake_driver.cc"]
    return _compile([*command, *inputs], output)


def compile_launchers(folder, sources, *flags, name="launchers.so"):
    inputs = [*(sources / source for source in HOST_SOURCES), HERE / "launchers.cc"]
    return _compile([f"-I{sources}", *flags, *inputs, "-ldl"], folder / name)


def _compile(arguments, output):
    command = [*build.find_compiler(), *FLAGS, *map(str, arguments), "-o", str(output)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return output


@pytest.fixture(scope="session")
def toolchain():
    """Skips where the emulator cannot be compiled."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        pytest.skip("the emulator of CUDA is for Linux on x86-64")
    try:
        build.find_compiler()
    except build.NativeBuildError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def compiled(toolchain, tmp_path_factory):
    """(launchers, driver): the two libraries."""
    folder = tmp_path_factory.mktemp("emulated")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        driver = pool.submit(compile_driver, folder, build.SOURCES, "-O2")
        launchers = pool.submit(compile_launchers, folder, build.SOURCES, "-O1")
        return launchers.result(), driver.result()


@pytest.fixture(scope="session")
def _shared_gpu(compiled):
    gpu = EmulatedGpu(*compiled)
    yield gpu
    assert gpu.close() == ""


@pytest.fixture
def gpu(_shared_gpu):
    """An emulated H100 whose warps run in turns."""
    _shared_gpu.configure()
    _shared_gpu.schedule(0)
    _shared_gpu.launches()
    return _shared_gpu
