"""How batches come to replicas, with Keras on JAX: each has its own rows of a batch."""

import contextlib

import keras


class Replicas(keras.distribution.DataParallel):
    """A `DataParallel` distribution that gives a batch whose rows do not divide to every replica, whole.

    Keras' own refuses it. Evaluation reads a text in one stream, and suggestions are for one text.

    Args:
        distribution: the `keras.distribution.DataParallel` whose devices to use.
    """

    def __init__(self, distribution):
        super().__init__(device_mesh=distribution.device_mesh)

    def get_data_layout(self, data_shape):
        """Returns the layout of a batch, by its rows."""
        if data_shape[0] % self.device_mesh.devices.size == 0:
            return super().get_data_layout(data_shape)
        return keras.distribution.TensorLayout([None] * len(data_shape), self.device_mesh)


@contextlib.contextmanager
def in_force():
    """A context in which `Replicas` stand for the `DataParallel` distribution that is set, if one is."""
    distribution = keras.distribution.distribution()
    if not isinstance(distribution, keras.distribution.DataParallel) or isinstance(distribution, Replicas):
        yield
        return
    with Replicas(distribution).scope():
        yield
