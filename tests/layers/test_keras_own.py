"""Keras' own tests of its recurrent layers, which its wheel holds: on ours, and on its own, accelerated."""

import functools
import importlib
from types import MappingProxyType

import keras
import pytest

import kerasptb
from kerasptb.layers import Dense, FusedGRU, FusedLSTM, StatefulLSTM
from kerasptb.layers.fused import Fused
from kerasptb.layers.keras_cell import kind_of


def keras_tests(name):
    reason = f"this wheel of Keras has no tests of its {name}"
    return pytest.importorskip(f"keras.src.layers.rnn.{name}_test", reason=reason)


of_lstm, of_gru, of_rnn = (keras_tests(name) for name in ("lstm", "gru", "rnn"))
of_bidirectional, of_time, of_stack = (
    keras_tests(name) for name in ("bidirectional", "time_distributed", "stacked_rnn_cells")
)
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


@pytest.mark.slow
class TestTimeDistributed(InPlaceOfKeras, of_time.TimeDistributedTest):
    layers = MappingProxyType({"Dense": Dense})


class Model(keras.Model):
    """What `accelerate` is given."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer
        self.built = True


@pytest.mark.filterwarnings("ignore:Nothing in .* runs faster now:UserWarning")
class Accelerated:
    """Each recurrent layer is accelerated once it is built, and those with kernels then are ours."""

    @pytest.fixture(autouse=True)
    def _accelerate(self, native_library, monkeypatch):
        build, built = keras.layers.RNN.build, []

        @functools.wraps(build)
        def build_and_accelerate(layer, *args, **kwargs):
            build(layer, *args, **kwargs)
            kerasptb.accelerate(Model(layer))
            built.append(layer)

        monkeypatch.setattr(keras.layers.RNN, "build", build_and_accelerate)
        yield
        assert [isinstance(layer, Fused) for layer in built] == [kind_of(layer.cell) is not None for layer in built]


class TestAcceleratedLSTM(Accelerated, of_lstm.LSTMTest):
    pass


class TestAcceleratedGRU(Accelerated, of_gru.GRUTest):
    pass


@pytest.mark.slow
class TestAcceleratedBidirectional(Accelerated, of_bidirectional.SimpleRNNTest):
    pass


@pytest.mark.slow
class TestAcceleratedRNN(Accelerated, of_rnn.RNNTest):
    pass


@pytest.mark.slow
class TestAcceleratedTimeDistributed(Accelerated, of_time.TimeDistributedTest):
    pass


@pytest.mark.slow
class TestAcceleratedStack(Accelerated, of_stack.StackedRNNTest):
    pass
