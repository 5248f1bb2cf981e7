"""Optimizers, and learning rates that follow the steps."""

from kerasptb.optimizers.clipped_adamw import ClippedAdamW
from kerasptb.optimizers.clipped_sgd import ClippedSGD
from kerasptb.optimizers.one_cycle import OneCycle

__all__ = ["ClippedAdamW", "ClippedSGD", "OneCycle"]
