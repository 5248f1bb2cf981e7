"""The LSTM with coupled input and forget gates: the input gate is 1 - f, which saves a quarter of the parameters.

    f, o = sigmoid, g = tanh, of x[t] W + h[t-1] U + b
    c[t] = f c[t-1] + (1 - f) g
    h[t] = o tanh(c[t])

K. Greff and others, LSTM: A Search Space Odyssey, 2015, where it is CIFG; the cell of A. Hard and others, Federated
Learning for Mobile Keyboard Prediction, 2018.
"""

from typing import Any

import numpy as np

from kerasptb.cells.lstm import LSTM


class CIFG(LSTM):
    """An LSTM whose input gate is 1 - f."""

    name, title = "cifg", "a CIFG"
    gates = "fco"
    on_gpu = False

    def apply_gates(self, z: Any, c: Any, ops: Any) -> list[Any]:
        """See `LSTM.apply_gates`."""
        f, g, o = ops.split(z, 3, axis=1)
        f = ops.sigmoid(f)
        c_t = f * c + (1 - f) * ops.tanh(g)
        return [ops.sigmoid(o) * ops.tanh(c_t), c_t]

    def onnx_weights(self, kernel: np.ndarray, recurrent_kernel: np.ndarray, bias: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the weights of ONNX's LSTM: i = 1 - sigmoid(z) is sigmoid(-z)."""
        parts = (kernel, recurrent_kernel, bias)
        return super().onnx_weights(*(np.concatenate([-np.split(x, 3, axis=-1)[0], x], axis=-1) for x in parts))
