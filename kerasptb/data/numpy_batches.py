"""Contiguous batches without `tf.data`, for Keras on a backend other than TensorFlow."""

import keras
import numpy as np


class NumpyBatches(keras.utils.PyDataset):
    """The batches of `make_dataset` as a sequence of numpy arrays, which Keras' trainers read on every backend.

    Args:
        streams: int32 [B, N // B], the text as its B streams.
        num_steps: words T of a stream in one batch.
        num_batches: number of batches of T steps.
        rest: whether a shorter batch with the last words follows.
        passes: `Passes` that say where batches begin and end, anew after each epoch; `None` for batches of T steps.
    """

    def __init__(self, streams, num_steps=0, num_batches=0, rest=False, passes=None):
        super().__init__()
        self._streams, self._passes = streams, passes
        bounds = [i * num_steps for i in range(num_batches + 1)] + ([streams.shape[1] - 1] if rest else [])
        self._bounds = bounds if passes is None else passes.next_bounds()

    def __len__(self):
        return len(self._bounds) - 1

    def __getitem__(self, index):
        index = range(len(self))[index]
        start, end = self._bounds[index : index + 2]
        return (
            np.ascontiguousarray(self._streams[:, start:end]),
            np.ascontiguousarray(self._streams[:, start + 1 : end + 1]),
        )

    def on_epoch_end(self):
        """Draws the next pass; Keras calls this after each epoch."""
        if self._passes is not None:
            self._bounds = self._passes.next_bounds()[: len(self._bounds)]

    def take(self, count):
        """Returns the first `count` batches, as `tf.data.Dataset.take` does; -1 means all of them."""
        taken = NumpyBatches(self._streams)
        taken._bounds, taken._passes = (self._bounds if count < 0 else self._bounds[: count + 1]), self._passes
        return taken
