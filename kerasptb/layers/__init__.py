"""Keras layers."""

from kerasptb.layers.dense import Dense
from kerasptb.layers.dropout import Dropout
from kerasptb.layers.embedding import Embedding
from kerasptb.layers.fused_lstm import FusedLSTM
from kerasptb.layers.stateful_lstm import StatefulLSTM
from kerasptb.layers.tied_dense import TiedDense

__all__ = ["Dense", "Dropout", "Embedding", "FusedLSTM", "StatefulLSTM", "TiedDense"]
