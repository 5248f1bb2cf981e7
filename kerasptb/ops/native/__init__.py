"""The native library: C++ and CUDA kernels for the operations that determine how fast a language model trains.

`build.build` compiles it, `load` brings it into the process, `status` says whether it can be used and why not.
"""

import importlib

# The module of each public name. The loader imports Keras, which the build does not need.
_MODULES = {
    "NativeBuildError": "build",
    "NativeUnavailableError": "loader",
    "cpu_level": "loader",
    "load": "loader",
    "status": "loader",
    "thread_count": "loader",
}

__all__ = list(_MODULES)


def __getattr__(name):
    if name in _MODULES:
        return getattr(importlib.import_module(f"kerasptb.ops.native.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
