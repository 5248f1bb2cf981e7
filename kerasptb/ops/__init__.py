"""Operations on tensors: those that determine how fast a language model trains.

`lstm`, `gru` and `linear_cross_entropy` are for models of one's own too, and stand here; `recurrence` runs any cell.
`dropout` is that of the layers; `global_norm`, `clipped_sgd` and `clipped_adamw` are the optimizers'. Each has a
module, with `plan` and `run` (see `kerasptb.ops.plan`).
"""

from kerasptb.ops.gru import gru
from kerasptb.ops.linear_cross_entropy import linear_cross_entropy
from kerasptb.ops.lstm import lstm

__all__ = ["gru", "linear_cross_entropy", "lstm"]
