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
    """

    def __init__(self, streams, num_steps, num_batches, rest=False):
        super().__init__()
        self._streams, self._num_steps = streams, num_steps
        ends = [(i + 1) * num_steps for i in range(num_batches)]
        self._ends = ends + ([streams.shape[1] - 1] if rest else [])

    def __len__(self):
        return len(self._ends)

    def __getitem__(self, index):
        end = self._ends[index]
        start = index % len(self) * self._num_steps
        return (
            np.ascontiguousarray(self._streams[:, start:end]),
            np.ascontiguousarray(self._streams[:, start + 1 : end + 1]),
        )

    def take(self, count):
        """Returns the first `count` batches, as `tf.data.Dataset.take` does; -1 means all of them."""
        taken = NumpyBatches(self._streams, self._num_steps, 0)
        taken._ends = self._ends if count < 0 else self._ends[:count]
        return taken
