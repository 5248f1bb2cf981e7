"""Keras layers."""

from kerasptb.layers.dense import Dense
from kerasptb.layers.dropout import Dropout
from kerasptb.layers.embedding import Embedding
from kerasptb.layers.fused_gru import FusedGRU
from kerasptb.layers.fused_lstm import FusedLSTM
from kerasptb.layers.fused_rnn import FusedRNN
from kerasptb.layers.keras_cell import RecurrentCell
from kerasptb.layers.stateful import StatefulLSTM, StatefulRNN
from kerasptb.layers.tied_dense import TiedDense

__all__ = [
    "Dense",
    "Dropout",
    "Embedding",
    "FusedGRU",
    "FusedLSTM",
    "FusedRNN",
    "RecurrentCell",
    "StatefulLSTM",
    "StatefulRNN",
    "TiedDense",
]
