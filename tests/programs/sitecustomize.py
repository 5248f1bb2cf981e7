"""Read by every Python that the tests start: for Keras and TensorFlow some packages are not installed.

They import these if they can, for parts that nothing here uses, which takes as long as all of NumPy does. Whoever else
imports them gets them, and so do the backends that need them.

Garbage is looked for less often: a sixth of the import of Keras and TensorFlow is to look through what stays.
"""

import gc
import os
import sys

_NEEDED = {"jax": {"jax"}, "numpy": {"scipy"}}.get(os.environ.get("KERAS_BACKEND"), set())
_LEFT_OUT = {"IPython", "jax", "matplotlib", "scipy", "sklearn"} - _NEEDED


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
gc.set_threshold(50_000, 20, 100)
