"""A frozen recurrent language model: what each layer does, its weights, and how its state is laid out."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from kerasptb.cells import Cell
from kerasptb.cells.cell import NumPy
from kerasptb.engine import few_rows
from kerasptb.engine.few_rows import Panels
from kerasptb.engine.quantized import Quantized, as_float32
from kerasptb.native import NativeUnavailableError, loader
from kerasptb.native.call import call
from kerasptb.utils.products import multiply_rows
from kerasptb.utils.types import Backend, Precision

# Rows of logits that are in memory at once where NumPy computes the likelihoods: 10 MB at V = 10,000.
_ROWS = 256
_FEW_ROWS = 8


class Network:
    """A trained network as functions of arrays: embedding, recurrent layers of a cell, any projection, logits.

    It keeps no state, holds no lock while it computes, and several threads may use it. Its arrays are not to be
    changed: it is the model as it was when they were handed over.

    Shapes: B rows, T tokens, S numbers of a state, D inputs of the logits layer, V tokens of the vocabulary. A state is
    float32 [B, S]: the states of all layers one after the other, each in the cell's order, so h0, c0, h1, c1 of LSTMs.

    Args:
        cell: the cell of all recurrent layers.
        weights: float32 arrays, or matrices in 8 bits, in the order of the layers: the embeddings [V, E]; those of each
            recurrent layer, as
            `Cell.weight_shapes` orders them; kernel and bias of a projection, if there is one; kernel [D, V] and bias
            [V] of the logits.
        tied: whether that kernel is the transpose of the embeddings, which is then used in its place.
        backend: "native" for the native library, "reference" or "keras" for the cell's `step` in NumPy, "auto" for the
            library where it serves the cell.
        precision: of the products in the library, as in `kerasptb.ops.lstm`.

    Raises:
        NativeUnavailableError: if "native", or another precision than float32, was asked for, and is not there.
        ValueError: if another precision than float32 was asked for without the library.

    Example:
        >>> import numpy as np
        >>> from kerasptb.cells import CELLS
        >>> from kerasptb.engine import Network
        >>> shapes = (9, 4), (4, 12), (3, 12), (12,), (3, 9), (9,)
        >>> network = Network(CELLS["lstm"], [np.zeros(shape, "float32") for shape in shapes])
        >>> hidden, states = network.encode(np.zeros((1, 7), "int32"), np.zeros((1, 6), "float32"))
        >>> hidden.shape, states.shape, network.log_probabilities(hidden[0]).shape
        ((1, 7, 3), (1, 6), (7, 9))
    """

    def __init__(
        self,
        cell: Cell,
        weights: Sequence[np.ndarray | Quantized],
        tied: bool = False,
        backend: Backend = "auto",
        precision: Precision = "float32",
    ) -> None:
        self._stored: list[Any] = list(weights)  # matrices in 8 bits as they are
        embeddings, *between, _, bias = self._stored
        n = cell.num_weights
        num_layers, num_others = divmod(len(between), n)
        layers = [between[i * n : (i + 1) * n] for i in range(num_layers)]
        self.cell, self.is_tied, self._num_layers, self._has_projection = cell, tied, num_layers, num_others > 0
        self.units = [cell.units_of(layer) for layer in layers]
        self.state_sizes = cell.state_sizes(self.units)
        self.state_size = sum(self.state_sizes.values())
        self.vocabulary_size: int = embeddings.shape[0]
        self.bias: np.ndarray = as_float32(bias)
        ends = np.cumsum(list(self.state_sizes.values()))
        self._ends = ends[:-1]
        place = list(self.state_sizes).index(cell.output_state(list(self.state_sizes)))
        self._output = slice(ends[place] - self.units[-1], ends[place])
        self.precision = precision
        self.on_library = _choose(cell, backend, precision)
        self._runs_cell = self.on_library and precision in cell.precisions
        # Few rows are a product with 8 bits each; cells that split their matrices have none in panels.
        in_8_bits = isinstance(embeddings, Quantized) and cell.why_no_kernels is None
        self._is_small = self.on_library and precision == "float32" and in_8_bits

    @functools.cached_property
    def weights(self) -> list[np.ndarray]:
        """The arrays in the order of the constructor's, in float32."""
        weights = [as_float32(each) for each in self._stored]
        if self.is_tied:
            weights[-2] = weights[0].T
        return weights

    @property
    def embeddings(self) -> np.ndarray:
        """The embeddings, float32 [V, E]."""
        return self.weights[0]

    @property
    def kernel(self) -> np.ndarray:
        """The kernel of the logits, float32 [D, V]."""
        return self.weights[-2]

    @property
    def layers(self) -> list[Sequence[np.ndarray]]:
        """The weights of each recurrent layer, as `Cell.weight_shapes` orders them."""
        return self._layers_of(self.weights)

    @property
    def projection(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Kernel and bias of the projection, if there is one."""
        return (self.weights[-4], self.weights[-3]) if self._has_projection else None

    @property
    def dense(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Kernel and bias of the layers after the recurrent ones, the logits' last."""
        return [*([self.projection] if self.projection else []), (self.kernel, self.bias)]

    def _layers_of(self, weights: Sequence[Any]) -> list[Sequence[Any]]:
        n = self.cell.num_weights
        return [weights[1 + i * n : 1 + (i + 1) * n] for i in range(self._num_layers)]

    def encode(self, tokens: np.ndarray, states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the inputs of the logits layer after each token, and the states after the last of each row.

        Args:
            tokens: int32 [B, T].
            states: float32 [B, S], before them.

        Returns:
            hidden: float32 [B, T, D].
            states: float32 [B, S].
        """
        if self._is_small and 0 < tokens.size <= few_rows.MOST_ROWS:
            return self._encode_in_8_bits(tokens, states)
        parts = np.split(states, self._ends, axis=1)
        x, after, n = self.embeddings[tokens], list[np.ndarray](), len(self.cell.states)
        for i, layer in enumerate(self.layers):
            x, of_layer = self._read(layer, x, parts[i * n : (i + 1) * n])
            after += of_layer
        if self.projection:
            kernel, bias = self.projection
            x = (multiply_rows(x.reshape(-1, x.shape[2]), kernel) + bias).reshape(*tokens.shape, len(bias))
        return x, np.concatenate(after, axis=1)

    def log_likelihoods(
        self, tokens: np.ndarray, targets: np.ndarray, states: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the log probability of each target after the tokens up to there, and the states as `encode` does.

        Args:
            tokens: int32 [B, T].
            targets: int32 [B, T].
            states: float32 [B, S], before them.

        Returns:
            log_likelihoods: float32 [B, T], natural logarithms; of the library without the other tokens' logits.
            states: float32 [B, S].
        """
        hidden, states = self.encode(tokens, states)
        rows, flat = hidden.reshape(-1, hidden.shape[2]), np.ascontiguousarray(targets, "int32").reshape(-1)
        return self.likelihoods_after(rows, flat).reshape(targets.shape), states

    def hidden_after(self, states: np.ndarray) -> np.ndarray:
        """Returns the inputs of the logits layer, float32 [N, D], after states, float32 [N, S]."""
        hidden = states[:, self._output]
        if self._has_projection and self._is_small and 0 < len(hidden) <= few_rows.MOST_ROWS:
            return self._panels[-2].multiply(hidden, self._stored[-3])
        return multiply_rows(hidden, self.projection[0]) + self.projection[1] if self.projection else hidden

    def log_probabilities(self, hidden: np.ndarray) -> np.ndarray:
        """Returns those of the next token, natural logarithms, float32 [N, V], from hidden, float32 [N, D]."""
        if self._is_small and 0 < len(hidden) <= few_rows.MOST_ROWS:
            return self._panels[-1].multiply(hidden, self.bias, log_softmax=True)
        scores = multiply_rows(hidden, self.kernel)
        scores += self.bias
        scores -= scores.max(axis=1, keepdims=True)
        scores -= np.log(np.exp(scores).sum(axis=1, keepdims=True))
        return scores

    def likelihoods_after(self, hidden: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Returns the log probabilities, float32 [N], of targets, int32 [N], after hidden, float32 [N, D]."""
        if not self.on_library or 0 in hidden.shape:
            found = [np.zeros(0, "float32")]
            for start in range(0, len(hidden), _ROWS):
                rows, of_rows = self.log_probabilities(hidden[start : start + _ROWS]), targets[start : start + _ROWS]
                found.append(rows[np.arange(len(rows)), of_rows])
            return np.concatenate(found)
        kernel = self.kernel.T if self.is_tied else self.kernel
        target = f"kerasptb_linear_cross_entropy_loss_{self.precision}"
        arguments = [hidden, kernel, self.bias, targets]
        (losses,) = call(target, arguments, [targets.shape], transpose_kernel=self.is_tied)
        return -losses

    def _read(
        self, layer: Sequence[np.ndarray], x: np.ndarray, state: Sequence[np.ndarray]
    ) -> tuple[np.ndarray, Sequence[np.ndarray]]:
        """Returns the outputs of a layer, [B, T, H], and its state after the last step."""
        (B, T, _), H = x.shape, state[0].shape[1]
        if not (B and T):
            return np.zeros((B, T, H), "float32"), state
        # A step of a few rows takes less than waking other threads.
        in_numpy = T == 1 and B <= _FEW_ROWS and self.precision == "float32"
        if self._runs_cell and not in_numpy:
            shapes = [(B, T, H), *[(B, H)] * len(state)]
            h_seq, *state = call(self._target, [x, *layer, *state], shapes)
            return h_seq, state
        outputs = []
        for t in range(T):
            state = self.cell.step(x[:, t], state, layer)
            outputs.append(state[0])
        return np.stack(outputs, axis=1), state

    @functools.cached_property
    def _target(self) -> str:
        return f"kerasptb_{self.cell.kernels}_inference_{self.precision}"

    def _encode_in_8_bits(self, tokens: np.ndarray, states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Does what `encode` does, step by step, with the matrices in 8 bits."""
        parts, n, steps = np.split(states, self._ends, axis=1), len(self.cell.states), []
        embeddings = self._stored[0]
        for column in tokens.T:
            x, after = embeddings.integers[column] * embeddings.scales[column], list[np.ndarray]()
            for i, layer in enumerate(self._panels[: self._num_layers]):
                of_layer = self.cell.step(x, parts[i * n : (i + 1) * n], layer, ops=_InPanels)
                x, after = of_layer[0], after + of_layer
            steps.append(x)
            parts = after
        states = np.concatenate(parts, axis=1)
        hidden = np.stack(steps, axis=1)
        if self._has_projection:
            flat = self._panels[-2].multiply(hidden.reshape(tokens.size, -1), self._stored[-3])
            hidden = flat.reshape(*tokens.shape, -1)
        return hidden, states

    @functools.cached_property
    def _panels(self) -> list[Any]:
        """The layers' weights, then the kernels of the projection, if there is one, and of the logits, in panels."""
        layers = [
            [Panels(each) if isinstance(each, Quantized) else each for each in layer]
            for layer in self._layers_of(self._stored)
        ]
        projection = [Panels(self._stored[-4])] if self._has_projection else []
        logits = Panels(self._stored[0], transposed=True) if self.is_tied else Panels(self._stored[-2])
        return [*layers, *projection, logits]


class _InPanels(NumPy):
    """What a cell computes with where its matrices are in panels."""

    @staticmethod
    def matmul(rows: np.ndarray, matrix: Any) -> np.ndarray:  # type: ignore[override]
        """Returns the product of rows and a matrix."""
        return matrix.multiply(rows)


def _choose(cell: Cell, backend: Backend, precision: Precision) -> bool:
    """Returns whether a network runs on the native library; raises if it was asked for what is not there."""
    if backend in ("reference", "keras"):
        if precision != "float32":
            raise ValueError(
                f'`precision={precision!r}` is available only with backend="native" or "auto". '
                f"Received: backend={backend!r}, precision={precision!r}"
            )
        return False
    reason = why_not(precision)
    if reason is None and backend == "native":
        reason = cell.why_no_kernels
    if reason is not None and (backend == "native" or precision != "float32"):
        other = 'backend="auto"' if precision == "float32" else 'precision="float32"'
        raise NativeUnavailableError(f"{reason} Use {other}.")
    return reason is None


def why_not(precision: Precision) -> str | None:
    """Returns one line on why the library computes nothing in a precision on this processor, or `None`."""
    state = loader.status()
    if not state.available:
        return state.reason
    return loader.why_not_precision(precision)


def open_network(model: Any) -> Network:
    """Returns the network of a `Reader`, or of a `LanguageModel` as its weights are now; a network as it is."""
    if hasattr(model, "open_network"):
        return model.open_network()
    return getattr(model, "network", model)


def entropies(log_probabilities: np.ndarray) -> np.ndarray:
    """Returns the entropies of distributions, natural logarithms, float32 [N, V], in bits, float64 [N]."""
    return -(np.exp(log_probabilities) * log_probabilities).sum(axis=1, dtype="float64") / np.log(2)
