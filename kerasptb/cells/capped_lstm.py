"""The LSTM with a capped input gate: what a cell takes in and what it keeps are together at most the whole.

    i, f, o = sigmoid, g = tanh, of x[t] W + h[t-1] U + b        (gates in Keras' order i, f, g, o)
    c[t] = f c[t-1] + min(i, 1 - f) g
    h[t] = o tanh(c[t])

G. Melis, C. Dyer, P. Blunsom, On the State of the Art of Evaluation in Neural Language Models, 2018.
"""

from typing import Any

from kerasptb.cells.lstm import LSTM


class CappedLSTM(LSTM):
    """An LSTM whose input gate is at most 1 - f."""

    name, title = "capped_lstm", "an LSTM with a capped input gate"
    on_gpu = False
    onnx_operator = None

    def apply_gates(self, z: Any, c: Any, ops: Any) -> list[Any]:
        """See `LSTM.apply_gates`."""
        i, f, g, o = ops.split(z, 4, axis=1)
        f = ops.sigmoid(f)
        c_t = f * c + ops.minimum(ops.sigmoid(i), 1 - f) * ops.tanh(g)
        return [ops.sigmoid(o) * ops.tanh(c_t), c_t]
