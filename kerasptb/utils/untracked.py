"""A reference that Keras does not track."""


class Untracked:
    """Holds a value whose variables must not become variables of the layer or model that refers to it.

    Keras and TensorFlow track the contents of attributes, lists and dicts, but do not look into other objects.
    """

    def __init__(self, value):
        self.value = value
