"""Keras' own tests of `keras.layers.LSTM`, which its wheel holds, on ours."""

import pytest

from kerasptb.layers import FusedLSTM, StatefulLSTM

tests = pytest.importorskip("keras.src.layers.rnn.lstm_test", reason="this wheel of Keras has no tests of its LSTM")
# Those of layers in general train on a generator.
pytestmark = pytest.mark.filterwarnings("ignore:`shuffle=True` was passed:UserWarning")


class InPlaceOfKeras:
    @pytest.fixture(autouse=True)
    def _replace(self, native_library, monkeypatch):
        monkeypatch.setattr(tests.layers, "LSTM", self.layer)


class TestFusedLSTM(InPlaceOfKeras, tests.LSTMTest):
    layer = FusedLSTM


class TestStatefulLSTM(InPlaceOfKeras, tests.LSTMTest):
    layer = StatefulLSTM
