"""Loads the native library. It needs no framework: `kerasptb.ops.hosts` registers its handlers with one.

Nothing here starts a compiler: a library that is not in the cache is reported as not built.
"""

import ctypes
import functools
import itertools
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar, get_args

from kerasptb.native import build
from kerasptb.utils.processors import available_processors
from kerasptb.utils.types import Precision

CPU_LEVELS = tuple(build.LEVELS)
BFLOAT16_LEVELS = CPU_LEVELS[CPU_LEVELS.index("avx512bf16") :]
PRECISIONS = get_args(Precision)
BUILD_HINT = "Run `kerasptb build`."
_Result = TypeVar("_Result")


class NativeUnavailableError(RuntimeError):
    """The native library cannot be used; the message says why and what to do."""


class Status(NamedTuple):
    """Whether the native library can be used."""

    available: bool  # it is loaded
    reason: str  # one line on why it is not; if it is, the processor level and the threads
    path: Path | None


class Once(Generic[_Result]):
    """Does something once; a NativeUnavailableError is raised again, without another try, until a build has ended."""

    def __init__(self, do: Callable[[], _Result]) -> None:
        self.do, self._lock = do, threading.Lock()
        self.result: _Result | None = None
        self._failure: tuple[Any, str] | None = None  # state of the cache, reason

    def __call__(self) -> _Result:
        """Returns the result."""
        if self.result is None:
            with self._lock:
                self.result = self._try() if self.result is None else self.result
        return self.result

    def _try(self) -> _Result:
        cache = cache_state()
        if self._failure is not None and self._failure[0] == cache:
            raise NativeUnavailableError(self._failure[1])
        try:
            return self.do()
        except NativeUnavailableError as error:
            self._failure = (cache, str(error))
            raise


def load() -> tuple[ctypes.CDLL, Path]:
    """Returns the native library and its path; raises NativeUnavailableError where it has no kernels to be used."""
    return _load()


def core() -> ctypes.CDLL:
    """Returns the library that has the core, with kernels or without; raises NativeUnavailableError without one."""
    return _open()[0]


def function(name: str, *types: Any, returns: Any = ctypes.c_int) -> Any:
    """Returns a function of the library that takes and returns values of these types of ctypes. Loads the library."""
    found = load()[0][name]  # an object of its own, since of one that threads share they would set the types at once
    found.argtypes, found.restype = types, returns
    return found


def status() -> Status:
    """Loads the library if possible, and returns a `Status`."""
    try:
        _, path = load()
    except NativeUnavailableError as error:
        return Status(False, str(error), None)
    return Status(True, f"{cpu_level()}, threads: {thread_count()}", path)


def cpu_level() -> str:
    """Returns the instruction set that the kernels use, one of `CPU_LEVELS`. Loads the library."""
    return function("kerasptb_cpu_level", returns=ctypes.c_char_p)().decode()


def levels_left_out() -> list[str]:
    """Returns what the library lacks because its compiler was too old; see `build.levels_left_out`. Loads it."""
    return build.levels_left_out(load()[1])


def thread_count() -> int:
    """Returns the number of threads that the kernels use. Loads the library."""
    return function("kerasptb_thread_count")()


def why_not_precision(precision: str) -> str | None:
    """Returns one line on why the kernels for processors lack a precision here, or `None`. Loads the library."""
    if precision == "float32" or (level := cpu_level()) in BFLOAT16_LEVELS:
        return None
    missing = "".join(f" The library was built without {part}." for part in levels_left_out())
    return (
        f"`precision={precision!r}` needs a processor with AVX512-BF16 or AMX. This one is used as {level!r}.{missing}"
    )


def drawback(precision: str | None) -> str | None:
    """Returns one line on the drawback of a precision that the kernels for processors have here. Loads the library."""
    if precision == "bfloat16x3" and cpu_level() == "avx512bf16":
        # It needs three bfloat16 products, each only twice as fast as a float32 one; with AMX four times or more.
        return "slower than float32 on this processor, which has AVX512-BF16 but no AMX"
    return None


def count_gpus() -> int:
    """Returns the number of NVIDIA GPUs that the driver has, 0 without one; loads the driver alone."""
    count = ctypes.c_int(0)
    try:
        driver = ctypes.CDLL("libcuda.so.1")
        found = driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0
    except (OSError, AttributeError):
        return 0
    return count.value if found else 0


def few_words_limit(features: int, vocabulary_size: int, precision: str = "float32") -> int:
    """Returns up to how many words the linear cross-entropy takes its float32 kernel for few. Loads the library."""
    limit = function("kerasptb_few_words_limit", ctypes.c_char_p, *[ctypes.c_int64] * 2, returns=ctypes.c_int64)
    return limit(precision.encode(), features, vocabulary_size)


def why_not_cuda(device: int = 0) -> str | None:
    """Returns why the CUDA kernels cannot run on a GPU, by its number in CUDA, or None. Loads the library alone."""
    if (problem := build.cuda_problem(load()[1])) is not None:
        return f"The native library has no CUDA code. {problem}"
    reason = function("kerasptb_why_not_cuda", ctypes.c_int, returns=ctypes.c_char_p)(device).decode()
    return f"The CUDA kernels cannot run on GPU {device}: {reason}." if reason else None


def cuda_max_units(precision: str = "float32", device: int = 0) -> int:
    """Returns the most units that the CUDA recurrence takes in float32 or bfloat16. Loads the library."""
    # In bfloat16 the driver is asked, once; in a process that has not used the GPU, in a context of this call alone.
    most = function("kerasptb_cuda_max_units", ctypes.c_char_p, ctypes.c_int, returns=ctypes.c_int64)
    return most(precision.encode(), device)


@Once
def _load() -> tuple[ctypes.CDLL, Path]:
    if (level := os.environ.get("KERASPTB_CPU")) not in (None, "", *CPU_LEVELS):
        raise NativeUnavailableError(f"KERASPTB_CPU must be one of {CPU_LEVELS}. Received: KERASPTB_CPU={level}.")
    threads = os.environ.get("KERASPTB_THREADS", "")
    if threads and not (threads.isascii() and threads.isdigit() and int(threads) > 0):
        raise NativeUnavailableError(
            f"KERASPTB_THREADS must be a whole number of at least 1. Received: KERASPTB_THREADS={threads}."
        )
    library, path = _open()
    if not hasattr(library, "kerasptb_handler"):
        raise NativeUnavailableError(
            "The native library was built without kernels, since neither TensorFlow nor JAX was there. "
            f"{BUILD_HINT[:-1]}, then start Python anew."
        )
    library.kerasptb_handler.argtypes = [ctypes.c_int, *[ctypes.POINTER(ctypes.c_char_p)] * 2]
    library.kerasptb_handler.restype = ctypes.c_void_p
    library.kerasptb_set_processors(available_processors())
    return library, path


@Once
def _open() -> tuple[ctypes.CDLL, Path]:
    try:
        path = build.find_library()
    except FileNotFoundError:
        raise NativeUnavailableError(f"The native library is not built. {BUILD_HINT}") from None
    except build.NativeBuildError as error:
        raise NativeUnavailableError(f"{str(error).splitlines()[0]} {BUILD_HINT}") from error
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise NativeUnavailableError(f"The native library could not be loaded: {error}. {BUILD_HINT}") from error
    return library, path


def all_handlers() -> Iterator[tuple[str, str, int]]:
    """Yields the name of each handler, that of the platform as XLA has it, and its address. Loads the library."""
    library, _ = load()
    target, system = ctypes.c_char_p(), ctypes.c_char_p()
    for i in itertools.count():
        handler = library.kerasptb_handler(i, ctypes.byref(target), ctypes.byref(system))
        if handler is None:
            return
        yield (target.value or b"").decode(), (system.value or b"").decode(), handler


@functools.cache
def handlers() -> dict[str, int]:
    """Returns the addresses of the handlers for processors, by name, for `plain_call`. Loads the library."""
    return {name: handler for name, system, handler in all_handlers() if system == "Host"}


@functools.cache
def plain_call() -> Any:
    """Returns the C function that calls a handler without a framework (`src/ffi/plain.cc`). Loads the library."""
    strings, flags = ctypes.POINTER(ctypes.c_char_p), ctypes.POINTER(ctypes.c_bool)
    types = ctypes.c_void_p, ctypes.POINTER(ctypes.c_int64), ctypes.POINTER(ctypes.c_void_p), strings, flags
    return function("kerasptb_call", *types, returns=ctypes.c_char_p)


@functools.lru_cache(maxsize=8)
def _library_dir(*_environment: str | None) -> Path:
    return build.library_dir()


def cache_state() -> Any:
    """Returns a value that changes whenever a build has ended, so that a failure to load is not final."""
    try:
        # Cached: `library_dir` looks at every source file. That takes too long for every call of an operation that
        # falls back to Keras.
        names = ("KERASPTB_CACHE", "KERASPTB_CXXFLAGS", "XDG_CACHE_HOME", "HOME")
        folder = _library_dir(*map(os.environ.get, names))
    except build.NativeBuildError:
        return None
    state: list[Any] = [os.environ.get("KERASPTB_CPU"), os.environ.get("KERASPTB_THREADS")]
    for name in ("build.json", "failed.json"):
        try:
            state.append((folder / name).stat().st_mtime_ns)
        except OSError:
            state.append(None)
    return folder, *state
