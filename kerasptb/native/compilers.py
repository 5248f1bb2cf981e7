"""What the native library is compiled with: the C++ compiler, XLA's FFI headers, and the versions of compilers."""

import functools
import importlib.util
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


class NativeBuildError(RuntimeError):
    """The native library could not be compiled; the message says in one line what is missing."""


def find_compiler() -> list[str]:
    """Returns the C++ compiler's command as a list: `$CXX`, else g++, clang++ or c++, else ziglang's."""
    if wish := os.environ.get("CXX"):
        command = words_of("CXX")
        if command and shutil.which(command[0]):
            return list(command)
        raise NativeBuildError(f"The C++ compiler of the environment was not found. Received: CXX={wish}")
    for name in ("g++", "clang++", "c++"):
        if shutil.which(name):
            return [name]
    if importlib.util.find_spec("ziglang"):
        return [sys.executable, "-m", "ziglang", "c++"]
    raise NativeBuildError(
        "No C++ compiler found (g++, clang++ or c++). Install one (`apt install g++`, or `pip install ziglang`)."
    )


def target_machine() -> str:
    """Returns the processor that is compiled for, such as "aarch64": that of `-target` in `$CXX`, else this one."""
    _, found, rest = " ".join(words_of("CXX")).partition("-target ")
    return rest.partition("-")[0] if found else platform.machine()


def ffi_include_dir() -> Path:
    """Returns the folder of XLA's FFI headers, TensorFlow's or JAX's, without importing either."""
    return _ffi_headers()[1]


def ffi_version() -> tuple[int, ...]:
    """Returns the version (major, minor) of the XLA FFI that the headers describe."""
    return _ffi_headers()[0]


def why_no_kernels() -> str | None:
    """Returns one line on why kernels cannot be compiled, or `None`."""
    try:
        _ffi_headers()
    except NativeBuildError as error:
        return str(error)
    return None


@functools.cache
def _ffi_headers() -> tuple[tuple[int, ...], Path]:
    """Returns the version and the folder of the headers."""
    installed, found = [], []
    for package in ("tensorflow", "jaxlib"):
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            continue
        include = Path(spec.origin).parent / "include"
        installed.append(include)
        if (include / "xla/ffi/api/ffi.h").is_file():
            text = (include / "xla/ffi/api/c_api.h").read_text()
            numbers = [re.search(rf"#define XLA_FFI_API_{part} (\d+)", text) for part in ("MAJOR", "MINOR")]
            if None not in numbers:
                found.append((tuple(int(number[1]) for number in numbers if number), include))
    if found:  # a framework accepts a library of an older FFI, but not of a newer one
        return min(found, key=lambda entry: entry[0])
    if not installed:
        raise NativeBuildError("Neither TensorFlow nor JAX is installed: the native library needs their FFI headers.")
    folders = " or ".join(f"{include}/xla/ffi/api" for include in installed)
    raise NativeBuildError(f"XLA's FFI headers were not found, or not their version: ffi.h and c_api.h in {folders}.")


def words_of(variable: str) -> tuple[str, ...]:
    """Returns a tuple of the words of an environment variable, split as in a shell."""
    text = os.environ.get(variable, "")
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise NativeBuildError(f"{variable} cannot be read: {error}. Received: {variable}={text}") from error


def run(command: Sequence[str], verbose: bool = False) -> str:
    """Runs a compiler's command, a list; returns its standard output. Its first error is that of a NativeBuildError."""
    if verbose:
        print(shlex.join(command), file=sys.stderr)
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise NativeBuildError(f"The compiler could not be started: {error}.") from error
    if verbose and result.stderr:
        print(result.stderr, file=sys.stderr)
    if result.returncode != 0:
        lines = result.stderr.splitlines() or [f"exit status {result.returncode}"]
        first = next((line for line in lines if "error" in line.lower()), lines[0])
        failure = NativeBuildError(f"The compiler failed: {first.strip()}")
        failure.add_note(f"{shlex.join(command)}\n{result.stderr}")  # shown with a traceback
        raise failure
    return result.stdout


@functools.cache
def _version_lines(command: tuple[str, ...], _identity: int) -> list[str]:
    return run([*command, "--version"]).strip().splitlines() or ["a compiler that does not tell its version"]


def compiler_version(compiler: Sequence[str]) -> str:
    """Returns what identifies a compiler's command, a list: the version that it reports, and its flags."""
    path = Path(shutil.which(compiler[0]) or compiler[0])
    version = _version_lines(tuple(compiler), path.stat().st_mtime_ns)[0]
    flags = [word for word in compiler if word.startswith("-")]
    return f"{version}, {shlex.join(flags)}" if flags else version


def nvcc_version(path: str | None) -> str | None:
    """Returns what identifies an nvcc: the build that it reports, or else its error; None without an nvcc."""
    if path is None:
        return None
    try:
        return _version_lines((path,), Path(path).stat().st_mtime_ns)[-1]
    except NativeBuildError as error:
        return str(error).splitlines()[0]
