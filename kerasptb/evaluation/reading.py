"""Reads a text with a model, row by row, without its output layer."""

from collections.abc import Iterator

import keras
import numpy as np

from kerasptb.models import LanguageModel
from kerasptb.ops.logits import LogitFactors

# Words of a row: enough to make the overhead of a call negligible, without much memory.
ROW = 1000


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
