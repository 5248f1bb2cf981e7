import copy

import keras
import numpy as np
import pytest

from kerasptb.layers import FusedLSTM, StatefulLSTM


def test_it_is_never_without_state():
    assert StatefulLSTM(4).get_config()["stateful"] is StatefulLSTM(4, stateful=True).stateful is True
    assert FusedLSTM(4).get_config()["stateful"] is False
    with pytest.raises(ValueError, match=r"always stateful; use FusedLSTM\. Received: stateful=False"):
        StatefulLSTM(4, stateful=False)


def call(layer, rows, training):
    x = np.random.default_rng(0).standard_normal((rows, 5, 3)).astype("float32")
    return np.asarray(layer(x, training=training))


# (rows, training) of each of the states: the training state has the batch size that the layer is built with.
STATES = [(2, True), (2, False), (7, False)]


@pytest.fixture
def layer():
    """A layer each of whose states has gone on from zero, by a call of `call`; and what those calls gave."""
    layer = StatefulLSTM(4)
    layer.build((2, 5, 3))
    layer.from_zero = {state: call(layer, *state) for state in STATES}
    return layer


def test_a_call_with_a_state_has_its_outputs_in_a_functional_model():
    layer, x, state = StatefulLSTM(4), keras.Input((5, 3), batch_size=2), [keras.Input((4,), batch_size=2)] * 2
    outputs = layer(x, state=state)
    assert [tuple(each.shape) for each in outputs] == [(2, 4)] * 3


def begun_anew(layer):
    """The states that are zero."""
    return [state for state in STATES if np.array_equal(call(layer, *state), layer.from_zero[state])]


def test_each_state_goes_on_by_itself(layer):
    np.testing.assert_array_equal(layer.from_zero[2, True], layer.from_zero[2, False])
    assert begun_anew(layer) == []


def test_reset_state_zeroes_the_training_state_and_every_evaluation_state(layer):
    layer.reset_state()
    assert begun_anew(layer) == STATES


@pytest.mark.parametrize(("batch_size", "zeroed"), [(None, STATES[1:]), (7, [(7, False)]), (3, [])])
def test_an_evaluation_state_is_zeroed_alone(layer, batch_size, zeroed):
    layer.reset_evaluation_state(batch_size)
    assert begun_anew(layer) == zeroed


def test_a_call_that_is_given_its_state_leaves_those_of_the_layer_alone(layer):
    x = np.random.default_rng(0).standard_normal((2, 5, 3)).astype("float32")
    states = [variable.numpy() for variable in layer.state_variables()]
    output, *state = layer(x[:, :3], state=layer.get_initial_state(2))
    np.testing.assert_array_equal(output, state[0])
    np.testing.assert_allclose(layer(x[:, 3:], state=state)[0], layer.from_zero[2, False], rtol=1e-5)
    for variable, before in zip(layer.state_variables(), states, strict=True):
        np.testing.assert_array_equal(variable, before)


def test_a_copy_of_states_begins_without_any(layer):
    assert layer._evaluation_states.has(layer, 7)
    assert copy.deepcopy(layer._evaluation_states).variables() == []
