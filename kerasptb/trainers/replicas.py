"""How batches come to replicas, with Keras on JAX: each has its own rows of a batch.

Replica r of R has the rows r B / R to (r + 1) B / R of each batch, and keeps them from batch to batch, with their
recurrent state. Every process is given whole batches, and takes its own rows from them.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import keras


class Replicas(keras.distribution.DataParallel):
    """A `DataParallel` distribution that gives a batch whose rows do not divide, such as one text, to every replica."""

    def __init__(self, distribution: keras.distribution.DataParallel) -> None:
        super().__init__(device_mesh=distribution.device_mesh, auto_shard_dataset=False)
        self._divides = True

    @property
    def has_processes(self) -> bool:
        """Whether several processes divide the batches."""
        return self._num_processes > 1

    def own_rows(self, batch: Any) -> Any:
        """Returns of a batch, arrays in any structure, what this process hands on: its rows, or the whole."""
        rows = keras.tree.flatten(batch)[0].shape[0]
        self._divides = rows % self.device_mesh.devices.size == 0
        if not self.has_processes or not self._divides:
            return batch
        count = rows // self._num_processes
        start = self._process_id * count
        return keras.tree.map_structure(lambda array: array[start : start + count], batch)

    def own_rows_of_array(self, value: Any) -> Any:
        """Returns `own_rows` of an array, and other values as they are."""
        return self.own_rows(value) if hasattr(value, "shape") else value

    def get_data_layout(self, data_shape: Sequence[int]) -> keras.distribution.TensorLayout:
        """Returns the layout of a batch; of several processes, which see their rows alone, what `own_rows` saw last."""
        divides = self._divides if self.has_processes else data_shape[0] % self.device_mesh.devices.size == 0
        if divides:
            return super().get_data_layout(data_shape)
        return keras.distribution.TensorLayout([None] * len(data_shape), self.device_mesh)


@contextlib.contextmanager
def in_force() -> Iterator[Replicas | None]:
    """A context in which `Replicas`, which it yields, stand for a `DataParallel` distribution that is set, if any."""
    distribution = keras.distribution.distribution()
    if isinstance(distribution, Replicas):
        yield distribution
    elif isinstance(distribution, keras.distribution.DataParallel):
        with Replicas(distribution).scope():
            yield keras.distribution.distribution()
    else:
        yield None
