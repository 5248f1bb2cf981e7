"""What the rest of the package takes an LSTM to be, against Keras' own."""

import keras
import numpy as np
import pytest

from kerasptb.models import LanguageModel, lstm


@pytest.fixture(scope="module")
def layer():
    """A layer of plain Keras, of D = 3 and H = 4, with random weights."""
    layer, random = lstm.make_portable_layer(4, "lstm"), np.random.default_rng(0)
    layer.build((None, None, 3))
    layer.set_weights([random.standard_normal(weight.shape) for weight in layer.weights])
    return layer


def test_the_number_of_parameters_is_keras_own(layer):
    assert lstm.count_parameters(3, 4) == layer.count_params() == 4 * 4 * (3 + 4 + 1)


def test_states_are_named_layer_by_layer_and_sized_as_keras_makes_them(layer):
    sizes = lstm.state_sizes((5, 4))
    assert list(sizes.items()) == [("h0", 5), ("c0", 5), ("h1", 4), ("c1", 4)]
    assert [sizes[name] for name in lstm.state_names(1)] == [state.shape[1] for state in layer.get_initial_state(2)]


@pytest.mark.parametrize("units", [(5,), (5, 4, 3)])
def test_the_output_state_is_the_last_layer_s_output(units):
    model, sizes = LanguageModel(9, 4, units, 2, 3, init_scale=1.0), lstm.state_sizes(units)
    hidden = model.encode(np.ones((2, 3), "int32"), training=True)
    states = [state for i in range(len(units)) for state in model.get_layer(lstm.layer_name(i)).states]
    values = dict(zip(sizes, states, strict=True))
    np.testing.assert_array_equal(values[lstm.output_state(sizes)], hidden[:, -1])


def test_a_step_is_keras_own(layer):
    x, h, c = np.random.default_rng(1).standard_normal((3, 2, 4)).astype("float32")
    x = x[:, :3]
    expected = layer(x[:, None], initial_state=[h, c])[1:]
    *kernels, bias = (weight.value for weight in layer.weights)
    joined = lstm.join_kernels(*kernels)
    found = lstm.read_step(x, [h, c], joined, bias)
    in_numpy = lstm.read_step_in_numpy(x, [h, c], np.asarray(joined), np.asarray(bias))
    for value, other, wanted in zip(found, in_numpy, expected, strict=True):
        np.testing.assert_allclose(value, wanted, atol=1e-6)
        np.testing.assert_allclose(other, wanted, atol=1e-6)


def test_gates_are_in_keras_order():
    layer = keras.layers.LSTM(3, unit_forget_bias=True)
    layer.build((None, None, 2))
    assert np.split(layer.get_weights()[2], len(lstm.GATES))[lstm.GATES.index("f")].tolist() == [1, 1, 1]


def test_gates_change_their_order():
    weights = np.repeat([[1.0, 2.0, 3.0, 4.0]], 2, axis=1)  # i, f, c, o, of two units
    assert lstm.reorder_gates(weights, lstm.GATES, "ocfi").tolist() == [[4, 4, 3, 3, 2, 2, 1, 1]]


def test_weights_in_onnx_are_transposed_with_their_gates_in_its_order():
    kernel, recurrent_kernel, bias = np.arange(8.0).reshape(2, 4), 10 + np.arange(4.0)[None], 20 + np.arange(4.0)
    found = lstm.onnx_weights(kernel, recurrent_kernel, bias)
    assert found["W"].tolist() == [[[0, 4], [3, 7], [1, 5], [2, 6]]]
    assert found["R"].tolist() == [[[10], [13], [11], [12]]]
    assert found["B"].tolist() == [[20, 23, 21, 22, 0, 0, 0, 0]]
