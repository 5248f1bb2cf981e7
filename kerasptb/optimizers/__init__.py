"""Optimizers, and learning rates that follow the steps."""

from kerasptb.optimizers.averaging import averaged_weights
from kerasptb.optimizers.by_name import decay_of, rate_of, with_optimizer
from kerasptb.optimizers.clipped_adamw import ClippedAdamW
from kerasptb.optimizers.clipped_sgd import ClippedSGD
from kerasptb.optimizers.one_cycle import OneCycle

__all__ = ["ClippedAdamW", "ClippedSGD", "OneCycle", "averaged_weights", "decay_of", "rate_of", "with_optimizer"]
