"""What the operations need to know of their tensors."""

import keras
from keras import ops


def as_tensor(x):
    """Returns a tensor; a variable is read now.

    Keras' own conversion leaves a TensorFlow variable as it is. A custom gradient would then read it when the gradient
    is asked for, and see the state that a layer has assigned, or the weights that an optimizer has moved, since.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf  # noqa: PLC0415  (the other backends do without)

        return tf.convert_to_tensor(x)
    return ops.convert_to_tensor(getattr(x, "value", x))


def may_be_differentiated():
    """Returns whether a gradient tape may be recording: if not, a forward pass keeps and makes nothing for a gradient.

    A tape outside of a `tf.function` is not seen from inside; a gradient asked for then runs the forward pass again.
    """
    if keras.backend.backend() != "tensorflow":
        return True  # what is unused is removed when the function is compiled
    try:
        from tensorflow.python.eager.record import could_possibly_record  # noqa: PLC0415
    except ImportError:
        return True
    return could_possibly_record()
