"""What a callback may ask of the `fit` that it takes part in, of any Keras model."""

import itertools
from collections.abc import Callable
from typing import Any

import keras


class RunningFit:
    """The `fit` of a model while it runs: it can be let begin in a later epoch, and read batches without training."""

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        self._train_function: Any = None  # the model's, while batches are only read

    @property
    def only_reads(self) -> bool:
        """Whether batches are read without training."""
        return self._train_function is not None

    def begin_in(self, epoch: int | None) -> None:
        """Lets the first epoch be this one, its number from 0, or `None` for the one that `fit` was given."""
        self._model._initial_epoch = epoch

    def only_read(self, logs: dict[str, Any], on_metrics: Callable[[], None]) -> None:
        """Reads batches without training until `train`, in steps that return these logs.

        `on_metrics` is called once the variables of the model's metrics exist, if they wait for a batch.
        """
        of_trainer = getattr(self._model, "elements_per_call", None)
        elements = of_trainer() if of_trainer else self._model.steps_per_execution
        metrics = self._model._compile_metrics

        def read(*arguments: Any) -> Any:  # an iterator; on JAX a state before it, which the function also returns
            *state, iterator = arguments
            for batch in itertools.islice(iterator, elements):
                if metrics is not None and not metrics.built:
                    self._model._symbolic_build(data_batch=batch)
                    on_metrics()
            return (logs, *state) if state else logs

        # Keras looks the function up before each step, and has no other place to say this.
        self._train_function, self._model.train_function = self._model.train_function, read

    def train(self) -> None:
        """Trains on batches again, if they were only read."""
        if self.only_reads:
            self._model.train_function, self._train_function = self._train_function, None

    def at_end(self, call: Callable[[], None]) -> bool:
        """Calls something when `fit` has ended, also by an error; returns False if the model's trainer cannot tell."""
        tells = hasattr(self._model, "when_fit_ends")
        if tells:
            self._model.when_fit_ends(call)
        return tells
