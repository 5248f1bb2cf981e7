"""The environment variables that Keras and TensorFlow read when they are imported."""

import os
from importlib.util import find_spec

from kerasptb.utils.processors import available_processors


def set_defaults():
    """Sets those that the user has not set."""
    if "KERAS_BACKEND" not in os.environ and not find_spec("tensorflow") and find_spec("jax"):
        os.environ["KERAS_BACKEND"] = "jax"  # Keras would look for TensorFlow
    # TensorFlow does not know a container's quota and would start one thread for each processor of the host.
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ.setdefault(name, str(available_processors()))


def prefer_tensorflow():
    """Makes Keras run on TensorFlow, which most exports need; a run's weights are the same on any backend."""
    if find_spec("tensorflow"):
        os.environ["KERAS_BACKEND"] = "tensorflow"
