"""Loads the native library and registers its handlers with Keras' backend, TensorFlow or JAX; PyTorch needs none.

Nothing here starts a compiler: a library that is not in the cache is reported as not built.
"""

import contextlib
import ctypes
import functools
import importlib.metadata
import importlib.util
import itertools
import os
import platform
import threading
from pathlib import Path
from typing import Any, NamedTuple, get_args

import keras

from kerasptb.ops.native import build
from kerasptb.utils.processors import available_processors
from kerasptb.utils.types import Precision

CPU_LEVELS = tuple(build.LEVELS)
BFLOAT16_LEVELS = CPU_LEVELS[CPU_LEVELS.index("avx512bf16") :]
PRECISIONS = get_args(Precision)
_BUILD_HINT = "Run `kerasptb build`."
# The mangled name (Itanium C++ ABI) of xla::ffi::GetXlaFfiApi(), and the libraries that have contained it.
_ENTRY_POINT = "_ZN3xla3ffi12GetXlaFfiApiEv"
_ENTRY_LIBRARIES = tuple(
    f"libtensorflow_{part}.{ending}"
    for ending in (("2.dylib",) if platform.system() == "Darwin" else ("so.2",))
    for part in ("framework", "cc")
)
_JAX_PLATFORMS = {"Host": "cpu", "CUDA": "CUDA"}

_lock = threading.Lock()
_library: Any = None
_path = None
_failure = None  # (state of the cache, reason)


class NativeUnavailableError(RuntimeError):
    """The native library cannot be used; the message says why and what to do."""


class Status(NamedTuple):
    """Whether the native library can be used."""

    available: bool  # it is loaded and its handlers are registered
    reason: str  # one line on why it is not; if it is, the processor level and the threads
    path: Path | None


def load() -> None:
    """Loads and registers the native library once; raises NativeUnavailableError where it cannot be used."""
    global _library, _path, _failure  # noqa: PLW0603
    if _library is not None:
        return
    with _lock:
        if _library is not None:
            return
        cache = _cache_state()
        if _failure is not None and _failure[0] == cache:
            raise NativeUnavailableError(_failure[1])
        try:
            _library, _path = _load()
        except NativeUnavailableError as error:
            _failure = (cache, str(error))
            raise


def function(name: str, *types: Any, returns: Any = ctypes.c_int) -> Any:
    """Returns a function of the library that takes and returns values of these types of ctypes. Loads the library."""
    load()
    found = getattr(_library, name)
    found.argtypes, found.restype = types, returns
    return found


def status() -> Status:
    """Loads the library if possible, and returns a `Status`."""
    try:
        load()
    except NativeUnavailableError as error:
        return Status(False, str(error), None)
    return Status(True, f"{cpu_level()}, threads: {thread_count()}", _path)


def cpu_level() -> str:
    """Returns the instruction set that the kernels use, one of `CPU_LEVELS`. Loads the library."""
    return function("kerasptb_cpu_level", returns=ctypes.c_char_p)().decode()


def levels_left_out():
    """Returns what the library lacks because its compiler was too old; see `build.levels_left_out`. Loads it."""
    load()
    return build.levels_left_out(_path)


def thread_count() -> int:
    """Returns the number of threads that the kernels use. Loads the library."""
    return function("kerasptb_thread_count")()


def few_words_limit(features, vocabulary_size, precision="float32"):
    """Returns up to how many words the linear cross-entropy takes its float32 kernel for few. Loads the library."""
    limit = function("kerasptb_few_words_limit", ctypes.c_char_p, *[ctypes.c_int64] * 2, returns=ctypes.c_int64)
    return limit(precision.encode(), features, vocabulary_size)


def why_not_cuda(device=0):
    """Returns why the CUDA kernels cannot run on a GPU, by its number in CUDA, or None. Loads the library alone."""
    load()
    if (problem := build.cuda_problem(_path)) is not None:
        return f"The native library has no CUDA code. {problem}"
    reason = function("kerasptb_why_not_cuda", ctypes.c_int, returns=ctypes.c_char_p)(device).decode()
    return f"The CUDA kernels cannot run on GPU {device}: {reason}." if reason else None


def cuda_max_units(precision="float32", device=0):
    """Returns the most units that the CUDA recurrence takes in float32 or bfloat16. Loads the library."""
    # In bfloat16 the driver is asked, once; in a process that has not used the GPU, in a context of this call alone.
    most = function("kerasptb_cuda_max_units", ctypes.c_char_p, ctypes.c_int, returns=ctypes.c_int64)
    return most(precision.encode(), device)


def _load():
    if (level := os.environ.get("KERASPTB_CPU")) not in (None, "", *CPU_LEVELS):
        raise NativeUnavailableError(f"KERASPTB_CPU must be one of {CPU_LEVELS}. Received: KERASPTB_CPU={level}.")
    threads = os.environ.get("KERASPTB_THREADS", "")
    if threads and not (threads.isascii() and threads.isdigit() and int(threads) > 0):
        raise NativeUnavailableError(
            f"KERASPTB_THREADS must be a whole number of at least 1. Received: KERASPTB_THREADS={threads}."
        )
    host = keras.backend.backend()
    if host not in _REGISTER:
        raise NativeUnavailableError(
            f"The native library is for Keras on TensorFlow, JAX or PyTorch. Received: KERAS_BACKEND={host}"
        )
    try:
        path = build.find_library()
    except FileNotFoundError:
        raise NativeUnavailableError(f"The native library is not built. {_BUILD_HINT}") from None
    except build.NativeBuildError as error:
        raise NativeUnavailableError(f"{str(error).splitlines()[0]} {_BUILD_HINT}") from error
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise NativeUnavailableError(f"The native library could not be loaded: {error}. {_BUILD_HINT}") from error
    library.kerasptb_register.argtypes = [ctypes.c_void_p]
    library.kerasptb_register.restype = ctypes.c_char_p
    library.kerasptb_handler.argtypes = [ctypes.c_int, *[ctypes.POINTER(ctypes.c_char_p)] * 2]
    library.kerasptb_handler.restype = ctypes.c_void_p
    library.kerasptb_set_processors(available_processors())
    _REGISTER[host](library)
    return library, path


def _register_with_tensorflow(library):
    problem = library.kerasptb_register(_xla_ffi_api())
    if problem is not None:
        raise NativeUnavailableError(
            f"{_name('tensorflow')} does not take the library: {problem.decode()}. {_BUILD_HINT}"
        )


def _register_with_jax(library):
    import jax  # noqa: PLC0415  (Keras on TensorFlow does without)

    for name, system, handler in _handlers_of(library):
        try:
            capsule = jax.ffi.pycapsule(ctypes.c_void_p(handler))
            jax.ffi.register_ffi_target(name, capsule, platform=_JAX_PLATFORMS[system])
        except Exception as error:  # its type depends on the version of JAX
            raise NativeUnavailableError(
                f"{_name('jax')} does not take the handler {name}: {error}. {_BUILD_HINT}"
            ) from error


def _handlers_of(library):
    """Yields the name of each handler, that of the platform as XLA has it, and the handler's address."""
    target, system = ctypes.c_char_p(), ctypes.c_char_p()
    for i in itertools.count():
        handler = library.kerasptb_handler(i, ctypes.byref(target), ctypes.byref(system))
        if handler is None:
            return
        yield target.value.decode(), system.value.decode(), handler


def _share_threads_with_torch(library):
    """Lets the kernels run on PyTorch's threads, if it uses several. It needs no handlers: a call names its own."""
    import torch  # noqa: PLC0415  (TensorFlow and JAX do without)

    if torch.get_num_threads() == 1:
        return
    with contextlib.suppress(OSError, AttributeError):  # another OpenMP than GCC's has other functions
        openmp = ctypes.CDLL(str(Path(torch.__file__).with_name("lib") / "libtorch_cpu.so"))
        names = "GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads"
        library.kerasptb_use_openmp(*(ctypes.cast(getattr(openmp, name), ctypes.c_void_p) for name in names))


_REGISTER = {
    "tensorflow": _register_with_tensorflow,
    "jax": _register_with_jax,
    "torch": _share_threads_with_torch,
}


@functools.cache
def handlers():
    """Returns the addresses of the handlers for processors, by name, for `plain_call`. Loads the library."""
    load()
    return {name: handler for name, system, handler in _handlers_of(_library) if system == "Host"}


@functools.cache
def plain_call():
    """Returns the C function that calls a handler without a framework (`src/ffi/plain.cc`). Loads the library."""
    strings, flags = ctypes.POINTER(ctypes.c_char_p), ctypes.POINTER(ctypes.c_bool)
    types = ctypes.c_void_p, ctypes.POINTER(ctypes.c_int64), ctypes.POINTER(ctypes.c_void_p), strings, flags
    return function("kerasptb_call", *types, returns=ctypes.c_char_p)


def _xla_ffi_api():
    """Returns the address of TensorFlow's table of XLA FFI functions in this process."""
    folder = Path(importlib.util.find_spec("tensorflow").origin).parent
    for name in _ENTRY_LIBRARIES:
        try:
            entry_point = getattr(ctypes.CDLL(str(folder / name)), _ENTRY_POINT)
        except (OSError, AttributeError):
            continue
        entry_point.restype = ctypes.c_void_p
        return entry_point()
    raise NativeUnavailableError(
        f"{_name('tensorflow')} has moved the entry point that the native library needs "
        f"(xla::ffi::GetXlaFfiApi, looked for in {' and '.join(_ENTRY_LIBRARIES)}). The build itself is sound; "
        "another version of kerasptb or TensorFlow is needed."
    )


def _name(package):
    """Returns a package's name and version, for an error."""
    title = {"tensorflow": "TensorFlow", "jax": "JAX"}[package]
    try:
        return f"{title} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return f"{title} (unknown version)"


@functools.lru_cache(maxsize=8)
def _library_dir(*_environment):
    return build.library_dir()


def _cache_state():
    """Returns a value that changes whenever a build has ended, so that a failure to load is not final."""
    try:
        # Cached: `library_dir` looks at every source file. That takes too long for every call of an operation that
        # falls back to Keras.
        names = ("KERASPTB_CACHE", "KERASPTB_CXXFLAGS", "XDG_CACHE_HOME", "HOME")
        folder = _library_dir(*map(os.environ.get, names))
    except build.NativeBuildError:
        return None
    state = [os.environ.get("KERASPTB_CPU"), os.environ.get("KERASPTB_THREADS")]
    for name in ("build.json", "failed.json"):
        try:
            state.append((folder / name).stat().st_mtime_ns)
        except OSError:
            state.append(None)
    return folder, *state
