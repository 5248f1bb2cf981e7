"""A training: planned before its first step, run, recorded, resumed."""

from kerasptb.training.training import train

__all__ = ["train"]
