"""Callbacks."""

from kerasptb.callbacks.averaged_weights import AveragedWeights
from kerasptb.callbacks.checkpoint import Checkpoint
from kerasptb.callbacks.early_stopping import EarlyStopping
from kerasptb.callbacks.learning_rate_decay import LearningRateDecay
from kerasptb.callbacks.reduce_lr_on_plateau import ReduceLROnPlateau
from kerasptb.callbacks.reset_states import ResetStates
from kerasptb.callbacks.stop_on_divergence import StopOnDivergence, TrainingDivergedError
from kerasptb.callbacks.words_per_second import WordsPerSecond

__all__ = [
    "AveragedWeights",
    "Checkpoint",
    "EarlyStopping",
    "LearningRateDecay",
    "ReduceLROnPlateau",
    "ResetStates",
    "StopOnDivergence",
    "TrainingDivergedError",
    "WordsPerSecond",
]
