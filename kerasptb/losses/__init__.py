"""Losses."""

from kerasptb.losses.sequence_cross_entropy import SequenceCrossEntropy

__all__ = ["SequenceCrossEntropy"]
