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
        passes: `Passes` that say where batches end, anew after each epoch; `None` for batches of T steps.
    """

    def __init__(self, streams, num_steps=0, num_batches=0, rest=False, passes=None):
        super().__init__()
        self._streams, self._passes = streams, passes
        ends = [(i + 1) * num_steps for i in range(num_batches)] + ([streams.shape[1] - 1] if rest else [])
        self._ends = ends if passes is None else passes.next_ends()

    def __len__(self):
        return len(self._ends)

    def __getitem__(self, index):
        end = self._ends[index]
        start = self._ends[index % len(self) - 1] if index % len(self) else 0
        return (
            np.ascontiguousarray(self._streams[:, start:end]),
            np.ascontiguousarray(self._streams[:, start + 1 : end + 1]),
        )

    def on_epoch_end(self):
        """Draws the ends of the next pass; Keras calls this after each epoch."""
        if self._passes is not None:
            self._ends = self._passes.next_ends()[: len(self)]

    def take(self, count):
        """Returns the first `count` batches, as `tf.data.Dataset.take` does; -1 means all of them."""
        taken = NumpyBatches(self._streams)
        taken._ends, taken._passes = (self._ends if count < 0 else self._ends[:count]), self._passes
        return taken
