"""What the rest of the package takes a cell to be, against Keras' own and by its formula."""

import keras
import numpy as np
import pytest

from kerasptb.cells import CELLS
from kerasptb.cells.cell import NumPy, reorder_gates
from kerasptb.cells.gru import GRU
from kerasptb.layers import RecurrentCell
from kerasptb.layers.keras_cell import kind_of, make, portable_layer, weights_of
from kerasptb.models import LanguageModel

B, D, H = 2, 3, 4
GRUS = {"gru": CELLS["gru"], "gru, reset before": GRU(reset_after=False)}
KINDS = {**CELLS, **GRUS}


def random_arrays(cell, seed=0):
    """x, the state and the weights of a step, float32."""
    random = np.random.default_rng(seed)
    shapes = [(B, D), *[(B, H)] * len(cell.states), *(shape for _, shape in cell.weight_shapes(D, H).values())]
    x, *others = (random.standard_normal(shape).astype("float32") for shape in shapes)
    return x, others[: len(cell.states)], others[len(cell.states) :]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm_step(x, h, c, kernel, recurrent_kernel, bias):
    i, f, g, o = np.split(x @ kernel + h @ recurrent_kernel + bias, 4, axis=1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def normalized(x):
    return (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + 1e-5)


def by_formula(name, x, state, weights):
    """The state after a step, in float64 by the formulas of the papers."""
    x, *others = (np.asarray(array, "float64") for array in (x, *state, *weights))
    state, (kernel, recurrent_kernel, bias, *more) = others[: len(state)], others[len(state) :]
    if name == "lstm":
        return lstm_step(x, *state, kernel, recurrent_kernel, bias)
    if name == "cifg":
        f, g, o = np.split(x @ kernel + state[0] @ recurrent_kernel + bias, 3, axis=1)
        c = sigmoid(f) * state[1] + (1 - sigmoid(f)) * np.tanh(g)
        return sigmoid(o) * np.tanh(c), c
    if name == "capped_lstm":
        i, f, g, o = np.split(x @ kernel + state[0] @ recurrent_kernel + bias, 4, axis=1)
        c = sigmoid(f) * state[1] + np.minimum(sigmoid(i), 1 - sigmoid(f)) * np.tanh(g)
        return sigmoid(o) * np.tanh(c), c
    if name == "layer_norm_lstm":
        kernel_gain, recurrent_gain, state_gain, state_bias = more
        z = normalized(x @ kernel) * kernel_gain + normalized(state[0] @ recurrent_kernel) * recurrent_gain + bias
        i, f, g, o = np.split(z, 4, axis=1)
        c = sigmoid(f) * state[1] + sigmoid(i) * np.tanh(g)
        return sigmoid(o) * np.tanh(normalized(c) * state_gain + state_bias), c
    if name == "mogrifier":
        k = min(D, H)
        q_left, q_right, r_left, r_right = more
        h, c = state
        for i in range(5):
            part = slice(i // 2 * k, (i // 2 + 1) * k)
            if i % 2 == 0:
                x = 2 * sigmoid(h @ (q_left[:, part] @ q_right[part])) * x
            else:
                h = 2 * sigmoid(x @ (r_left[:, part] @ r_right[part])) * h
        return lstm_step(x, h, c, kernel, recurrent_kernel, bias)
    (h,) = state
    of_x, of_h = bias if name == "gru" else (bias, np.zeros_like(bias))
    (x_z, x_r, x_h), (b_z, b_r, b_h) = np.split(x @ kernel + of_x, 3, axis=1), np.split(of_h, 3)
    U_z, U_r, U_h = np.split(recurrent_kernel, 3, axis=1)
    z, r = sigmoid(x_z + h @ U_z + b_z), sigmoid(x_r + h @ U_r + b_r)
    g = np.tanh(x_h + (r * (h @ U_h + b_h) if name == "gru" else (r * h) @ U_h))
    return (z * h + (1 - z) * g,)


@pytest.mark.parametrize("name", KINDS)
def test_a_step_is_the_formula_however_it_is_computed(name):
    cell = KINDS[name]
    x, state, weights = random_arrays(cell)
    expected = by_formula(name, x, state, weights)
    steps = {
        "step": cell.step(x, state, weights),
        "in an export": cell.read_step(x, state, weights),
        "in NumPy": cell.read_step(x, state, weights, NumPy),
    }
    assert len(expected) == len(cell.states)
    for found in steps.values():
        for value, wanted in zip(found, expected, strict=True):
            np.testing.assert_allclose(value, wanted, atol=2e-6)


@pytest.mark.parametrize("name", KINDS)
def test_masks_are_factors_of_the_operands(name):
    cell = KINDS[name]
    x, state, weights = random_arrays(cell)
    random = np.random.default_rng(5)
    of_x, of_h = random.uniform(0.5, 2, (B, D)).astype("float32"), random.uniform(0.5, 2, (B, H)).astype("float32")
    found = cell.step(x, state, weights, of_x, of_h)
    direct = state[0] - of_h * state[0]  # of a GRU h passes by the products too
    expected = by_formula(name, x * of_x, [of_h * state[0], *state[1:]], weights)
    if "gru" in name:
        z = sigmoid(_update_gate(name, x * of_x, of_h * state[0], weights))
        expected = (expected[0] + z * direct,)
    for value, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(value, wanted, atol=2e-6)


def _update_gate(name, x, h, weights):
    kernel, recurrent_kernel, bias = weights
    return (x @ kernel + h @ recurrent_kernel + (bias.sum(axis=0) if name == "gru" else bias))[:, :H]


@pytest.mark.parametrize("name", ["lstm", *GRUS])
def test_masks_of_each_gate_are_of_its_columns(name):
    cell = KINDS[name]
    x, state, weights = random_arrays(cell)
    G = len(cell.gates)
    masks = np.random.default_rng(6).uniform(0.5, 2, (2, G, B, H)).astype("float32")
    input_mask, recurrent_mask = masks[0, :, :, :D], masks[1]
    keras_cell = make_built(cell)
    keras_cell.set_weights(weights)
    keras_cell.implementation, keras_cell.dropout, keras_cell.recurrent_dropout = 1, 0.5, 0.5
    keras_cell._dropout_mask, keras_cell._recurrent_dropout_mask = list(input_mask), list(recurrent_mask)
    _, expected = keras_cell(x, state, training=True)
    for value, wanted in zip(cell.step(x, state, weights, input_mask, recurrent_mask), expected, strict=True):
        np.testing.assert_allclose(value, wanted, atol=2e-6)


def make_built(cell):
    arguments = {"reset_after": cell.reset_after} if isinstance(cell, GRU) else {}
    keras_cell = make(cell, H, **arguments)
    keras_cell.build((None, D))
    return keras_cell


@pytest.mark.parametrize("name", KINDS)
def test_keras_has_the_same_cell_with_the_same_weights(name):
    cell = KINDS[name]
    keras_cell = make_built(cell)
    assert kind_of(keras_cell).name == cell.name
    x, state, weights = random_arrays(cell)
    keras_cell.set_weights(weights)
    output, after = keras_cell(x, state)
    np.testing.assert_array_equal(output, after[0])
    for value, wanted in zip(after, by_formula(name, x, state, weights), strict=True):
        np.testing.assert_allclose(value, wanted, atol=2e-6)
    assert cell.count_parameters(D, H) == keras_cell.count_params()
    assert cell.num_weights == len(keras_cell.weights) == len(weights_of(keras_cell))
    assert cell.units_of(weights) == H


def test_a_cell_of_another_class_is_none():
    class Mine(keras.layers.LSTMCell):
        pass

    assert [kind_of(cell) for cell in (Mine(3), keras.layers.SimpleRNNCell(3))] == [None, None]


def test_a_recurrent_cell_has_what_keras_cells_have():
    cell = RecurrentCell("cifg", H, dropout=0.5, recurrent_dropout=0.25, kernel_regularizer="l2", seed=3)
    layer = keras.layers.RNN(cell, return_sequences=True)
    x = np.ones((B, 5, D), "float32")
    layer(x)
    assert layer.get_weights()[2].tolist() == [1] * H + [0] * 2 * H  # the forget gate's biases
    assert len(layer.losses) == 1
    assert not np.allclose(layer(x, training=True), layer(x))
    again = keras.layers.RNN.from_config(layer.get_config())
    assert again.cell.get_config() == cell.get_config()
    assert cell.get_config()["cell"] == "cifg"
    for name in ("mgu", "gru"):
        with pytest.raises(ValueError, match=rf"`cell` must be one of \('lstm', .*GRUCell is a GRU.*cell='{name}'"):
            RecurrentCell(name, 3)


def test_a_recurrent_cell_may_go_without_biases():
    cell = RecurrentCell("mogrifier", H, use_bias=False)
    cell.build((None, D))
    assert [weight.name for weight in cell.weights][:3] == ["kernel", "recurrent_kernel", "q_left"]
    x, state, weights = random_arrays(CELLS["mogrifier"])
    cell.set_weights(weights[:2] + weights[3:])
    expected = by_formula("mogrifier", x, state, [*weights[:2], np.zeros_like(weights[2]), *weights[3:]])
    np.testing.assert_allclose(cell(x, state)[0], expected[0], atol=2e-6)


@pytest.mark.parametrize("name", CELLS)
def test_a_portable_layer_reads_as_the_steps_do(name):
    cell = CELLS[name]
    layer = portable_layer(cell, H, cell.layer_name(0))
    layer.build((None, None, D))
    _, state, weights = random_arrays(cell)
    layer.set_weights(weights)
    x = np.random.default_rng(1).standard_normal((B, 5, D)).astype("float32")
    outputs, *after = layer(x, initial_state=state)
    for t in range(5):
        state = cell.step(x[:, t], state, weights)
        np.testing.assert_allclose(outputs[:, t], state[0], atol=2e-6)
    for value, wanted in zip(after, state, strict=True):
        np.testing.assert_allclose(value, wanted, atol=2e-6)


def test_states_are_named_layer_by_layer():
    lstm, gru = CELLS["lstm"], CELLS["gru"]
    assert list(lstm.state_sizes((5, 4)).items()) == [("h0", 5), ("c0", 5), ("h1", 4), ("c1", 4)]
    assert list(gru.state_sizes((5, 4)).items()) == [("h0", 5), ("h1", 4)]


@pytest.mark.parametrize("name", ["lstm", "gru"])
@pytest.mark.parametrize("units", [(5,), (5, 4, 3)])
def test_the_output_state_is_the_last_layer_s_output(name, units):
    cell = CELLS[name]
    model, sizes = LanguageModel(9, 4, units, 2, 3, init_scale=1.0, cell=name), cell.state_sizes(units)
    hidden = model.encode(np.ones((2, 3), "int32"), training=True)
    states = [state for i in range(len(units)) for state in model.get_layer(cell.layer_name(i)).states]
    values = dict(zip(sizes, states, strict=True))
    np.testing.assert_array_equal(values[cell.output_state(sizes)], hidden[:, -1])


def test_gates_are_in_keras_order():
    layer, gates = keras.layers.LSTM(3, unit_forget_bias=True), CELLS["lstm"].gates
    layer.build((None, None, 2))
    assert np.split(layer.get_weights()[2], len(gates))[gates.index("f")].tolist() == [1, 1, 1]


def test_gates_change_their_order():
    weights = np.repeat([[1.0, 2.0, 3.0, 4.0]], 2, axis=1)  # i, f, c, o, of two units
    assert reorder_gates(weights, "ifco", "ocfi").tolist() == [[4, 4, 3, 3, 2, 2, 1, 1]]


def test_weights_in_onnx_are_transposed_with_their_gates_in_its_order():
    kernel, recurrent_kernel, bias = np.arange(8.0).reshape(2, 4), 10 + np.arange(4.0)[None], 20 + np.arange(4.0)
    found = CELLS["lstm"].onnx_weights(kernel, recurrent_kernel, bias)
    assert found["W"].tolist() == [[[0, 4], [3, 7], [1, 5], [2, 6]]]
    assert found["R"].tolist() == [[[10], [13], [11], [12]]]
    assert found["B"].tolist() == [[20, 23, 21, 22, 0, 0, 0, 0]]
    # i = 1 - sigmoid(z) = sigmoid(-z), where z is of the forget gate.
    found = CELLS["cifg"].onnx_weights(kernel[:, 1:], recurrent_kernel[:, 1:], bias[1:])
    assert found["B"].tolist() == [[-21, 23, 21, 22, 0, 0, 0, 0]]
    assert found["R"].tolist() == [[[-11], [13], [11], [12]]]
