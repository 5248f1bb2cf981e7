"""Keras layers."""

from kerasptb.layers.fused_lstm import FusedLSTM
from kerasptb.layers.stateful_lstm import StatefulLSTM

__all__ = ["FusedLSTM", "StatefulLSTM"]
