"""Operations on tensors: the two that decide how fast a language model trains."""

from kerasptb.ops.linear_cross_entropy import linear_cross_entropy
from kerasptb.ops.lstm import lstm

__all__ = ["linear_cross_entropy", "lstm"]
