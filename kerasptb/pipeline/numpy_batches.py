"""Contiguous batches without `tf.data`, for Keras on a backend other than TensorFlow."""

import copy
from typing import Self

import keras
import numpy as np

from kerasptb.pipeline.passes import Parts, Passes


class NumpyBatches(keras.utils.PyDataset):
    """The batches of `make_dataset` as arrays, for Keras on any backend; with `rest` a shorter one follows."""

    def __init__(self, streams: np.ndarray, passes: Passes | Parts, rest: bool = False) -> None:
        super().__init__()
        self._streams, self._passes = streams, passes
        self._rest = [streams.shape[1] - 1] if rest else []
        self._bounds = passes.next_bounds() + self._rest
        self._is_read = False

    def __len__(self) -> int:
        return len(self._bounds) - 1

    def __getitem__(self, index: int) -> tuple[np.ndarray, ...]:
        index = range(len(self))[index]
        self._is_read = self._is_read or index == len(self) - 1
        start, end = self._bounds[index : index + 2]
        return tuple(np.ascontiguousarray(self._streams[:, start + i : end + i]) for i in (0, 1))

    def on_epoch_end(self) -> None:
        """Begins the next pass; Keras calls this after each epoch, and with JAX before the first one too."""
        if self._is_read:
            self._bounds, self._is_read = [*self._passes.next_bounds(), *self._rest][: len(self._bounds)], False

    def take(self, count: int) -> Self:
        """Returns the first `count` batches, as `tf.data.Dataset.take` does; -1 means all of them."""
        taken = copy.copy(self)
        if count >= 0:
            taken._bounds = self._bounds[: count + 1]
        return taken
