"""Data of Keras' trainers whose batches are changed on their way in."""

from collections.abc import Callable, Iterable
from typing import Any

from kerasptb.compat.keras import DataAdapter


class AdaptedBatches(DataAdapter):
    """What another adapter gives, but for its batches: an iterable for each epoch, or a `tf.data.Dataset`.

    `element_spec` is what is known of the shapes of the batches.
    """

    def __init__(
        self,
        adapter: DataAdapter,
        batches: Callable[[], Iterable[Any]] | None = None,
        dataset: Any = None,
        element_spec: Any = None,
    ) -> None:
        self._adapter, self._dataset = adapter, dataset
        self._batches = batches or adapter.get_jax_iterator
        self.element_spec = element_spec

    def get_numpy_iterator(self) -> Iterable[Any]:
        """Gives the other adapter's batches."""
        return self._adapter.get_numpy_iterator()

    def get_jax_iterator(self) -> Iterable[Any]:
        """Gives the batches, for JAX."""
        return self._batches()

    def get_tf_dataset(self) -> Any:
        """Gives the batches, for TensorFlow."""
        return self._adapter.get_tf_dataset() if self._dataset is None else self._dataset

    def get_torch_dataloader(self) -> Any:
        """Gives the other adapter's batches."""
        return self._adapter.get_torch_dataloader()

    @property
    def num_batches(self) -> int | None:
        """Number of batches; None if it is not known."""
        return self._adapter.num_batches

    @property
    def batch_size(self) -> int | None:
        """Rows of a batch; None if they are not known."""
        return self._adapter.batch_size

    @property
    def has_partial_batch(self) -> bool | None:
        """Whether the last batch has fewer rows."""
        return self._adapter.has_partial_batch

    @property
    def partial_batch_size(self) -> int | None:
        """Rows of a last batch that has fewer."""
        return self._adapter.partial_batch_size

    def on_epoch_begin(self) -> None:
        """Lets the data begin an epoch."""
        self._adapter.on_epoch_begin()

    def on_epoch_end(self) -> None:
        """Lets the data end an epoch."""
        self._adapter.on_epoch_end()
