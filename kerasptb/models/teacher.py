"""A trained model whose distribution of the next word another one learns from."""

from typing import Any

import keras

from kerasptb.arguments import Argument, Number
from kerasptb.compat.keras import clear_losses, in_symbolic_scope, without_autocast
from kerasptb.losses import LOSSES_OF_FACTORS
from kerasptb.ops.logits import factors_of
from kerasptb.ops.tensors import without_gradients
from kerasptb.utils.types import Tensor

_WEIGHT = Argument("weight", Number(0, 1), "weight of the teacher's distribution")


class Teacher:
    """A trained model that reads what another one, the student, trains on, from its own state after the batch before.

    To callbacks it is one more stateful layer (`stateful`, `states`), whose state is in checkpoints.
    """

    stateful = True

    def __init__(self, model: keras.Model, weight: float, student: keras.Model) -> None:
        self._model, self._weight = model, _checked(model, weight, student)
        self._initial = model.get_initial_state(student.batch_size)
        self.states = [
            keras.Variable(zeros, trainable=False, dtype=zeros.dtype, name="teacher_state")
            for zeros in keras.tree.flatten(self._initial)
        ]

    def reset_state(self) -> None:
        """Zeroes the state."""
        for variable in self.states:
            variable.assign(keras.ops.zeros_like(variable.value))

    def check_loss(self, loss: Any) -> None:
        """Raises ValueError for a loss, or a structure of them, that does not ask the logits what they are made of."""
        losses = [each for each in keras.tree.flatten(loss) if each is not None]
        if others := [each for each in losses if not isinstance(each, LOSSES_OF_FACTORS)]:
            names = " or ".join(each.__name__ for each in LOSSES_OF_FACTORS)
            raise ValueError(f"A model that learns from a teacher needs the loss {names}. Received: loss={others[0]!r}")

    def teach(self, tokens: Tensor, logits: Tensor) -> None:
        """Lets the loss of a step's logits, which carry their factors, be that of learning from the teacher too."""
        if in_symbolic_scope():
            return  # Keras asks for shapes: nothing is read
        factors = factors_of(logits)
        if factors is None:
            raise ValueError(
                "A model that learns from a teacher needs logits of kerasptb.layers.Dense or TiedDense, without an "
                "activation or quantization. Received: logits that carry no factors"
            )
        with without_gradients():
            with without_autocast():
                values = [keras.ops.convert_to_tensor(variable) for variable in self.states]
            hidden, after = self._model.stateless_encode(tokens, keras.tree.pack_sequence_as(self._initial, values))
            for variable, value in zip(self.states, keras.tree.flatten(after), strict=True):
                variable.assign(value)
            clear_losses(self._model)  # it is not this model's step
        factors.learn_from(self._model.get_layer("logits").factors(hidden), self._weight)


def _checked(model: keras.Model, weight: float, student: keras.Model) -> float:
    """Returns the weight; raises ValueError for what cannot teach."""
    if keras.backend.backend() != "tensorflow":
        raise ValueError(f"A teacher needs KERAS_BACKEND=tensorflow. Received: {keras.backend.backend()}")
    if model is student or not hasattr(model, "stateless_encode"):
        raise ValueError(f"Expected another LanguageModel as the teacher. Received: {model!r}")
    if model.vocabulary_size != student.vocabulary_size:
        raise ValueError(
            "Expected a teacher over the same tokens. Received: one of "
            f"{model.vocabulary_size:,} tokens, for a model of {student.vocabulary_size:,}"
        )
    tokenizers = model.tokenizer, student.tokenizer
    if None not in tokenizers and tokenizers[0].digest != tokenizers[1].digest:
        raise ValueError("Expected a teacher over the same tokens. Received: one with another tokenizer")
    return _WEIGHT.read(weight)
