"""What a model knows after some tokens: a search for words needs no more of it, and neither Keras nor TensorFlow."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from kerasptb.data import DataError


@dataclasses.dataclass(frozen=True, eq=False)
class Context:
    """What a model knows after some tokens.

    Attributes:
        state: of the model, as its reader has it: float32 [S], the states of all recurrent layers, of a `Reader`.
        log_probabilities: float32 [V], natural logarithms, of the next token; `None` if nothing was read yet and the
            tokenizer has no token that a text begins after.
    """

    state: Any
    log_probabilities: np.ndarray | None

    def known(self) -> np.ndarray:
        """Returns the log probabilities; raises a `DataError` if there are none."""
        if self.log_probabilities is None:
            raise DataError("Expected a text with at least one word: the vocabulary has no <eos> to begin with.")
        return self.log_probabilities


@dataclasses.dataclass(frozen=True)
class Beginning:
    """The beginning of a word, after a text.

    Attributes:
        written: its characters; bytes that are no whole character yet are surrogates.
        log_probability: of its pieces.
        context: the `Context` before its last piece.
        piece: the id of its last piece.
        row: how its letters align with taps, if it is looked for by them: a `Row`; the log probability is then that of
            both, at most.
    """

    written: str
    log_probability: float
    context: Context
    piece: int
    row: Any = None
