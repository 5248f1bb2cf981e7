"""A reference that Keras does not track."""


class Untracked:
    """Holds a value whose variables Keras and TensorFlow must not track: they do not look into such an object."""

    def __init__(self, value):
        self.value = value
