"""Registers the native library's handlers with Keras' backend, TensorFlow or JAX; PyTorch needs none."""

import contextlib
import ctypes
import importlib.metadata
import importlib.util
import platform
from collections.abc import Callable
from pathlib import Path

import keras

from kerasptb.native import loader
from kerasptb.native.loader import BUILD_HINT, NativeUnavailableError, Once, Status
from kerasptb.ops.backend import jax, torch

# The mangled name (Itanium C++ ABI) of xla::ffi::GetXlaFfiApi(), and the libraries that have contained it.
_ENTRY_POINT = "_ZN3xla3ffi12GetXlaFfiApiEv"
_ENTRY_LIBRARIES = tuple(
    f"libtensorflow_{part}.{ending}"
    for ending in (("2.dylib",) if platform.system() == "Darwin" else ("so.2",))
    for part in ("framework", "cc")
)
_JAX_PLATFORMS = {"Host": "cpu", "CUDA": "CUDA"}


def register() -> None:
    """Loads the library and registers its handlers, once; raises NativeUnavailableError where that is not possible."""
    _register()


@Once
def _register() -> str:
    """Returns Keras' backend, with which the handlers are registered then."""
    host = keras.backend.backend()
    if host not in _REGISTER:
        raise NativeUnavailableError(
            f"The native library is for Keras on TensorFlow, JAX or PyTorch. Received: KERAS_BACKEND={host}"
        )
    loader.load()
    _REGISTER[host]()
    return host


def status() -> Status:
    """Loads and registers the library if possible, and returns a `Status`."""
    try:
        register()
    except NativeUnavailableError as error:
        return Status(False, str(error), None)
    return loader.status()


def _register_with_tensorflow() -> None:
    take = loader.function("kerasptb_register", ctypes.c_void_p, returns=ctypes.c_char_p)
    problem = take(_xla_ffi_api())
    if problem is not None:
        raise NativeUnavailableError(
            f"{_name('tensorflow')} does not take the library: {problem.decode()}. {BUILD_HINT}"
        )


def _register_with_jax() -> None:
    for name, system, handler in loader.all_handlers():
        try:
            capsule = jax.ffi.pycapsule(ctypes.c_void_p(handler))
            jax.ffi.register_ffi_target(name, capsule, platform=_JAX_PLATFORMS[system])
        except Exception as error:  # its type depends on the version of JAX
            raise NativeUnavailableError(
                f"{_name('jax')} does not take the handler {name}: {error}. {BUILD_HINT}"
            ) from error


def _share_threads_with_torch() -> None:
    """Lets the kernels run on PyTorch's threads, if it uses several. It needs no handlers: a call names its own."""
    if torch.get_num_threads() == 1:
        return
    with contextlib.suppress(OSError, AttributeError):  # another OpenMP than GCC's has other functions
        openmp = ctypes.CDLL(str(Path(torch.__file__).with_name("lib") / "libtorch_cpu.so"))
        names = "GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads"
        use = loader.function("kerasptb_use_openmp", *[ctypes.c_void_p] * 3, returns=None)
        use(*(ctypes.cast(getattr(openmp, name), ctypes.c_void_p) for name in names))


_REGISTER: dict[str, Callable[[], None]] = {
    "tensorflow": _register_with_tensorflow,
    "jax": _register_with_jax,
    "torch": _share_threads_with_torch,
}


def _xla_ffi_api() -> int:
    """Returns the address of TensorFlow's table of XLA FFI functions in this process."""
    spec = importlib.util.find_spec("tensorflow")
    folder = Path(str(spec and spec.origin)).parent
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


def _name(package: str) -> str:
    """Returns a package's name and version, for an error."""
    title = {"tensorflow": "TensorFlow", "jax": "JAX"}[package]
    try:
        return f"{title} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return f"{title} (unknown version)"
