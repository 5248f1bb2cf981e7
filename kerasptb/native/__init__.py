"""The native library: C++ and CUDA kernels for the operations that determine how fast a language model trains.

`build.build` compiles it, `load` brings it into the process, `status` says whether it can be used and why not.
"""

import lazy_loader

# The loader imports Keras, which the build does not need.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

del lazy_loader  # editors would offer it
