"""Reads a text with a model, without its output layer: row by row, or to go on from anywhere in it."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

from kerasptb.data.word_search import Beginning
from kerasptb.models import LanguageModel
from kerasptb.ops.logits import LogitFactors

# Words of a row: enough to make the overhead of a call negligible, without much memory.
ROW = 1000
# Tokens whose states are in memory at once; 100 MB of a model of two layers of 200 units.
_BLOCK = 1 << 15
# Rows of the logits that are computed at once.
_ROWS = 1024


def read_rows(
    model: LanguageModel, ids: np.ndarray, num_steps: int = ROW
) -> Iterator[tuple[LogitFactors, np.ndarray, np.ndarray]]:
    """Yields a text in rows, read from a zero state at batch size 1; the state goes on from row to row.

    Args:
        model: a `LanguageModel`. It need not be compiled.
        ids: int32 [N], see `perplexity.checked_text`.
        num_steps: words T of a row.

    Yields:
        factors: the `LogitFactors` of the logits [1, T, V] of the row's next words.
        states: float32 [T, H], the inputs of the logits layer.
        targets: int32 [T], the next words.
    """
    state = model.get_initial_state(1)
    for start in range(0, len(ids) - 1, num_steps):
        row = ids[start : start + num_steps + 1]
        hidden, state = model.stateless_encode(keras.ops.convert_to_tensor(row[np.newaxis, :-1], "int32"), state)
        states = keras.ops.convert_to_numpy(keras.ops.cast(hidden, "float32"))[0]
        yield model.get_layer("logits").factors(hidden), states, row[1:]


@dataclasses.dataclass(frozen=True, eq=False)
class Context:
    """What a model knows after some tokens, and the contexts after one more that were read.

    Attributes:
        log_probabilities: float32 [V], natural logarithms, of the next token.
        state: h and c of the LSTM layers, each [H], in one list.
        after: mapping from a token to the `Context` after it.
    """

    log_probabilities: np.ndarray
    state: list[np.ndarray]
    after: dict[int, "Context"] = dataclasses.field(default_factory=dict)


class Reader:
    """Reads tokens after many contexts at once.

    Args:
        model: a `LanguageModel`. It need not be compiled.
    """

    def __init__(self, model: LanguageModel) -> None:
        self._model = model
        hidden, state = self._encode(np.zeros((1, 1), "int32"), model.get_initial_state(1))
        factors = model.get_layer("logits").factors(hidden)
        kernel, self._bias = (_numpy(each).astype("float32") for each in (factors.kernel, factors.bias))
        self._kernel = np.ascontiguousarray(kernel.T if factors.transpose_kernel else kernel)
        self._structure = state

    def blocks(self, ids: np.ndarray) -> Iterator[tuple[int, np.ndarray, list[np.ndarray]]]:
        """Yields a text in long blocks, read from a zero state.

        A block is read twice: in a few rows, one after the other, then in all of these at once, step by step.

        Args:
            ids: int32 [N].

        Yields:
            start: the index of the first token.
            hidden: float32 [T, H], the inputs of the logits layer after each token.
            states: h and c of the LSTM layers after each token, each [T, H].
        """
        state = self._model.get_initial_state(1)
        for start in range(0, len(ids), _BLOCK):
            block = ids[start : start + _BLOCK]
            num_steps = max(int(np.sqrt(len(block))), 1)
            rows = np.zeros((-(-len(block) // num_steps), num_steps), "int32")
            rows.reshape(-1)[: len(block)] = block
            before = []
            for row in rows:
                before.append([_numpy(each)[0] for each in keras.tree.flatten(state)])
                used = row[: len(block) - num_steps * (len(before) - 1)]
                _, state = self._encode(used[np.newaxis], state)
            steps, of_rows = [], self._stacked(before)
            for column in rows.T:
                hidden, of_rows = self._encode(column[:, np.newaxis], of_rows)
                steps.append([_numpy(hidden)[:, 0].astype("float32"), *map(_numpy, keras.tree.flatten(of_rows))])
            hidden, *states = (
                np.stack(each, axis=1).reshape(rows.size, -1)[: len(block)] for each in zip(*steps, strict=True)
            )
            yield start, hidden, states

    def log_probabilities(self, hidden: np.ndarray) -> np.ndarray:
        """Returns those of the next token, natural logarithms, float32 [N, V].

        Args:
            hidden: float32 [N, H], the inputs of the logits layer.
        """
        scores = hidden @ self._kernel
        scores += self._bias
        scores -= scores.max(axis=1, keepdims=True)
        scores -= np.log(np.exp(scores).sum(axis=1, keepdims=True))
        return scores

    def contexts(self, hidden: np.ndarray, states: Sequence[np.ndarray]) -> list[Context]:
        """Returns the `Context`s of rows, as `blocks` yields them."""
        return [Context(row, [each[i] for each in states]) for i, row in enumerate(self.log_probabilities(hidden))]

    def extend(self, beginnings: Sequence[Beginning]) -> list[Context]:
        """Returns the `Context`s after one more token each; no token is read twice after a `Context`."""
        new = {(id(each.context), each.piece): each for each in beginnings if each.piece not in each.context.after}
        asked = list(new.values())
        for first in range(0, len(asked), _ROWS):
            some = asked[first : first + _ROWS]
            tokens = np.array([[each.piece] for each in some], "int32")
            hidden, state = self._encode(tokens, self._stacked([each.context.state for each in some]))
            rows = self.contexts(
                _numpy(hidden)[:, 0].astype("float32"), [_numpy(each) for each in keras.tree.flatten(state)]
            )
            for each, context in zip(some, rows, strict=True):
                each.context.after[each.piece] = context
        return [each.context.after[each.piece] for each in beginnings]

    def _encode(self, tokens, state):
        return self._model.stateless_encode(keras.ops.convert_to_tensor(tokens, "int32"), state)

    def _stacked(self, states):
        """Returns the state of many rows, from lists of h and c."""
        arrays = [keras.ops.convert_to_tensor(np.stack(each)) for each in zip(*states, strict=True)]
        return keras.tree.pack_sequence_as(self._structure, arrays)


def _numpy(tensor: Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(tensor)
