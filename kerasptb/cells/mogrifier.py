"""The Mogrifier LSTM: G. Melis, T. Kočiský, P. Blunsom, Mogrifier LSTM, 2020, equations 1 and 2.

Before the step of an LSTM its input x and its last output h gate each other, in five rounds:

    x := 2 sigmoid(h Q_i) x      in rounds i = 1, 3, 5
    h := 2 sigmoid(x R_i) h      in rounds i = 2, 4

Q_i and R_i are products of two matrices of rank k, of at most 84.
"""

from typing import Any

from kerasptb.cells.cell import Arrays, Cell, NumPy
from kerasptb.cells.lstm import apply_gates

_ROUNDS_OF_X, _ROUNDS_OF_H = 3, 2
_RANK = 84


class Mogrifier(Cell):
    """An LSTM whose input and last output gate each other first."""

    name, title = "mogrifier", "a Mogrifier"
    gates, states = "ifco", ("h", "c")
    why_no_kernels = "A Mogrifier runs as a loop of Keras: its products need the ones before them, which no kernel has."
    initializers = dict.fromkeys(("q_left", "q_right", "r_left", "r_right"), "glorot_uniform")

    def weight_shapes(self, features: int, units: int) -> dict[str, tuple[str, tuple[int, ...]]]:
        """See `Cell.weight_shapes`."""
        D, H = features, units
        k = min(_RANK, D, H)
        return {
            **super().weight_shapes(D, H),
            "q_left": ("[H, 3k]", (H, _ROUNDS_OF_X * k)),
            "q_right": ("[3k, D]", (_ROUNDS_OF_X * k, D)),
            "r_left": ("[D, 2k]", (D, _ROUNDS_OF_H * k)),
            "r_right": ("[2k, H]", (_ROUNDS_OF_H * k, H)),
        }

    def step(
        self,
        x: Any,
        state: Arrays,
        weights: Arrays,
        input_mask: Any = None,
        recurrent_mask: Any = None,
        ops: Any = NumPy,
    ) -> list[Any]:
        """See `Cell.step`; masks are of x and h before the rounds, [B, D] and [B, H]."""
        kernel, recurrent_kernel, bias, *factors = weights
        q_left, q_right, r_left, r_right = (
            ops.split(factor, rounds, axis=axis)
            for factor, rounds, axis in zip(
                factors, (_ROUNDS_OF_X, _ROUNDS_OF_X, _ROUNDS_OF_H, _ROUNDS_OF_H), (1, 0, 1, 0), strict=True
            )
        )
        h, c = state
        x, h = x if input_mask is None else x * input_mask, h if recurrent_mask is None else h * recurrent_mask
        for i in range(_ROUNDS_OF_X):
            x = 2 * ops.sigmoid(ops.matmul(ops.matmul(h, q_left[i]), q_right[i])) * x
            if i < _ROUNDS_OF_H:
                h = 2 * ops.sigmoid(ops.matmul(ops.matmul(x, r_left[i]), r_right[i])) * h
        return apply_gates(ops.matmul(x, kernel) + ops.matmul(h, recurrent_kernel) + bias, c, ops)
