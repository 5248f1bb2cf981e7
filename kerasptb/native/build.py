"""Compiles the native library: C++17 sources in `src/`, against XLA's FFI headers and nothing else.

The library is built on request only (`kerasptb build`, or `build` below), never at import. It is kept in the user's
cache folder, under a key made from everything that determines its content:

    <cache>/<key>/libkerasptb-<sha256>.so    key: hash of sources, flags and machine
    <cache>/<key>/build.json                 names the file, its sha256 and the compilers, or why it has no CUDA code

If the compiler is too old for the flags of a level of `_YOUNG_LEVELS`, the library is built without that level.

The record is replaced in one step, after the file it names is complete. A reader that has the old record and finds its
file gone reads the new record.

`src/` has a folder for each operation, and is itself the only folder of our headers: they are included by their paths
in it. How a source is compiled follows from its path:

| path | compiled |
|---|---|
| `*_float32.cc` | once for each of the levels `baseline`, `avx2`, `avx512` (`common/cpu.h`), with the level's flags |
| `*_bfloat16.cc` | once for each of the levels `avx512bf16` and `amx`; x86-64 only |
| `ffi/*.cc` | once, baseline flags and XLA's headers, which no other source sees |
| `FATBIN_SOURCE` | once, last: it includes nvcc's output for `cuda/kernels.cu` (see `nvcc.py`), if there is an nvcc |
| the others | once, baseline flags |

Without XLA's headers, where no framework is installed, the library is `CORE` alone: it finds words, and has no kernels.

`KERASPTB_CXXFLAGS` has further flags for the compiler and the linker, such as sanitizers. A library made with them is
stored separately, and found if the variable has the same value.

A wheel brings a library in the folder `PREBUILT` beside this module. It is used while the cache has none; `kerasptb
build` compiles one for this machine, with CUDA code if there is an nvcc.

A library with CUDA code needs no GPU. A library without it is built again once nvcc is found; one with it is not
rebuilt if nvcc is missing. Likewise, a library built for an older version of XLA's FFI is kept: it serves newer
frameworks.
"""

import concurrent.futures
import contextlib
import functools
import hashlib
import itertools
import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

from kerasptb.native import nvcc
from kerasptb.native.compilers import (
    NativeBuildError,
    compiler_version,
    ffi_include_dir,
    ffi_version,
    find_compiler,
    nvcc_version,
    run,
    target_machine,
    why_no_kernels,
    words_of,
)
from kerasptb.utils.files import user_cache, write_json
from kerasptb.utils.processors import available_processors

Record: TypeAlias = dict[str, Any]  # of a library, as in build.json
Unit: TypeAlias = tuple[str, Path, tuple[str, ...]]  # of an object file: its name, its source, flags
Report: TypeAlias = Callable[[int, int], None]  # of how many files are done, of how many

SOURCES = Path(__file__).parent / "src"
FATBIN_SOURCE, CORE = "cuda/fatbin.cc", "core/core.cc"
EXPORTS = "exports.map"
# In a wheel, the library as `prebuild` has made it.
PREBUILT = Path(__file__).parent / "prebuilt"

# No -ffast-math: NaN and infinity must be preserved. Contraction to fused multiply-add is wanted, and is off by default
# under -std=c++17. Sums whose first block replaces them look uninitialized to g++, thousands of times; clang does not
# know that warning.
COMMON_FLAGS = (
    *("-std=c++17", "-O3", "-fPIC", "-pthread", "-fvisibility=hidden", "-ffp-contract=fast", "-fno-math-errno"),
    *("-Wall", "-Wextra", "-Wno-psabi", "-Wno-unknown-warning-option", "-Wno-maybe-uninitialized"),
)
_AVX2 = ("-mavx2", "-mfma")
_AVX512 = (*_AVX2, "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mprefer-vector-width=512")
_AVX512BF16 = (*_AVX512, "-mavx512bf16")
_AMX = (*_AVX512BF16, "-mamx-tile", "-mamx-bf16")
LEVELS = {"baseline": (), "avx2": _AVX2, "avx512": _AVX512, "avx512bf16": _AVX512BF16, "amx": _AMX}

# Levels for which the compiler, or the assembler that g++ uses, may be too old. For each: the macro that tells the
# sources so, what supports the level, and one of its instructions.
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


def cache_dir() -> Path:
    """Returns the folder of built libraries: `KERASPTB_CACHE`, else `kerasptb/native` in the user's cache folder."""
    if folder := os.environ.get("KERASPTB_CACHE"):
        return Path(folder).absolute()
    try:
        return user_cache() / "native"
    except RuntimeError as error:
        raise NativeBuildError(f"{error} Set KERASPTB_CACHE to a folder for the native library.") from error


def library_dir() -> Path:
    """Returns the folder of the library for these sources, flags and machine. Starts no compiler."""
    return cache_dir() / _key()


def find_library() -> Path:
    """Returns the path of a library that was built here and is complete, else of the one that the wheel brought."""
    folder = library_dir()
    last = None
    while record := _read_json(folder / "build.json"):
        if (path := _sound(folder, record)) is not None:
            return path
        if record == last:
            raise NativeBuildError(f"The library in the cache is damaged: {folder / str(record.get('file'))}.")
        last = record  # another process may have installed a new library meanwhile
    if (path := _prebuilt()) is not None:
        return path
    if failure := _read_json(folder / "failed.json"):
        raise NativeBuildError(failure["message"])
    raise FileNotFoundError(folder / "build.json")


def _prebuilt() -> Path | None:
    """Returns the path of the wheel's library, or None if there is none, or none for this machine."""
    record = _read_json(PREBUILT / "build.json")
    if not record or record["machine"] != [platform.system(), platform.machine()]:
        return None
    libc, version = platform.libc_ver()
    if libc != "glibc" or _numbers(version) < _numbers(record["glibc"]):
        return None
    return _sound(PREBUILT, record)


def _sound(folder: Path, record: Record) -> Path | None:
    """Returns the path of the library that a folder's record names, or None if it is not what was built."""
    path = folder / str(record.get("file"))
    with contextlib.suppress(OSError):
        if hashlib.sha256(path.read_bytes()).hexdigest() == record.get("sha256"):
            return path
    return None


def _numbers(version: str) -> list[int]:
    return [int(number) for number in version.split(".")]


def build(force: bool = False, verbose: bool = False, report: Report | None = None) -> Path:
    """Compiles the native library, unless it exists or `force`, and returns its path; raises NativeBuildError.

    Of several processes one compiles, the others wait. `report(done, total)` is called before the first file and after
    each. An error of nvcc leaves out CUDA code; see `cuda_problem`.
    """
    if not force and (path := _up_to_date()) is not None:
        return path
    if why_no_kernels() and (path := _prebuilt()) is not None:
        return path  # the wheel's has kernels, and one without would be found before it
    folder = library_dir()
    with _lock(folder):
        if not force and (path := _up_to_date()) is not None:
            return path  # another process built it while this one waited
        try:
            return _build_into(folder, verbose, report or (lambda done, total: None))
        except NativeBuildError as error:
            with contextlib.suppress(OSError):
                write_json(folder / "failed.json", {"message": str(error).splitlines()[0]})
            raise
        except OSError as error:
            raise _unwritable(error) from error


def has_kernels(library: Path) -> bool:
    """Returns whether a library has more than what finds words."""
    return bool(_read_json(library.parent / "build.json").get("ffi_version"))


def levels_left_out(library: Path) -> list[str]:
    """Returns a list of the levels that a cached library lacks because the compiler was too old, with their needs."""
    left_out = _read_json(library.parent / "build.json").get("left_out", [])
    return [_YOUNG_LEVELS[level][1] for level in left_out if level in _YOUNG_LEVELS]


def cuda_problem(library: Path) -> str | None:
    """Returns one line on why a cached library has no CUDA code, or None if it has."""
    record = _read_json(library.parent / "build.json").get("cuda")
    return record.get("problem") if isinstance(record, dict) else "Its sources hold no CUDA kernels."


def translation_units() -> list[Unit]:
    """Returns the object files of the library, a list of (name, source, flags)."""
    x86 = target_machine().lower() in ("x86_64", "amd64")
    units = []
    if why_no_kernels():
        return [("core", SOURCES / CORE, (f"-I{SOURCES}",))]
    for source in sorted(SOURCES.rglob("*.cc")):
        path = source.relative_to(SOURCES)
        name, root = "-".join(path.with_suffix("").parts), f"-I{SOURCES}"
        if source.name.endswith("_float32.cc"):
            levels = ("baseline", "avx2", "avx512") if x86 else ("baseline",)
        elif source.name.endswith("_bfloat16.cc"):
            levels = ("avx512bf16", "amx") if x86 else ()
        else:
            headers = ("-isystem", str(ffi_include_dir())) if path.parts[0] == "ffi" else ()
            units.append((name, source, (root, *headers)))
            continue
        for level in levels:
            units.append((f"{name}-{level}", source, (root, *LEVELS[level], f"-DKERASPTB_LEVEL={level}")))
    return units


def _key() -> str:
    paths = [path for path in sorted(SOURCES.rglob("*")) if path.suffix in (".cc", ".c", ".h", ".cu", ".cuh", ".map")]
    digest = hashlib.sha256(_digest_of(tuple((path, path.stat().st_mtime_ns) for path in paths), SOURCES))
    settings = (COMMON_FLAGS, LEVELS, LINK_FLAGS, nvcc.FLAGS, nvcc.CODES)
    # Machines that share a home folder may have different C libraries, and an older one cannot load what was built
    # with a newer one. So each version has its own library.
    machine = (platform.system(), target_machine(), platform.libc_ver())
    digest.update(repr((settings, *machine, words_of("KERASPTB_CXXFLAGS"))).encode())
    return digest.hexdigest()[:20]


@functools.lru_cache(maxsize=8)
def _digest_of(sources: tuple[tuple[Path, int], ...], folder: Path) -> bytes:
    """Returns the digest of the contents of source files, given as (path, time of the last change)."""
    digest = hashlib.sha256()
    for path, _ in sources:
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.digest()


def _up_to_date() -> Path | None:
    """Returns the cached library if it is complete and no other compiler is available than those that made it."""
    try:
        path = find_library()
    except (FileNotFoundError, NativeBuildError):
        return None
    try:
        compiler = compiler_version(find_compiler())
    except NativeBuildError:
        return path  # nothing could be built
    record = _read_json(path.parent / "build.json")
    if why_no_kernels():
        return path
    if not record.get("ffi_version") or tuple(record["ffi_version"]) > ffi_version():
        return None
    at_hand = nvcc_version(nvcc.find()) if nvcc.kernels(SOURCES) else None
    if at_hand is not None and at_hand != (record.get("cuda") or {}).get("nvcc"):
        return None
    return path if record.get("compiler") == compiler else None


def _build_into(folder: Path, verbose: bool, report: Report) -> Path:
    compiler = find_compiler()
    version = compiler_version(compiler)
    extra = words_of("KERASPTB_CXXFLAGS")
    sanitized = any(flag.startswith("-fsanitize") for flag in extra)
    for leftover in folder.glob("build-*"):  # from a killed build: only the holder of the lock builds
        shutil.rmtree(leftover, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="build-", dir=folder) as scratch:
        left_out = _levels_left_out(compiler, Path(scratch))
        without = [_YOUNG_LEVELS[level][0] for level in left_out]
        units = [
            unit
            for unit in translation_units()
            if not any(f"-DKERASPTB_LEVEL={level}" in unit[2] for level in left_out)
        ]
        cuda = _compile_units([*compiler, *COMMON_FLAGS, *without, *extra], units, Path(scratch), verbose, report)
        library = Path(scratch) / "library.so"
        strip = () if extra or platform.system() != "Linux" else ("-Wl,--no-undefined", "-Wl,--strip-all")
        if strip and (SOURCES / EXPORTS).is_file():
            strip = (*strip, "-Xlinker", f"--version-script={SOURCES / EXPORTS}")
        objects = [f"{scratch}/{name}.o" for name, _, _ in units]
        # -ldl: before glibc 2.34, dlopen is in a separate library.
        system = ("-ldl",) if platform.system() == "Linux" else ()
        run([*compiler, *LINK_FLAGS, *extra, *strip, *objects, *system, "-o", str(library)], verbose=verbose)
        # A sanitized library loads only if the sanitizer's runtime was loaded first.
        if not sanitized and target_machine() == platform.machine():
            # -I: the working directory may contain a module with the name of one of Python's.
            load = [sys.executable, "-I", "-c", "import ctypes, sys; ctypes.CDLL(sys.argv[1])", str(library)]
            run(load, verbose=verbose)
        sha256 = hashlib.sha256(library.read_bytes()).hexdigest()
        path = folder / f"libkerasptb-{sha256[:16]}.so"
        library.replace(path)
    record = {"file": path.name, "sha256": sha256, "compiler": version}
    ffi = () if why_no_kernels() else ffi_version()
    write_json(folder / "build.json", record | {"ffi_version": ffi, "left_out": left_out, "cuda": cuda})
    with contextlib.suppress(OSError):
        (folder / "failed.json").unlink(missing_ok=True)
        for old in folder.glob("libkerasptb-*.so"):
            if old != path:
                old.unlink()
    return path


def _levels_left_out(compiler: list[str], scratch: Path) -> list[str]:
    """Returns a list of the levels of the units that the compiler or its assembler does not support."""
    used = {flag for _, _, flags in translation_units() for flag in flags}
    left_out = []
    for level, (_, _, instruction) in _YOUNG_LEVELS.items():
        if f"-DKERASPTB_LEVEL={level}" in used:
            probe = scratch / f"{level}.cc"
            probe.write_text(f'asm("{instruction}");\n')
            try:
                run([*compiler, *LEVELS[level], "-c", str(probe), "-o", str(probe.with_suffix(".o"))])
            except NativeBuildError:
                left_out.append(level)
    return left_out


def _compile_units(
    compiler: list[str], units: list[Unit], scratch: Path, verbose: bool, report: Report
) -> Record | None:
    """Compiles object files into `scratch`; returns the record of the CUDA code, see `_compile_cuda`."""

    def compile_unit(unit: Unit, *flags: str) -> None:
        name, source, own_flags = unit
        run([*compiler, *own_flags, *flags, "-c", str(source), "-o", f"{scratch}/{name}.o"], verbose=verbose)
        report(next(numbers), len(units))

    numbers = itertools.count(1)
    report(0, len(units))
    fatbin = SOURCES / FATBIN_SOURCE
    # One compiler process takes up to 300 MB.
    with concurrent.futures.ThreadPoolExecutor(min(available_processors(), 8)) as pool:
        cuda = pool.submit(_compile_cuda, scratch, verbose)  # first, because it takes long
        list(pool.map(compile_unit, [unit for unit in units if unit[1] != fatbin]))
        record = cuda.result()
    code = []
    if record is not None and record["problem"] is None:
        code = [
            f'-DKERASPTB_FATBIN="{scratch}/kernels.fatbin"',
            f"-DKERASPTB_NVCC={nvcc.major_version(nvcc.find() or '')}",
        ]
    for unit in units:
        if unit[1] == fatbin:
            compile_unit(unit, *code)
    return record


def _compile_cuda(scratch: Path, verbose: bool) -> Record | None:
    """Compiles the CUDA kernels, if there are sources: returns the version of "nvcc", and the "problem" or None."""
    if not nvcc.kernels(SOURCES) or why_no_kernels():
        return None
    if (path := nvcc.find()) is None:
        if os.environ.get("KERASPTB_NVCC") == "":
            return {"nvcc": None, "problem": "KERASPTB_NVCC was empty when it was built, which asks for none."}
        return {"nvcc": None, "problem": f"No nvcc was found when it was built. {nvcc.HINT}"}
    if "ziglang" in find_compiler():
        return {"nvcc": nvcc_version(path), "problem": "nvcc compiles with g++ or clang++, and neither was found."}
    try:
        run(nvcc.command(path, SOURCES, scratch / "kernels.fatbin", find_compiler()), verbose=verbose)
    except NativeBuildError as error:
        if verbose:
            print(error, file=sys.stderr)
        return {"nvcc": nvcc_version(path), "problem": f"nvcc could not compile it. {str(error).splitlines()[0]}"}
    return {"nvcc": nvcc_version(path), "problem": None}


def _unwritable(error: OSError) -> NativeBuildError:
    return NativeBuildError(f"The cache folder cannot be written: {error}. Set KERASPTB_CACHE to a folder that can.")


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Holds the build lock of `folder`, creating the folder."""
    try:
        import fcntl  # noqa: PLC0415  (not on Windows, where the package must work without the library)
    except ImportError:
        raise NativeBuildError("The native library is for Linux and macOS.") from None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "lock").open("w")
    except OSError as error:
        raise _unwritable(error) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            raise NativeBuildError(
                f"The file system of {folder} has no locks: {error.strerror}. Set KERASPTB_CACHE to another folder."
            ) from error
        yield


def _read_json(path: Path) -> Record:
    """Returns the record in a file; an empty one if there is none."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
