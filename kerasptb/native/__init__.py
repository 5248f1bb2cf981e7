"""The native library: C++ and CUDA kernels for the operations that determine how fast a language model trains.

`build.build` compiles it, `load` brings it into the process, `status` says whether it can be used and why not.
"""

from kerasptb.native.build import NativeBuildError
from kerasptb.native.loader import NativeUnavailableError, cpu_level, load, status, thread_count

__all__ = ["NativeBuildError", "NativeUnavailableError", "cpu_level", "load", "status", "thread_count"]
