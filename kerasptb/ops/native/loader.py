"""Load the native library into this process and register its handlers with TensorFlow.

Nothing here starts a compiler: a library that is not in the cache is reported as not built.
"""

import ctypes
import importlib.metadata
import importlib.util
import os
import threading
from pathlib import Path
from typing import NamedTuple

import keras

from kerasptb.ops.native import build

CPU_LEVELS = ("baseline", "avx2", "avx512", "amx")
PRECISIONS = ("float32", "bfloat16x3", "bfloat16")
_BUILD_HINT = "Run `kerasptb build`."
# xla::ffi::GetXlaFfiApi() as the Itanium C++ ABI spells it, in the libraries that have carried it.
_ENTRY_POINT = "_ZN3xla3ffi12GetXlaFfiApiEv"
_ENTRY_LIBRARIES = ("libtensorflow_framework.so.2", "libtensorflow_cc.so.2")

_lock = threading.Lock()
_library = None
_path = None
_failure = None  # (state of the cache, reason)


class NativeUnavailableError(RuntimeError):
    """The native library cannot be used; the message says why and what to do."""


class Status(NamedTuple):
    """Whether the native library can be used.

    Attributes:
        available: It is loaded and its handlers are registered.
        reason: Why not, in a line; where it is available, the processor level and the threads that it uses.
        path: The file, or None.
    """

    available: bool
    reason: str
    path: Path | None


def load():
    """Load and register the native library, once; later calls return at once.

    Raises:
        NativeUnavailableError: It is not built, its build failed, it is damaged, or TensorFlow does not take it.
    """
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


def status():
    """Load the library if that can be done, and say how it stands: a `Status`."""
    try:
        load()
    except NativeUnavailableError as error:
        return Status(False, str(error), None)
    return Status(True, f"{cpu_level()}, {thread_count()} threads", _path)


def is_loaded():
    """Whether `load` has succeeded in this process."""
    return _library is not None


def cpu_level():
    """The instruction set the kernels use: `"baseline"`, `"avx2"`, `"avx512"` or `"amx"`. Loads the library."""
    load()
    return _library.kerasptb_cpu_level().decode()


def thread_count():
    """The number of threads that the kernels use. Loads the library."""
    load()
    return _library.kerasptb_thread_count()


def _load():
    if (level := os.environ.get("KERASPTB_CPU")) not in (None, "", *CPU_LEVELS):
        raise NativeUnavailableError(f"KERASPTB_CPU must be one of {CPU_LEVELS}. Received: KERASPTB_CPU={level}")
    if keras.backend.backend() != "tensorflow":
        raise NativeUnavailableError(
            f"The native library is registered with TensorFlow only. Received: KERAS_BACKEND={keras.backend.backend()}"
        )
    try:
        path = build.find_library(os.environ.get("KERASPTB_SANITIZE"))
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
    library.kerasptb_cpu_level.restype = ctypes.c_char_p
    problem = library.kerasptb_register(_xla_ffi_api())
    if problem is not None:
        raise NativeUnavailableError(
            f"TensorFlow {_tensorflow_version()} does not take the library: {problem.decode()}."
        )
    return library, path


def _xla_ffi_api():
    """The address of the table of XLA FFI functions of the TensorFlow in this process."""
    folder = Path(importlib.util.find_spec("tensorflow").origin).parent
    for name in _ENTRY_LIBRARIES:
        try:
            entry_point = getattr(ctypes.CDLL(str(folder / name)), _ENTRY_POINT)
        except (OSError, AttributeError):
            continue
        entry_point.restype = ctypes.c_void_p
        return entry_point()
    raise NativeUnavailableError(
        f"TensorFlow {_tensorflow_version()} has moved the entry point that the native library needs "
        f"(xla::ffi::GetXlaFfiApi, looked for in {' and '.join(_ENTRY_LIBRARIES)}). The build itself is sound; "
        "another version of kerasptb or TensorFlow is needed."
    )


def _tensorflow_version():
    try:
        return importlib.metadata.version("tensorflow")
    except importlib.metadata.PackageNotFoundError:
        return "(unknown version)"


def _cache_state():
    """Changes whenever a build has ended, so that a failure to load is not final."""
    try:
        folder = build.library_dir(os.environ.get("KERASPTB_SANITIZE"))
    except build.NativeBuildError:
        return None
    state = [os.environ.get("KERASPTB_CPU")]
    for name in ("build.json", "failed.json"):
        try:
            state.append((folder / name).stat().st_mtime_ns)
        except OSError:
            state.append(None)
    return folder, *state
