"""The GRU: K. Cho and others, Learning Phrase Representations using RNN Encoder-Decoder, 2014.

    z, r = sigmoid of x[t] W + b + h[t-1] U + b'        (gates in Keras' order z, r, h)
    g = tanh(x[t] W + b + r (h[t-1] U + b'))
    h[t] = z h[t-1] + (1 - z) g

This is with the reset gate after the product, as in cuDNN and by default in Keras. Before it there is one bias, and
g = tanh(x[t] W + b + (r h[t-1]) U).
"""

from typing import Any

import numpy as np

from kerasptb.cells.cell import Arrays, Cell, NumPy, as_onnx, masked_product


class GRU(Cell):
    """A GRU, with its reset gate after the recurrent product or before it."""

    name, title = "gru", "a GRU"
    # Update gate, reset gate, candidate.
    gates = "zrh"
    precisions: tuple[str, ...] = ("float32", "bfloat16x3", "bfloat16")
    onnx_operator = "GRU"

    def __init__(self, reset_after: bool = True) -> None:
        self.reset_after = reset_after
        if not reset_after:
            self.precisions = ("float32",)
        self.onnx_attributes = {"linear_before_reset": int(reset_after)}

    @property
    def kernels(self) -> str:
        """See `Cell.kernels`."""
        return self.name if self.reset_after else "gru_reset_before"

    def weight_shapes(self, features: int, units: int) -> dict[str, tuple[str, tuple[int, ...]]]:
        """See `Cell.weight_shapes`: with the reset gate after the product each of the two products has a bias."""
        shapes = super().weight_shapes(features, units)
        return {**shapes, "bias": ("[2, 3H]", (2, 3 * units))} if self.reset_after else shapes

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
        (h,), (kernel, recurrent_kernel, bias) = state, weights
        of_x = masked_product(x, kernel, input_mask, 3, ops) + (bias[0] if self.reset_after else bias)
        x_z, x_r, x_h = ops.split(of_x, 3, axis=1)
        if self.reset_after:
            products = masked_product(h, recurrent_kernel, recurrent_mask, 3, ops) + bias[1]
            h_z, h_r, h_h = ops.split(products, 3, axis=1)
            z, r = ops.sigmoid(x_z + h_z), ops.sigmoid(x_r + h_r)
            g = ops.tanh(x_h + r * h_h)
        else:
            one = recurrent_mask is None or len(recurrent_mask.shape) == 2
            masks = [recurrent_mask if one else recurrent_mask[i] for i in range(3)]
            of_h = [h if mask is None else h * mask for mask in masks]
            U_z, U_r, U_h = ops.split(recurrent_kernel, 3, axis=1)
            z, r = ops.sigmoid(x_z + ops.matmul(of_h[0], U_z)), ops.sigmoid(x_r + ops.matmul(of_h[1], U_r))
            g = ops.tanh(x_h + ops.matmul(r * of_h[2], U_h))
        return [z * h + (1 - z) * g]

    def onnx_weights(self, kernel: np.ndarray, recurrent_kernel: np.ndarray, bias: np.ndarray) -> dict[str, np.ndarray]:
        """See `Cell.onnx_weights`; the order of the gates is Keras'."""
        return as_onnx(kernel, recurrent_kernel, bias if self.reset_after else np.stack([bias, np.zeros_like(bias)]))
