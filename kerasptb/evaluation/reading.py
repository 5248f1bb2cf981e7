"""Reads a text with a model, without its output layer, to go on from anywhere in it."""

from collections.abc import Iterator

import numpy as np

from kerasptb.reading import Reader

# Most words of a row at batch size 1: enough to make the overhead of a call negligible, without much memory.
ROW = 1000
# Tokens whose states are in memory at once; 100 MB of a model of two layers of 200 units.
_BLOCK = 1 << 15


def read_blocks(
    reader: Reader, ids: np.ndarray, with_states: bool = True
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yields a text in long blocks, read from a zero state.

    Of each the index of the first token, the input of the logits layer after each token, float32 [T, D], and the
    states, float32 [T, S], or [T, 0] if they are not needed. With them a block is read twice: in a few rows, one after
    the other, then in all of these at once, step by step.
    """
    state = np.zeros((1, reader.state_size), "float32")
    for start in range(0, len(ids), _BLOCK):
        block = ids[start : start + _BLOCK]
        num_steps = max(int(np.sqrt(len(block))), 1) if with_states else ROW
        before, hidden = [], []
        for first in range(0, len(block), num_steps):
            before.append(state)
            of_row, state = reader.encode(block[np.newaxis, first : first + num_steps], state)
            hidden.append(of_row[0])
        states = np.zeros((len(block), 0), "float32")
        if with_states:
            states = _states_after(reader, block, num_steps, np.concatenate(before))
        yield start, np.concatenate(hidden), states


def _states_after(reader: Reader, block: np.ndarray, num_steps: int, states: np.ndarray) -> np.ndarray:
    """Returns the states after each token of a block, from those before its rows, which are read together."""
    rows, steps = np.zeros((len(states), num_steps), "int32"), []
    rows.reshape(-1)[: len(block)] = block
    for column in rows.T:
        _, states = reader.encode(column[:, np.newaxis], states)
        steps.append(states)
    return np.stack(steps, axis=1).reshape(rows.size, -1)[: len(block)]
