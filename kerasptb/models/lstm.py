"""What an LSTM is to a model: its layer, that layer's twin in plain Keras, its states and weights, its form in exports.

Another recurrent cell would be another file with these names. What runs an LSTM is in `kerasptb.ops.lstm`, the layers
themselves are in `kerasptb.layers`. Shapes: B batch, D features in, H units.
"""

import keras
import numpy as np
from keras import ops

from kerasptb.layers.stateful_lstm import StatefulLSTM
from kerasptb.ops.lstm import GATES, apply_gates
from kerasptb.ops.tensors import multiply_rows

# Kernel, recurrent kernel and bias, of every layer.
NUM_WEIGHTS = 3
# The tensors of a layer's state, [B, H] each, as Keras orders them. The first is the layer's output too.
STATES = ("h", "c")
# ONNX's operator, and the order of the gates in its weights.
ONNX_OPERATOR, _ONNX_GATES = "LSTM", "iofc"


def layer_name(i):
    """Returns the name of a model's i-th recurrent layer."""
    return f"lstm_{i}"


def make_layer(units, recurrent_dropout=0.0, **arguments):
    """Returns the layer of a `LanguageModel`: stateful, with one mask for all gates in dropout of h."""
    return StatefulLSTM(
        units,
        return_sequences=True,
        unit_forget_bias=False,
        recurrent_dropout=recurrent_dropout,
        shared_recurrent_dropout=recurrent_dropout > 0,
        **arguments,
    )


def make_portable_layer(units, name):
    """Returns the layer of the same weights in plain Keras: float32, without cuDNN, state in and out."""
    return keras.layers.LSTM(
        units, return_sequences=True, return_state=True, use_cudnn=False, dtype="float32", name=name
    )


def count_parameters(features, units):
    """Returns the number of a layer's parameters: for each gate kernel [D, H], recurrent kernel [H, H], bias [H]."""
    return len(GATES) * units * (features + units + 1)


def units_of(weights):
    """Returns the number of units H of a layer's weights, arrays."""
    return weights[1].shape[0]


def state_names(i):
    """Returns the names of the state tensors of a model's i-th layer, in the order of `STATES`: "h0" and "c0"."""
    return [f"{state}{i}" for state in STATES]


def state_sizes(units):
    """Returns a dict from the name of each state tensor, of layers of these sizes, to its size."""
    return {name: size for i, size in enumerate(units) for name in state_names(i)}


def output_state(names):
    """Returns which of the names of a model's state tensors is that of the last layer's output."""
    outputs = [name for name in names if name.startswith(STATES[0])]
    return f"{STATES[0]}{len(outputs) - 1}"


def reorder_gates(weights, before, after):
    """Returns weights, a NumPy array [..., 4 H], with its gates in another order, such as "ifco" and "iofc"."""
    blocks = dict(zip(before, np.split(weights, len(before), axis=-1), strict=True))
    return np.concatenate([blocks[gate] for gate in after], axis=-1)


def join_kernels(kernel, recurrent_kernel):
    """Returns Keras' kernel [D, 4 H] and recurrent kernel [H, 4 H] as one matrix of x and h together, [D + H, 4 H]."""
    return ops.concatenate([kernel, recurrent_kernel], axis=0)


def read_step(x, state, kernels, bias):
    """Returns h and c after one step, of x [B, D], h and c [B, H], with one product of x and h (`join_kernels`)."""
    # Than Keras' cell with two matrices it takes half the operations, and in 8 bits the outputs have half the scales.
    h, c = state
    return apply_gates(ops.matmul(ops.concatenate([x, h], axis=1), kernels) + bias, c)


def read_step_in_numpy(x, state, kernels, bias):
    """Does what `read_step` does in NumPy: of a few rows a call of TensorFlow takes longer than the step."""
    h, c = state
    gates = multiply_rows(np.concatenate([x, h], axis=1), kernels) + bias
    i, f, c_new, o = np.split(gates, len(GATES), axis=1)
    c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(c_new)
    return _sigmoid(o) * np.tanh(c), c


def _sigmoid(x):
    return 0.5 + 0.5 * np.tanh(0.5 * x)  # which never overflows


def onnx_weights(kernel, recurrent_kernel, bias):
    """Returns Keras' weights as ONNX's operator has them: dict of W [1, 4 H, D], R [1, 4 H, H] and B [1, 8 H]."""
    W, R, B = (reorder_gates(weights, GATES, _ONNX_GATES) for weights in (kernel, recurrent_kernel, bias))
    # ONNX has a bias for each of the two products; Keras has one bias, their sum.
    both = np.concatenate([B, np.zeros_like(B)])
    return {"W": W.T[np.newaxis], "R": R.T[np.newaxis], "B": both[np.newaxis]}
