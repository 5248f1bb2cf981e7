"""A network from a SavedModel: what alone of the engine needs TensorFlow, to read the folder."""

from __future__ import annotations

import os

from kerasptb.cells import CELLS
from kerasptb.engine.network import Network


def load_network(folder: str | os.PathLike[str]) -> Network:
    """Returns the network of a SavedModel that `kerasptb.export_saved_model` wrote.

    Raises:
        OSError, AttributeError, LookupError, ValueError: it holds none.
    """
    import tensorflow as tf  # noqa: PLC0415  (nothing else here needs it)

    loaded = tf.saved_model.load(str(folder))
    return Network(CELLS[loaded.cell.numpy().decode()], [weight.numpy() for weight in loaded.weights])
