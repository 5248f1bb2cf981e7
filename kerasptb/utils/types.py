"""Types that annotations name in several rooms."""

import os
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np

# Of Keras' backend, a `keras.KerasTensor`, or an array that becomes one: these share no type.
Tensor: TypeAlias = Any

# Token ids, int32 [N].
Ids: TypeAlias = Sequence[int] | np.ndarray
StrPath: TypeAlias = str | os.PathLike[str]
Backend: TypeAlias = Literal["auto", "reference", "keras", "native"]
Tokens: TypeAlias = Literal["words", "subwords", "characters"]
CellName: TypeAlias = Literal["lstm", "gru", "cifg", "capped_lstm", "layer_norm_lstm", "mogrifier"]
Precision: TypeAlias = Literal["float32", "bfloat16x3", "bfloat16"]

Folder: TypeAlias = str | os.PathLike[str]
Report: TypeAlias = Callable[[str], object]  # takes a line for people to read
