"""A trained model whose distribution of the next word another one learns from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import keras

from kerasptb.compat.keras import in_symbolic_scope
from kerasptb.ops.logits import factors_of
from kerasptb.ops.tensors import without_gradients
from kerasptb.utils.types import Tensor

if TYPE_CHECKING:
    from kerasptb.models.language_model import LanguageModel


class Teacher:
    """A trained model that reads what another one trains on, from its own state after the batch before.

    To callbacks it is one more stateful layer (`stateful`, `states`): its state begins at zero when the other's does,
    and is in checkpoints. It has no part in the other's weights, config or files.

    Args:
        model: the trained `LanguageModel`.
        weight: of its distribution, see `ops.logits.LogitFactors.learn_from`.
        batch_size: rows B of the batches.

    Attributes:
        states: list of Keras variables [B, H]: h and c of each of the model's LSTM layers.
    """

    stateful = True

    def __init__(self, model: LanguageModel, weight: float, batch_size: int) -> None:
        self._model, self._weight = model, weight
        self._initial = model.get_initial_state(batch_size)
        self.states = [
            keras.Variable(zeros, trainable=False, name="teacher_state") for zeros in keras.tree.flatten(self._initial)
        ]

    def teach(self, tokens: Tensor, logits: Tensor) -> None:
        """Lets the loss of a step's logits be that of learning from the teacher too.

        Args:
            tokens: int32 [B, T], what the step reads.
            logits: [B, T, V], those of the model that learns; they carry their factors.

        Raises:
            ValueError: if they do not.
        """
        if in_symbolic_scope():
            return  # Keras asks for shapes: nothing is read
        factors = factors_of(logits)
        if factors is None:
            raise ValueError(
                "A model that learns from a teacher needs logits of kerasptb.layers.Dense or TiedDense, without an "
                "activation or quantization. Received: logits that carry no factors"
            )
        with without_gradients():
            state = keras.tree.pack_sequence_as(self._initial, [variable.value for variable in self.states])
            hidden, after = self._model.stateless_encode(tokens, state)
            for variable, value in zip(self.states, keras.tree.flatten(after), strict=True):
                variable.assign(value)
        factors.learn_from(self._model.get_layer("logits").factors(hidden), self._weight)
