"""Types that annotations of operations name. A `Tensor` is Any: the frameworks' have no type in common."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from kerasptb.utils.types import Tensor

Tensors: TypeAlias = Sequence[Tensor]
Shape: TypeAlias = Sequence[Any]  # of ints; an unknown size is None, a tensor, or a symbolic expression of JAX
Mask: TypeAlias = Tensor | None
Gradients: TypeAlias = Sequence[Tensor | tuple[Tensor, Tensor]]  # or rows and values of that of a matrix

# Of a call of the native library.
Outputs: TypeAlias = Sequence[tuple[Shape, str]]  # shape and dtype of each
Aliases: TypeAlias = Mapping[int, int]
Attributes: TypeAlias = Mapping[str, bool]
