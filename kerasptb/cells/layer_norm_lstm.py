"""The LSTM with layer normalisation: J. Ba, J. Kiros, G. Hinton, Layer Normalization, 2016, equations 20 to 22.

    i, f, o = sigmoid, g = tanh, of LN(x[t] W) a + LN(h[t-1] U) a' + b
    c[t] = f c[t-1] + i g
    h[t] = o tanh(LN(c[t]) a" + b")

LN(v) = (v - mean) / sqrt(variance + 1e-5), of the numbers of a row.
"""

from collections.abc import Mapping
from typing import Any

from kerasptb.cells.cell import Arrays, Cell, NumPy, masked_product

_EPSILON = 1e-5


class LayerNormLSTM(Cell):
    """An LSTM whose products and cell state are normalised."""

    name, title = "layer_norm_lstm", "a layer-norm LSTM"
    gates, states = "ifco", ("h", "c")
    why_no_kernels = (
        "A layer-norm LSTM runs as a loop of Keras: its gates need the whole row's mean, which no kernel has."
    )
    initializers: Mapping[str, str] = {
        **dict.fromkeys(("kernel_gain", "recurrent_gain", "state_gain"), "ones"),
        "state_bias": "zeros",
    }

    def weight_shapes(self, features: int, units: int) -> dict[str, tuple[str, tuple[int, ...]]]:
        """See `Cell.weight_shapes`."""
        gains = dict.fromkeys(("kernel_gain", "recurrent_gain"), ("[4H]", (4 * units,)))
        of_state = dict.fromkeys(("state_gain", "state_bias"), ("[H]", (units,)))
        return {**super().weight_shapes(features, units), **gains, **of_state}

    def step(
        self,
        x: Any,
        state: Arrays,
        weights: Arrays,
        input_mask: Any = None,
        recurrent_mask: Any = None,
        ops: Any = NumPy,
    ) -> list[Any]:
        """See `Cell.step`."""
        kernel, recurrent_kernel, bias, kernel_gain, recurrent_gain, state_gain, state_bias = weights
        h, c = state
        z = _normalized(masked_product(x, kernel, input_mask, 4, ops), ops) * kernel_gain
        z += _normalized(masked_product(h, recurrent_kernel, recurrent_mask, 4, ops), ops) * recurrent_gain
        i, f, g, o = ops.split(z + bias, 4, axis=1)
        c_t = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(g)
        return [ops.sigmoid(o) * ops.tanh(_normalized(c_t, ops) * state_gain + state_bias), c_t]


def _normalized(values: Any, ops: Any) -> Any:
    centred = values - ops.mean(values, axis=1, keepdims=True)
    return centred / ops.sqrt(ops.mean(ops.square(centred), axis=1, keepdims=True) + _EPSILON)
