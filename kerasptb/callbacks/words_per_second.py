"""Training speed in words per second, in the progress bar and the history."""

import time
from typing import Any

import keras

from kerasptb.callbacks.progress import Progress
from kerasptb.metrics.perplexity import Perplexity, find_perplexity


class WordsPerSecond(keras.callbacks.Callback):
    """Adds `words_per_second` to the logs of every training batch and epoch.

    The words are those that the model's `Perplexity` metric has counted since the epoch began (for weighted words, the
    sum of their weights). The clock starts when the epoch's first execution ends, so that the tracing of the graph does
    not count as slow training. If the epoch is a single execution, all of it counts. Validation does not count.

    Raises:
        ValueError: at the end of the first batch, if the model has no `kerasptb.metrics.Perplexity`.
    """

    def __init__(self) -> None:
        super().__init__()
        self._perplexity: Perplexity | None = None
        self._begin = 0.0, 0.0
        self._first: tuple[float, float] | None = None
        self._rate: float | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Finds the metric that counts the words."""
        self._perplexity = find_perplexity(self.model)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Starts the epoch's clock."""
        self._begin = time.perf_counter(), 0.0
        self._first = self._rate = None

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Adds the speed so far to the batch's logs."""
        self._perplexity = self._perplexity or find_perplexity(self.model)
        if self._perplexity is None:
            raise ValueError("WordsPerSecond needs a kerasptb.metrics.Perplexity among the model's metrics.")
        now, words = time.perf_counter(), self._num_words(self._perplexity)
        if batch < Progress.of(self).batch:  # passed over by a resumed training, whose logs have the speed
            self._begin = now, words
            return
        if self._first is None:
            self._rate = _rate(self._begin, (now, words))
            self._first = now, words
        else:
            self._rate = _rate(self._first, (now, words))
        if logs is not None:
            logs["words_per_second"] = self._rate

    def _num_words(self, perplexity: Perplexity) -> float:
        variable = perplexity.num_words
        state = getattr(self.model, "_jax_state", None)
        if state and not self.model._jax_state_synced:
            # Keras' JAX trainer holds the values until the epoch ends. Writing all back to read one would cost time.
            position = [id(other) for other in self.model.metrics_variables].index(id(variable))
            return float(state["metrics_variables"][position])
        return float(variable)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Adds the epoch's speed to its logs."""
        if logs is not None and self._rate is not None:
            logs["words_per_second"] = self._rate


def _rate(begin: tuple[float, float], end: tuple[float, float]) -> float:
    return (end[1] - begin[1]) / (end[0] - begin[0])
