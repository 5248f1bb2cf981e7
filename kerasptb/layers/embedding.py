"""An embedding whose lookup touches no more of the matrix than the rows it looks up."""

import keras
from keras import ops

from kerasptb.ops.tensors import without_autocast

_ON_TENSORFLOW = keras.backend.backend() == "tensorflow"
if _ON_TENSORFLOW:
    import tensorflow as tf


@keras.saving.register_keras_serializable(package="kerasptb")
class Embedding(keras.layers.Embedding):
    """`keras.layers.Embedding`, which with TensorFlow reads the rows of its words, not the matrix.

    Keras reads the variable, then takes rows of what it read. TensorFlow copies a variable at each reading once a
    sparse update has gone into it: 8 MB and 1.1 ms a training step for 10,000 words of size 200, on one core while the
    others wait. The arguments, the weight and the values are those of `keras.layers.Embedding`; a word id that is
    negative is an error on a processor, as one that is too large is.

    Call arguments:
        inputs: int tensor of any shape, ids in [0, input_dim).

    Returns:
        [..., output_dim] in the layer's compute dtype.

    Raises:
        tf.errors.InvalidArgumentError: for an id out of range, on a processor and outside of XLA.
    """

    def call(self, inputs):
        """Returns the vectors of the words."""
        matrix = self.embeddings
        with without_autocast():  # to cast the rows takes less than to cast the matrix
            # Another value than the variable itself is one that was given by a stateless scope.
            value = matrix.value if isinstance(matrix, keras.Variable) else matrix
        if not (_ON_TENSORFLOW and isinstance(value, tf.Variable) and isinstance(inputs, tf.Tensor)):
            return super().call(inputs)
        if isinstance(value, tf.distribute.DistributedValues):  # of a strategy, which has no such lookup
            return super().call(inputs)
        ids = inputs if inputs.dtype in (tf.int32, tf.int64) else tf.cast(inputs, tf.int32)
        return ops.cast(value.sparse_read(ids), self.compute_dtype)
