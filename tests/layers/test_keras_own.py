"""Keras' own tests of its recurrent layers, which its wheel holds, on ours."""

import importlib
from types import MappingProxyType

import pytest

from kerasptb.layers import FusedGRU, FusedLSTM, StatefulLSTM


def keras_tests(name):
    reason = f"this wheel of Keras has no tests of its {name}"
    return pytest.importorskip(f"keras.src.layers.rnn.{name}_test", reason=reason)


of_lstm, of_gru, of_bidirectional = (keras_tests(name) for name in ("lstm", "gru", "bidirectional"))
# Those of layers in general train on a generator.
pytestmark = pytest.mark.filterwarnings("ignore:`shuffle=True` was passed:UserWarning")


class InPlaceOfKeras:
    @pytest.fixture(autouse=True)
    def _replace(self, native_library, monkeypatch):
        module = importlib.import_module(type(self).__mro__[2].__module__)
        for name, layer in self.layers.items():
            monkeypatch.setattr(module.layers, name, layer)


class TestFusedLSTM(InPlaceOfKeras, of_lstm.LSTMTest):
    layers = MappingProxyType({"LSTM": FusedLSTM})


@pytest.mark.slow
class TestStatefulLSTM(InPlaceOfKeras, of_lstm.LSTMTest):
    layers = MappingProxyType({"LSTM": StatefulLSTM})


class TestFusedGRU(InPlaceOfKeras, of_gru.GRUTest):
    layers = MappingProxyType({"GRU": FusedGRU})


@pytest.mark.slow
class TestBidirectional(InPlaceOfKeras, of_bidirectional.SimpleRNNTest):
    layers = MappingProxyType({"LSTM": FusedLSTM, "GRU": FusedGRU})
