"""Regularizers of a recurrent layer's outputs, for the `activity_regularizer` of any Keras layer."""

from kerasptb.regularizers.activation_regularization import ActivationRegularization
from kerasptb.regularizers.temporal_activation_regularization import TemporalActivationRegularization

__all__ = ["ActivationRegularization", "TemporalActivationRegularization"]
