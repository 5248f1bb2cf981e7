"""Operations on tensors: those that determine how fast a language model trains.

`lstm`, `gru` and `linear_cross_entropy` are for models of one's own too, and stand here; `recurrence` runs any cell.
`dropout` is that of the layers; `global_norm`, `clipped_sgd` and `clipped_adamw` are the optimizers'. Each has a
module, with `plan` and `run` (see `kerasptb.ops.plan`), and is imported when it is first used: compiling the native
library needs no Keras.
"""

import importlib
import sys
import types
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kerasptb.ops.gru import gru
    from kerasptb.ops.linear_cross_entropy import linear_cross_entropy
    from kerasptb.ops.lstm import lstm

__all__ = ["gru", "linear_cross_entropy", "lstm"]


class _Operations(types.ModuleType):
    def __getattr__(self, name):
        if name in __all__:
            return getattr(importlib.import_module(f"kerasptb.ops.{name}"), name)
        raise AttributeError(f"module 'kerasptb.ops' has no attribute {name!r}")

    def __setattr__(self, name, value):
        # Importing a submodule must not replace the operation of the same name.
        if not (name in __all__ and isinstance(value, types.ModuleType)):
            super().__setattr__(name, value)

    def __dir__(self):
        return [*super().__dir__(), *__all__]


sys.modules[__name__].__class__ = _Operations
