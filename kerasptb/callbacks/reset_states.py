"""Recurrent state that starts from zero where it should, and never leaks from validation into training."""

from typing import Any

import keras
from keras import ops


class ResetStates(keras.callbacks.Callback):
    """Starts every training epoch and every evaluation from a zero state, and keeps the two apart.

    Works on any Keras model with stateful recurrent layers. Plain Keras lets the state flow from the end of the
    training data into validation, from there into the next epoch, and from one `evaluate` into the next. With
    this callback the state is zeroed when a training epoch begins. An evaluation begins from zero, and afterwards
    the earlier state is restored.
    """

    def __init__(self) -> None:
        super().__init__()
        self._before_evaluation: list[tuple[keras.Variable, Any]] = []

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Puts back the state from before an evaluation that was interrupted."""
        self._put_back()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Zeroes the state before a training epoch."""
        self._zero()

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Puts the state aside and evaluates from zero."""
        self._put_back()
        if hasattr(self.model, "reset_evaluation_states"):
            return  # a LanguageModel, whose evaluations have states of their own and begin from zero
        self._before_evaluation = [(variable, ops.copy(variable.value)) for variable in self._variables()]
        self._zero()
        for layer in stateful_layers(self.model):
            if hasattr(layer, "reset_evaluation_state"):  # a StatefulLSTM, which has separate evaluation states
                layer.reset_evaluation_state()

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        """Puts back the state from before the evaluation."""
        self._put_back()

    def _put_back(self) -> None:
        for variable, value in self._before_evaluation:
            variable.assign(value)
        self._before_evaluation = []

    def _variables(self) -> list[keras.Variable]:
        return [variable for layer in stateful_layers(self.model) for variable in keras.tree.flatten(layer.states)]

    def _zero(self) -> None:
        for variable in self._variables():
            variable.assign(ops.zeros_like(variable.value))


def stateful_layers(model: keras.Model) -> list[keras.Layer]:
    """Returns the model's built recurrent layers with `stateful=True`, also nested ones, and the teachers of models."""
    layers = list(model._flatten_layers())
    return [
        layer
        for layer in [*layers[1:], *(getattr(layer, "teacher", None) for layer in layers)]
        if getattr(layer, "stateful", False) and getattr(layer, "states", None) is not None
    ]
