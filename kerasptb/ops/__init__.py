"""Operations on tensors: the two that decide how fast a language model trains.

Each is imported when it is first used: to compile the native library takes neither of them, nor Keras.
"""

import importlib
import sys
import types

__all__ = ["linear_cross_entropy", "lstm"]


class _Operations(types.ModuleType):
    """The package. An import of one of the modules must not put it in the place of the operation of its name."""

    lstm = property(lambda self: importlib.import_module("kerasptb.ops.lstm").lstm, lambda self, module: None)
    linear_cross_entropy = property(
        lambda self: importlib.import_module("kerasptb.ops.linear_cross_entropy").linear_cross_entropy,
        lambda self, module: None,
    )


sys.modules[__name__].__class__ = _Operations
