"""What a model knows after some tokens: a search for words needs no more of it, and neither Keras nor TensorFlow."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

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


class Beginning(NamedTuple):
    """A beginning of a word that is to be read: the `Context` before its last piece, and the id of that."""

    context: Context
    piece: int
