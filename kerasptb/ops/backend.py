"""The framework that Keras runs on; the others need not be installed, and none of them is imported."""

import importlib
from typing import Any

import keras

_NAME = keras.backend.backend()
ON_TENSORFLOW, ON_JAX, ON_TORCH = (name == _NAME for name in ("tensorflow", "jax", "torch"))

# `None` but for the one.
tf: Any = importlib.import_module("tensorflow") if ON_TENSORFLOW else None
jax: Any = importlib.import_module("jax") if ON_JAX else None
torch: Any = importlib.import_module("torch") if ON_TORCH else None
