"""A frozen recurrent language model: what each layer does, its weights, and how its state is laid out."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from kerasptb.cells import Cell
from kerasptb.native import NativeUnavailableError, loader
from kerasptb.native.call import call
from kerasptb.utils.products import multiply_rows
from kerasptb.utils.types import Backend, Precision

# Rows of logits that are in memory at once where NumPy computes the likelihoods: 10 MB at V = 10,000.
_ROWS = 256


class Network:
    """A trained network as functions of arrays: embedding, recurrent layers of a cell, any projection, logits.

    It keeps no state, holds no lock while it computes, and several threads may use it. Its arrays are not to be
    changed: it is the model as it was when they were handed over.

    Shapes: B rows, T tokens, S numbers of a state, D inputs of the logits layer, V tokens of the vocabulary. A state is
    float32 [B, S]: the states of all layers one after the other, each in the cell's order, so h0, c0, h1, c1 of LSTMs.

    Args:
        cell: the cell of all recurrent layers.
        weights: float32 arrays, in the order of the layers: the embeddings [V, E]; those of each recurrent layer, as
            `Cell.weight_shapes` orders them; kernel and bias of a projection, if there is one; kernel [D, V] and bias
            [V] of the logits.
        tied: whether that kernel is the transpose of the embeddings, which is then used in its place.
        backend: "native" for the native library, "reference" or "keras" for the cell's `step` in NumPy, "auto" for the
            library where it serves the cell.
        precision: of the products in the library, as in `kerasptb.ops.lstm`.

    Raises:
        NativeUnavailableError: if "native", or another precision than float32, was asked for, and is not there.

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
        weights: Sequence[np.ndarray],
        tied: bool = False,
        backend: Backend = "auto",
        precision: Precision = "float32",
    ) -> None:
        self.embeddings, *between, kernel, self.bias = weights
        self.cell, self.is_tied, self.kernel = cell, tied, self.embeddings.T if tied else kernel
        self.weights = [self.embeddings, *between, self.kernel, self.bias]
        n = cell.num_weights
        num_layers, num_others = divmod(len(between), n)
        self.layers = [between[i * n : (i + 1) * n] for i in range(num_layers)]
        self.projection = tuple(between[len(between) - num_others :])
        self.dense = [*([self.projection] if self.projection else []), (self.kernel, self.bias)]
        self.units = [cell.units_of(layer) for layer in self.layers]
        self.state_sizes = cell.state_sizes(self.units)
        self.state_size = sum(self.state_sizes.values())
        self.vocabulary_size = len(self.embeddings)
        ends = np.cumsum(list(self.state_sizes.values()))
        self._ends = ends[:-1]
        place = list(self.state_sizes).index(cell.output_state(list(self.state_sizes)))
        self._output = slice(ends[place] - self.units[-1], ends[place])
        self.precision = precision
        self.on_library = _choose(cell, backend, precision)
        self._runs_cell = self.on_library and precision in cell.precisions

    def encode(self, tokens: np.ndarray, states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the inputs of the logits layer after each token, and the states after the last of each row.

        Args:
            tokens: int32 [B, T].
            states: float32 [B, S], before them.

        Returns:
            hidden: float32 [B, T, D].
            states: float32 [B, S].
        """
        parts = np.split(states, self._ends, axis=1)
        x, after, n = self.embeddings[tokens], [], len(self.cell.states)
        for i, layer in enumerate(self.layers):
            x, of_layer = self._read(i, layer, x, parts[i * n : (i + 1) * n])
            after += of_layer
        if self.projection:
            kernel, bias = self.projection
            x = (multiply_rows(x.reshape(-1, x.shape[2]), kernel) + bias).reshape(*tokens.shape, -1)
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
        return multiply_rows(hidden, self.projection[0]) + self.projection[1] if self.projection else hidden

    def log_probabilities(self, hidden: np.ndarray) -> np.ndarray:
        """Returns those of the next token, natural logarithms, float32 [N, V], from hidden, float32 [N, D]."""
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

    def _read(self, i, layer, x, state):
        """Returns the outputs of the i-th layer, [B, T, H], and its state after the last step."""
        (B, T, _), H = x.shape, self.units[i]
        if not (B and T):
            return np.zeros((B, T, H), "float32"), state
        if self._runs_cell:
            shapes = [(B, T, H), *[(B, H)] * len(state)]
            h_seq, *state = call(self._target, [x, *layer, *state], shapes)
            return h_seq, state
        outputs = []
        for t in range(T):
            state = self.cell.read_step(x[:, t], state, self._joined[i])
            outputs.append(state[0])
        return np.stack(outputs, axis=1), state

    @functools.cached_property
    def _target(self):
        return f"kerasptb_{self.cell.kernels}_inference_{self.precision}"

    @functools.cached_property
    def _joined(self):
        """The weights of the recurrent layers as `Cell.read_step` takes them."""
        return [self.cell.join(layer) for layer in self.layers]


def _choose(cell, backend, precision):
    """Returns whether a network runs on the native library; raises if it was asked for what is not there."""
    if backend in ("reference", "keras"):
        return False
    reason = why_not(precision)
    if reason is None and backend == "native":
        reason = cell.why_no_kernels
    if reason is not None and (backend == "native" or precision != "float32"):
        raise NativeUnavailableError(f'{reason} Use backend="auto" and precision="float32".')
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
