"""Optimizers."""

from kerasptb.optimizers.clipped_sgd import ClippedSGD

__all__ = ["ClippedSGD"]
