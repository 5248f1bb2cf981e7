"""Compiles the native library: C++17 sources in `src/`, against XLA's FFI headers and nothing else.

The library is built on request only (`kerasptb build`, or `build` below), never at import. It is kept in a cache folder
of the user's, under a name made of everything that decides what it is:

    <cache>/<key>/libkerasptb-<sha256>.so    key: hash of sources, flags and machine
    <cache>/<key>/build.json                 names the file, its sha256 and the compilers, or why it has no CUDA code

A compiler too old for the flags of a level of `_YOUNG_LEVELS` makes a library without it.

The record is replaced in one step after the file it names is whole. A reader that had the old record, and finds its
file gone, reads the new one.

How a source is compiled follows from its name:

| name | compiled |
|---|---|
| `*_float32.cc` | once for each of the levels `baseline`, `avx2`, `avx512` (see `src/cpu.h`), with the level's flags |
| `*_bfloat16.cc`, but for FFI | once for each of the levels `avx512bf16` and `amx`; x86-64 only |
| `ffi*.cc` | once, baseline flags and XLA's headers, which no other source sees |
| `FATBIN_SOURCE` | once, last: it takes in what nvcc made of `cuda/kernels.cu` (see `nvcc.py`), if there is an nvcc |
| the others | once, baseline flags |

`KERASPTB_CXXFLAGS` has further flags for the compiler and the linker, such as sanitizers; a library made with them is
kept apart, and found where the variable has the same value.

A library with CUDA code needs no GPU; one without is made again when nvcc is found, and never for the want of it. So it
is with the version of XLA's FFI: a library of an older one serves newer hosts.
"""

import concurrent.futures
import contextlib
import functools
import hashlib
import importlib.util
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from kerasptb.files import user_cache, write_json
from kerasptb.ops.native import nvcc
from kerasptb.processors import available_processors

SOURCES = Path(__file__).parent / "src"
FATBIN_SOURCE = "cuda_fatbin.cc"

# No -ffast-math: NaN and infinity have to come through. Contraction to fused multiply-add is wanted, and is off by
# default under -std=c++17.
COMMON_FLAGS = (
    *("-std=c++17", "-O3", "-fPIC", "-pthread", "-fvisibility=hidden", "-ffp-contract=fast", "-fno-math-errno"),
    *("-Wall", "-Wextra", "-Wno-psabi"),
)
_AVX2 = ("-mavx2", "-mfma")
_AVX512 = (*_AVX2, "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mprefer-vector-width=512")
_AVX512BF16 = (*_AVX512, "-mavx512bf16")
_AMX = (*_AVX512BF16, "-mamx-tile", "-mamx-bf16")
LEVELS = {"baseline": (), "avx2": _AVX2, "avx512": _AVX512, "avx512bf16": _AVX512BF16, "amx": _AMX}

# Levels that a compiler may be too old for, or the assembler that g++ uses: the macro that tells the sources so, what
# knows the level, and an instruction of it.
_YOUNG_LEVELS = {
    "avx512bf16": (
        "-DKERASPTB_WITHOUT_BFLOAT16",
        "AVX512-BF16: g++ from version 10 on with an assembler of its time, or clang",
        "vdpbf16ps %zmm0, %zmm0, %zmm0",
    ),
    "amx": (
        "-DKERASPTB_WITHOUT_AMX",
        "AMX: g++ from version 11 on with an assembler of its time, or clang",
        "tdpbf16ps %tmm0, %tmm1, %tmm2",
    ),
}

LINK_FLAGS = ("-shared", "-pthread")


class NativeBuildError(RuntimeError):
    """The native library could not be compiled; the message says in a line what is missing."""


def cache_dir():
    """The folder of built libraries: `KERASPTB_CACHE`, else `kerasptb/native` in the user's cache folder.

    Raises:
        NativeBuildError: the user has no home folder to have a cache in.
    """
    if folder := os.environ.get("KERASPTB_CACHE"):
        return Path(folder)
    try:
        return user_cache() / "native"
    except RuntimeError as error:
        raise NativeBuildError(f"{error} Set KERASPTB_CACHE to a folder for the native library.") from error


def library_dir():
    """Where the library of these sources, flags and machine is, or would be. Starts no compiler."""
    return cache_dir() / _key()


def find_library():
    """Returns the path of a library that was built and is whole.

    Raises:
        FileNotFoundError: nothing was built.
        NativeBuildError: the last build failed, or the file is not the one that was built.
    """
    folder = library_dir()
    last = None
    while (record := _read_json(folder / "build.json")) is not None:
        path = folder / str(record.get("file"))
        with contextlib.suppress(OSError):
            if hashlib.sha256(path.read_bytes()).hexdigest() == record.get("sha256"):
                return path
        if record == last:
            raise NativeBuildError(f"The library in the cache is damaged: {path}.")
        last = record  # another process may have put a new library in its place meanwhile
    if (failure := _read_json(folder / "failed.json")) is not None:
        raise NativeBuildError(failure["message"])
    raise FileNotFoundError(folder / "build.json")


def build(force=False, verbose=False):
    """Compiles the native library, unless it is there already.

    Several processes may call this at once: one compiles, the others wait and take its result.

    Args:
        force: compile even if a library of the same sources and compiler is in the cache.
        verbose: print each command, and what it says, to standard error.

    Returns:
        The library's `pathlib.Path`.

    Raises:
        NativeBuildError: no compiler, no XLA headers, a cache folder that cannot be written, or an error from the
            compiler. An error from nvcc is none: the library is then built without CUDA code, and `cuda_problem` says
            why.
    """
    if not force and (path := _up_to_date()) is not None:
        return path
    folder = library_dir()
    with _lock(folder):
        if not force and (path := _up_to_date()) is not None:
            return path  # another process built it while this one waited
        try:
            return _build_into(folder, verbose)
        except NativeBuildError as error:
            with contextlib.suppress(OSError):
                write_json(folder / "failed.json", {"message": str(error).splitlines()[0]})
            raise
        except OSError as error:
            raise _unwritable(error) from error


def find_compiler():
    """The C++ compiler's command as a list: `$CXX`, else g++, clang++ or c++.

    Raises:
        NativeBuildError: there is none.
    """
    if wish := os.environ.get("CXX"):
        command = _words_of("CXX")
        if command and shutil.which(command[0]):
            return list(command)
        raise NativeBuildError(f"The C++ compiler of the environment was not found. Received: CXX={wish}")
    for name in ("g++", "clang++", "c++"):
        if shutil.which(name):
            return [name]
    raise NativeBuildError("No C++ compiler found (g++, clang++ or c++). Install one (Debian: `apt install g++`).")


def levels_left_out(library):
    """The levels that a library of the cache lacks for want of a newer compiler: a list of what each is and needs."""
    left_out = (_read_json(library.parent / "build.json") or {}).get("left_out", [])
    return [_YOUNG_LEVELS[level][1] for level in left_out if level in _YOUNG_LEVELS]


def cuda_problem(library):
    """Why a library of the cache has no CUDA code, in a line; None if it has."""
    record = (_read_json(library.parent / "build.json") or {}).get("cuda")
    return record.get("problem") if isinstance(record, dict) else "Its sources hold no CUDA kernels."


@functools.cache
def ffi_include_dir():
    """The folder of XLA's FFI headers: TensorFlow's or JAX's, found without importing either.

    Of both, the one with the lower version: a host takes a library of an older FFI than its own, not of a newer.

    Raises:
        NativeBuildError: neither is installed, or neither has the headers.
    """
    return _ffi_headers()[1]


def ffi_version():
    """(major, minor) of the XLA FFI that the headers describe."""
    return _ffi_headers()[0]


@functools.cache
def _ffi_headers():
    """The version and the folder of the headers."""
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
                found.append((tuple(int(number[1]) for number in numbers), include))
    if found:
        return min(found, key=lambda entry: entry[0])
    if not installed:
        raise NativeBuildError("Neither TensorFlow nor JAX is installed: the native library needs their FFI headers.")
    folders = " or ".join(f"{include}/xla/ffi/api" for include in installed)
    raise NativeBuildError(f"XLA's FFI headers were not found, or not their version: ffi.h and c_api.h in {folders}.")


def translation_units():
    """Each object file of the library: list of (name, source, flags)."""
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    units = []
    for source in sorted(SOURCES.glob("*.cc")):
        if source.name.endswith("_float32.cc"):
            levels = ("baseline", "avx2", "avx512") if x86 else ("baseline",)
        elif source.name.startswith("ffi"):
            units.append((source.stem, source, ("-isystem", str(ffi_include_dir()))))
            continue
        elif source.name.endswith("_bfloat16.cc"):
            levels = ("avx512bf16", "amx") if x86 else ()
        else:
            units.append((source.stem, source, ()))
            continue
        units += [(f"{source.stem}-{level}", source, (*LEVELS[level], f"-DKERASPTB_LEVEL={level}")) for level in levels]
    return units


def _words_of(variable):
    """The words of an environment variable, as a shell has them: a tuple."""
    text = os.environ.get(variable, "")
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise NativeBuildError(f"{variable} cannot be read: {error}. Received: {variable}={text}") from error


def _key():
    paths = [path for path in sorted(SOURCES.rglob("*")) if path.suffix in (".cc", ".h", ".cu", ".cuh")]
    digest = hashlib.sha256(_digest_of(tuple((path, path.stat().st_mtime_ns) for path in paths), SOURCES))
    settings = (COMMON_FLAGS, LEVELS, LINK_FLAGS, nvcc.FLAGS, nvcc.CODES)
    # Where several machines share a home, each C library has its own: an older one does not load what a newer one made.
    machine = (platform.system(), platform.machine(), platform.libc_ver())
    digest.update(repr((settings, *machine, _words_of("KERASPTB_CXXFLAGS"))).encode())
    return digest.hexdigest()[:20]


@functools.lru_cache(maxsize=8)
def _digest_of(sources, folder):
    """Of the contents of sources, each with the time of its last change, in a folder."""
    digest = hashlib.sha256()
    for path, _ in sources:
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.digest()


def _up_to_date():
    """The library in the cache, if it is whole and the compilers at hand are none or those that made it."""
    try:
        path = find_library()
    except (FileNotFoundError, NativeBuildError):
        return None
    try:
        compiler, host = _compiler_version(find_compiler()), ffi_version()
    except NativeBuildError:
        return path  # nothing could be built
    record = _read_json(path.parent / "build.json")
    if tuple(record.get("ffi_version", ())) > host:
        return None
    at_hand = _nvcc_version(nvcc.find()) if nvcc.kernels(SOURCES) else None
    if at_hand is not None and at_hand != (record.get("cuda") or {}).get("nvcc"):
        return None
    return path if record.get("compiler") == compiler else None


def _build_into(folder, verbose):
    compiler = find_compiler()
    version = _compiler_version(compiler)
    extra = _words_of("KERASPTB_CXXFLAGS")
    sanitized = any(flag.startswith("-fsanitize") for flag in extra)
    for leftover in folder.glob("build-*"):  # of a build that was killed; this one has the lock
        shutil.rmtree(leftover, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="build-", dir=folder) as scratch:
        left_out = _levels_left_out(compiler, Path(scratch))
        without = [_YOUNG_LEVELS[level][0] for level in left_out]
        units = [
            unit
            for unit in translation_units()
            if not any(f"-DKERASPTB_LEVEL={level}" in unit[2] for level in left_out)
        ]
        cuda = _compile_units([*compiler, *COMMON_FLAGS, *without, *extra], units, Path(scratch), verbose)
        library = Path(scratch) / "library.so"
        strip = () if extra or platform.system() != "Linux" else ("-Wl,--no-undefined", "-Wl,--strip-all")
        objects = [f"{scratch}/{name}.o" for name, _, _ in units]
        # -ldl: dlopen is in a library of its own before glibc 2.34.
        system = ("-ldl",) if platform.system() == "Linux" else ()
        _run([*compiler, *LINK_FLAGS, *extra, *strip, *objects, *system, "-o", str(library)], verbose=verbose)
        if not sanitized:  # a sanitized library loads only where the sanitizer's runtime came first
            # Isolated: the working directory may hold a module that is called as one of Python's.
            load = [sys.executable, "-I", "-c", "import ctypes, sys; ctypes.CDLL(sys.argv[1])", str(library)]
            _run(load, verbose=verbose)
        sha256 = hashlib.sha256(library.read_bytes()).hexdigest()
        path = folder / f"libkerasptb-{sha256[:16]}.so"
        library.replace(path)
    record = {
        **{"file": path.name, "sha256": sha256, "compiler": version, "ffi_version": ffi_version()},
        **{"left_out": left_out, "cuda": cuda},
    }
    write_json(folder / "build.json", record)
    with contextlib.suppress(OSError):
        (folder / "failed.json").unlink(missing_ok=True)
        for old in folder.glob("libkerasptb-*.so"):
            if old != path:
                old.unlink()
    return path


def _levels_left_out(compiler, scratch):
    """The levels that the units have and the compiler or its assembler does not know, a list."""
    used = {flag for _, _, flags in translation_units() for flag in flags}
    left_out = []
    for level, (_, _, instruction) in _YOUNG_LEVELS.items():
        if f"-DKERASPTB_LEVEL={level}" in used:
            probe = scratch / f"{level}.cc"
            probe.write_text(f'asm("{instruction}");\n')
            try:
                _run([*compiler, *LEVELS[level], "-c", str(probe), "-o", str(probe.with_suffix(".o"))])
            except NativeBuildError:
                left_out.append(level)
    return left_out


def _compile_units(compiler, units, scratch, verbose):
    """Compiles object files into `scratch`; returns the record of the CUDA code, see `_compile_cuda`."""

    def compile_unit(unit, *flags):
        name, source, own_flags = unit
        _run([*compiler, *own_flags, *flags, "-c", str(source), "-o", f"{scratch}/{name}.o"], verbose=verbose)

    # One takes up to 300 MB.
    with concurrent.futures.ThreadPoolExecutor(min(available_processors(), 8)) as pool:
        cuda = pool.submit(_compile_cuda, scratch, verbose)  # first, because it takes long
        list(pool.map(compile_unit, [unit for unit in units if unit[1].name != FATBIN_SOURCE]))
        record = cuda.result()
    code = []
    if record is not None and record["problem"] is None:
        code = [f'-DKERASPTB_FATBIN="{scratch}/kernels.fatbin"', f"-DKERASPTB_NVCC={nvcc.major_version(nvcc.find())}"]
    for unit in units:
        if unit[1].name == FATBIN_SOURCE:
            compile_unit(unit, *code)
    return record


def _compile_cuda(scratch, verbose):
    """Compiles the CUDA kernels, if there is an nvcc.

    Returns:
        None if the sources have none, else a dict: "nvcc", its version or None, and "problem", why there is no CUDA
        code, or None.
    """
    if not nvcc.kernels(SOURCES):
        return None
    if (path := nvcc.find()) is None:
        if os.environ.get("KERASPTB_NVCC") == "":
            return {"nvcc": None, "problem": "KERASPTB_NVCC was empty when it was built, which asks for none."}
        return {"nvcc": None, "problem": f"No nvcc was found when it was built. {nvcc.HINT}"}
    try:
        _run(nvcc.command(path, SOURCES, scratch / "kernels.fatbin", find_compiler()), verbose=verbose)
    except NativeBuildError as error:
        if verbose:
            print(error, file=sys.stderr)
        return {"nvcc": _nvcc_version(path), "problem": f"nvcc could not compile it. {str(error).splitlines()[0]}"}
    return {"nvcc": _nvcc_version(path), "problem": None}


def _run(command, verbose=False):
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
        error = NativeBuildError(f"The compiler failed: {first.strip()}")
        error.add_note(f"{shlex.join(command)}\n{result.stderr}")  # shown with a traceback
        raise error
    return result.stdout


@functools.cache
def _version_of(command, _identity):
    return (_run([*command, "--version"]).splitlines() or ["a compiler that does not tell its version"])[0]


def _compiler_version(compiler):
    path = Path(shutil.which(compiler[0]))
    version = _version_of(tuple(compiler), path.stat().st_mtime_ns)
    flags = [word for word in compiler if word.startswith("-")]
    return f"{version}, {shlex.join(flags)}" if flags else version


def _nvcc_version(path):
    """What tells one nvcc from another: the build it says it is, or why it says nothing; None for none."""
    if path is None:
        return None
    try:
        return _nvcc_build(path, Path(path).stat().st_mtime_ns)
    except NativeBuildError as error:
        return str(error).splitlines()[0]


@functools.cache
def _nvcc_build(path, _identity):
    return (_run([path, "--version"]).strip().splitlines() or [""])[-1]


def _unwritable(error):
    return NativeBuildError(f"The cache folder cannot be written: {error}. Set KERASPTB_CACHE to a folder that can.")


@contextlib.contextmanager
def _lock(folder):
    """Holds the build lock of `folder`, creating the folder."""
    try:
        import fcntl  # noqa: PLC0415  (Windows has none, where the package is to work without the library)
    except ImportError:
        raise NativeBuildError("The native library is for Linux and macOS.") from None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "lock").open("w")
    except OSError as error:
        raise _unwritable(error) from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _read_json(path):
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
