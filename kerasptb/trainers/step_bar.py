"""Keras' progress bar, which counts no step past the last one."""

from collections.abc import Sequence
from typing import Any

import keras


class StepBar(keras.callbacks.ProgbarLogger):
    """Keras' progress bar of `fit`, `evaluate` and `predict`, but for a last call of fewer steps.

    Keras numbers a call of several steps (`steps_per_execution`) by its last step, also where fewer steps are left.
    """

    async_safe = True  # as Keras takes its own bar to be, so that the next step need not wait for it

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Shows how far the epoch is."""
        super().on_train_batch_end(self._done(batch) - 1, logs)

    def on_test_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Shows how far the evaluation is."""
        super().on_test_batch_end(self._done(batch) - 1, logs)

    def on_predict_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Shows how far the prediction is."""
        super().on_predict_batch_end(self._done(batch) - 1, logs)

    def _done(self, batch: int) -> int:
        """The number of steps that are done after the call of this last step."""
        return batch + 1 if self.target is None else min(batch + 1, self.target)


def with_step_bar(callbacks: Any, verbose: str | int) -> Any:
    """Returns callbacks for Keras' trainer, a `StepBar` among them where Keras would add its bar."""
    if not verbose or isinstance(callbacks, keras.callbacks.CallbackList):
        return callbacks
    given: Sequence[keras.callbacks.Callback] = keras.tree.flatten(callbacks or ())
    if any(isinstance(callback, keras.callbacks.ProgbarLogger) for callback in given):
        return callbacks
    return [*given, StepBar()]
