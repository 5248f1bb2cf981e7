"""What an object refers to and is not to own."""


class Untracked:
    """Holds a value whose variables are not to be those of the layer or model that has it as an attribute.

    Keras and TensorFlow track what stands in an attribute, a list or a dict, and look into no object of another kind.

    Args:
        value: anything.
    """

    def __init__(self, value):
        self.value = value
