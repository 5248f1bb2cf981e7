"""The LSTM: S. Hochreiter, J. Schmidhuber, Long Short-Term Memory, 1997; with the forget gate of F. Gers, 2000.

i, f, o = sigmoid, g = tanh, of x[t] W + h[t-1] U + b        (gates in Keras' order i, f, g, o)
c[t] = f c[t-1] + i g
h[t] = o tanh(c[t])
"""

from typing import Any

import numpy as np

from kerasptb.cells.cell import Arrays, Cell, NumPy, as_onnx, masked_product, reorder_gates

_ONNX_GATES = "iofc"


def apply_gates(z: Any, c: Any, ops: Any) -> list[Any]:
    """Returns i, f, o = sigmoid and g = tanh of their quarters of z [B, 4H] as h[t] and c[t], from c[t-1] [B, H]."""
    i, f, g, o = ops.split(z, 4, axis=1)
    c_t = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(g)
    return [ops.sigmoid(o) * ops.tanh(c_t), c_t]


class LSTM(Cell):
    """An LSTM."""

    name, title = "lstm", "an LSTM"
    # Input gate, forget gate, candidate of the cell state, output gate.
    gates = "ifco"
    states = ("h", "c")
    precisions: tuple[str, ...] = ("float32", "bfloat16x3", "bfloat16")
    on_gpu = True
    onnx_operator: str | None = "LSTM"

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
        (h, c), (kernel, recurrent_kernel, bias) = state, weights
        gates = len(self.gates)
        products = masked_product(x, kernel, input_mask, gates, ops)
        products += masked_product(h, recurrent_kernel, recurrent_mask, gates, ops)
        return self.apply_gates(products + bias, c, ops)

    def apply_gates(self, z: Any, c: Any, ops: Any) -> list[Any]:
        """Returns h[t] and c[t] of the sums z, x[t] W + h[t-1] U + b, [B, G H], and of c[t-1], [B, H]."""
        return apply_gates(z, c, ops)

    def read_step(self, x: Any, state: Arrays, weights: Arrays, ops: Any = NumPy) -> list[Any]:
        """See `Cell.read_step`: kernel and recurrent kernel are one matrix of x and h together, [D + H, G H]."""
        # Than two matrices it takes half the operations, and in 8 bits the outputs have half the scales.
        (h, c), (*kernels, bias) = state, weights
        matrix = ops.concatenate(kernels, axis=0)
        return self.apply_gates(ops.matmul(ops.concatenate([x, h], axis=1), matrix) + bias, c, ops)

    def onnx_weights(self, kernel: np.ndarray, recurrent_kernel: np.ndarray, bias: np.ndarray) -> dict[str, np.ndarray]:
        """See `Cell.onnx_weights`."""
        kernel, recurrent_kernel, bias = (
            reorder_gates(weights, LSTM.gates, _ONNX_GATES) for weights in (kernel, recurrent_kernel, bias)
        )
        # ONNX has a bias for each of the two products; Keras has one bias, their sum.
        return as_onnx(kernel, recurrent_kernel, np.stack([bias, np.zeros_like(bias)]))
