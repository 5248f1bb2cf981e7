"""Types that annotations name in several rooms."""

import os
from typing import Any, Literal, TypeAlias

# Of Keras' backend, a `keras.KerasTensor`, or an array that becomes one: these share no type.
Tensor: TypeAlias = Any

StrPath: TypeAlias = str | os.PathLike[str]
Backend: TypeAlias = Literal["auto", "reference", "keras", "native"]
Tokens: TypeAlias = Literal["words", "subwords", "characters"]
CellName: TypeAlias = Literal["lstm", "gru", "cifg", "capped_lstm", "layer_norm_lstm", "mogrifier"]
Precision: TypeAlias = Literal["float32", "bfloat16x3", "bfloat16"]
