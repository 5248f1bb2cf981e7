"""Read by every Python that the tests start: for Keras on TensorFlow scikit-learn, pyplot and JAX are not installed.

Keras and TensorFlow import the three if they can, for parts that nothing here uses, which takes half as long as they
themselves do. Whoever else imports them gets them, and so does Keras on JAX.
"""

import os
import sys

_LEFT_OUT = ("sklearn", "matplotlib.pyplot", *(["jax"] if os.environ.get("KERAS_BACKEND") != "jax" else []))


class _NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name in _LEFT_OUT:
            frame = sys._getframe(1)
            while frame and _module(frame).startswith("importlib."):
                frame = frame.f_back
            if frame and _module(frame).startswith(("keras.", "tensorflow.")):
                raise ModuleNotFoundError(f"{name} is left out in programs of the tests", name=name)


def _module(frame):
    return frame.f_globals.get("__name__", "")


sys.meta_path.insert(0, _NotInstalled())
