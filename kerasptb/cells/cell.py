"""What a recurrent cell is to the rest of the package."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from kerasptb.utils.products import multiply_rows

Arrays: TypeAlias = Sequence[Any]  # of NumPy, or tensors


class NumPy:
    """The functions of `keras.ops` that a step needs, in NumPy: what a cell computes with unless it is given others."""

    matmul, tanh, split, concatenate = multiply_rows, np.tanh, np.split, np.concatenate
    mean, square, sqrt, minimum = np.mean, np.square, np.sqrt, np.minimum

    @staticmethod
    def unstack(x: np.ndarray, num: int) -> list[np.ndarray]:
        """Returns the rows of an array, of which there are `num`."""
        return list(x)

    @staticmethod
    def sigmoid(x: np.ndarray) -> np.ndarray:
        """Returns 1 / (1 + exp(-x)), which never overflows this way."""
        return 0.5 + 0.5 * np.tanh(0.5 * x)


class Cell:
    """A recurrent cell: its constants, and one step of it. Subclasses say what differs.

    Attributes:
        name: as arguments and layers are named; that of its kernels too, unless `kernels` says another.
        title: the same in a sentence, such as "an LSTM".
        gates: a letter for each block of H columns of its weights.
        states: names of the tensors of its state, [B, H] each, as Keras orders them; the first is its output too.
        precisions: those that its kernels for processors have; none if it has none.
        on_gpu: whether it has CUDA kernels.
        why_no_kernels: one line on that, or `None`.
        initializers: those of the weights beyond kernel, recurrent kernel and bias, by name.
        onnx_operator: that of ONNX which is this cell, or `None`.
        onnx_attributes: of that operator.
    """

    name: str
    title: str
    gates: str
    states: tuple[str, ...] = ("h",)
    precisions: tuple[str, ...] = ()
    on_gpu: bool = False
    why_no_kernels: str | None = None
    initializers: Mapping[str, str] = {}
    onnx_operator: str | None = None
    onnx_attributes: Mapping[str, Any] = {}

    def weight_shapes(self, features: int, units: int) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Returns the shape of each weight by its name, in letters and in numbers; the first three are in all cells."""
        G = len(self.gates)
        return {
            "kernel": (f"[D, {G}H]", (features, G * units)),
            "recurrent_kernel": (f"[H, {G}H]", (units, G * units)),
            "bias": (f"[{G}H]", (G * units,)),
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
        """Returns the state after one step: the specification of the cell.

        Args:
            x: [B, D].
            state: the tensors of `states`, [B, H] each.
            weights: those of `weight_shapes`, in order.
            input_mask: factors of x in its products with the weights, [B, D], or [G, B, D] of each gate; or `None`.
            recurrent_mask: likewise of h, [B, H] or [G, B, H].
            ops: `NumPy`, or `keras.ops`.
        """
        raise NotImplementedError

    def read_step(self, x: Any, state: Arrays, weights: Arrays, ops: Any = NumPy) -> list[Any]:
        """Does what `step` does, in an export: in fewer operations, where constant weights can be joined."""
        return self.step(x, state, weights, ops=ops)

    def onnx_weights(self, kernel: np.ndarray, recurrent_kernel: np.ndarray, bias: np.ndarray) -> dict[str, np.ndarray]:
        """Returns W [1, G H, D], R [1, G H, H] and B [1, 2 G H] of `onnx_operator`."""
        raise NotImplementedError

    @property
    def kernels(self) -> str:
        """What its kernels are called."""
        return self.name

    @property
    def num_weights(self) -> int:
        """The number of a layer's weights."""
        return len(self.weight_shapes(1, 1))

    def count_parameters(self, features: int, units: int) -> int:
        """Returns the number of a layer's parameters."""
        return sum(int(np.prod(shape)) for _, shape in self.weight_shapes(features, units).values())

    def units_of(self, weights: Arrays) -> int:
        """Returns the number of units H of a layer's weights, arrays."""
        return weights[1].shape[0]

    def layer_name(self, i: int) -> str:
        """Returns the name of a model's i-th recurrent layer."""
        return f"{self.name}_{i}"

    def state_names(self, i: int) -> list[str]:
        """Returns the names of the state tensors of a model's i-th layer, in the order of `states`: "h0" and "c0"."""
        return [f"{state}{i}" for state in self.states]

    def state_sizes(self, units: Sequence[int]) -> dict[str, int]:
        """Returns a dict from the name of each state tensor, of layers of these sizes, to its size."""
        return {name: size for i, size in enumerate(units) for name in self.state_names(i)}

    def output_state(self, names: Sequence[str]) -> str:
        """Returns which of the names of a model's state tensors is that of the last layer's output."""
        outputs = [name for name in names if name.startswith(self.states[0])]
        return f"{self.states[0]}{len(outputs) - 1}"


def masked_product(a: Any, matrix: Any, mask: Any, gates: int, ops: Any) -> Any:
    """Returns (m a) M; with a mask [G, B, ...] the product of each gate with its columns of M."""
    if mask is None or len(mask.shape) == 2:
        return ops.matmul(a if mask is None else a * mask, matrix)
    parts = zip(ops.unstack(mask, gates), ops.split(matrix, gates, axis=1), strict=True)
    return ops.concatenate([ops.matmul(a * m, columns) for m, columns in parts], axis=1)


def reorder_gates(weights: np.ndarray, before: Sequence[str], after: Sequence[str]) -> np.ndarray:
    """Returns weights, a NumPy array [..., G H], with its gates in another order, such as "ifco" and "iofc"."""
    blocks = dict(zip(before, np.split(weights, len(before), axis=-1), strict=True))
    return np.concatenate([blocks[gate] for gate in after], axis=-1)


def as_onnx(kernel: np.ndarray, recurrent_kernel: np.ndarray, biases: np.ndarray) -> dict[str, np.ndarray]:
    """Returns weights whose gates are in ONNX's order as its operators have them; biases [2, G H], of both products."""
    return {
        "W": kernel.T[np.newaxis],
        "R": recurrent_kernel.T[np.newaxis],
        "B": np.reshape(biases, (1, -1)),
    }
