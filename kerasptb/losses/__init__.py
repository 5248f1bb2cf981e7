"""Losses."""

from kerasptb.losses.sequence_cross_entropy import SequenceCrossEntropy
from kerasptb.losses.sparse_categorical_crossentropy import SparseCategoricalCrossentropy

__all__ = ["SequenceCrossEntropy", "SparseCategoricalCrossentropy"]

LOSSES_OF_FACTORS = (SequenceCrossEntropy, SparseCategoricalCrossentropy)
