"""The recurrent state of an evaluation whose steps are compiled: an object that the evaluation owns."""

import contextlib
import contextvars
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import keras

from kerasptb.compat.keras import in_stateless_scope
from kerasptb.ops.backend import ON_TENSORFLOW, tf
from kerasptb.ops.sharding import place_rows

_IN_USE: contextvars.ContextVar[Any] = contextvars.ContextVar("evaluation_states", default=None)


class EvaluationStates:
    """h and c of each stateful layer of an evaluation, in variables, by the number of rows of its batches.

    An evaluation takes the object (`alone`), zeroes it (`reset`), and runs its steps with it (`used_by`). Keras does
    not track the variables: state is not a weight, and some are made after the layers are built. A copy has none.
    """

    def __init__(self) -> None:
        self._variables: dict[tuple[keras.Layer, int], list[keras.Variable]] = {}
        self._making, self._evaluating = threading.Lock(), threading.RLock()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), ()

    @staticmethod
    def in_use() -> "EvaluationStates | None":
        """Returns the states with which a step of an evaluation runs at present, in this thread; else None."""
        return _IN_USE.get()

    def alone(self) -> contextlib.AbstractContextManager:
        """A context that one thread is in at a time: an evaluation, from its reset to its last step."""
        return self._evaluating

    def used_by(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Returns a function that runs, or is traced, with these states in use."""

        @functools.wraps(function)
        def using(*args: Any, **kwargs: Any) -> Any:
            token = _IN_USE.set(self)
            try:
                return function(*args, **kwargs)
            finally:
                _IN_USE.reset(token)

        return using

    def reset(self, batch_size: int | None = None) -> None:
        """Zeroes the states for batches of this number of rows, or all."""
        for (_, size), variables in list(self._variables.items()):
            if batch_size in (None, size):
                for variable in variables:
                    variable.assign(keras.ops.zeros_like(variable.value))

    def has(self, layer: keras.Layer, batch_size: int) -> bool:
        """Returns whether there is a state of a layer for batches of this number of rows."""
        return (layer, batch_size) in self._variables

    def of(self, layer: keras.Layer, batch_size: int) -> list[keras.Variable]:
        """Returns the variables of h and c [B, H] of a layer; makes them, where a step allows it, unless they exist."""
        if not self.has(layer, batch_size):
            self._make(layer, batch_size)
        return self._variables[layer, batch_size]

    def variables(self) -> list[keras.Variable]:
        """Returns a list of all variables."""
        return [variable for variables in list(self._variables.values()) for variable in variables]

    def _make(self, layer: keras.Layer, batch_size: int) -> None:
        if in_stateless_scope():
            raise ValueError(
                f"With {keras.backend.backend()} no state can be made inside of a step. Call "
                "`layer.make_evaluation_states(batch_size)` "
                f"before the size is met, as a LanguageModel does by itself. Received: batches of {batch_size} rows"
            )
        # This may run while a graph is traced: the variables must outlive it.
        with self._making, _outside_graph():
            if self.has(layer, batch_size):
                return  # another thread has made them
            variables = [
                keras.Variable(zeros, trainable=False, dtype=layer.variable_dtype, name="rnn_state")
                for zeros in layer.get_initial_state(batch_size)
            ]
            for variable in variables:
                place_rows(variable)
            self._variables[layer, batch_size] = variables


@contextlib.contextmanager
def _outside_graph() -> Iterator[None]:
    """Lets the body make variables that outlive the graph being traced, if there is one."""
    if not ON_TENSORFLOW:
        yield
        return
    from kerasptb.compat.tensorflow import create_variable  # noqa: PLC0415  (imports TensorFlow)

    # Not the creator of `tf.function`: it guards against functions that make new variables in each call, and here they
    # are made once for each batch size.
    scope = tf.variable_creator_scope(create_variable)
    with tf.init_scope(), scope if tf.executing_eagerly() else contextlib.nullcontext():
        yield
