"""A reference that Keras does not track."""

from typing import Any


class Untracked:
    """Holds a value whose variables Keras and TensorFlow must not track: they do not look into such an object."""

    def __init__(self, value: Any) -> None:
        self.value = value
