"""The logits layer of a model whose output matrix is its embedding matrix, transposed."""

from collections.abc import Sequence
from typing import Any, Self

import keras
from keras import ops

from kerasptb.layers.dense import CarriesFactors
from kerasptb.ops.tensors import matmul
from kerasptb.utils.types import Backend, Precision, Tensor
from kerasptb.utils.untracked import Untracked


@keras.saving.register_keras_serializable(package="kerasptb")
class TiedDense(CarriesFactors):
    """A dense layer `x E^T + bias` whose kernel is an embedding's matrix E, transposed: both train the same matrix.

    Press and Wolf, 2017, "Using the Output Embedding to Improve Language Models"; Inan et al., 2017, "Tying Word
    Vectors and Word Classifiers". The logits carry their factors, as those of `Dense`. Keras' `ReversibleEmbedding`
    has no bias, and does the product and the lookup in the same layer. `model.save` keeps both layers and that they
    share: Keras' files say which objects are the same.

    Args:
        embedding: the `keras.layers.Embedding` of V words, of size D. Its matrix stays the embedding's weight; this
            layer's only weight is the bias.
        bias_initializer: initializer of the bias [V].
        backend: what runs the cross-entropy, as in `Dense`.
        precision: of its products, as in `Dense`.
        **kwargs: further arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: float tensor [..., D].

    Returns:
        [..., V] in the layer's compute dtype.

    Example:
    >>> embedding = keras.layers.Embedding(10, 4)
    >>> TiedDense(embedding)(embedding(np.zeros((2, 3), "int32"))).shape
    TensorShape([2, 3, 10])
    """

    _matrix = "embeddings"

    def __init__(
        self,
        embedding: keras.layers.Embedding,
        bias_initializer: Any = "zeros",
        backend: Backend = "auto",
        precision: Precision | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(backend=backend, precision=precision, **kwargs)
        self.supports_masking = True  # as keras.layers.Dense: a word's logits depend on that word's input only
        # The matrix is a weight of the embedding. If it were tracked here too, it would be saved twice.
        self._reference = Untracked(embedding)
        embedding.is_tied = True
        self.units = embedding.input_dim
        self.bias_initializer = keras.initializers.get(bias_initializer)

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Makes the bias, for inputs of the embedding's size; raises ValueError for others."""
        if input_shape[-1] != self._embedding.output_dim:
            raise ValueError(
                f"Expected inputs of the embedding's size, [..., {self._embedding.output_dim}]. "
                f"Received: inputs of shape {tuple(input_shape)}"
            )
        if not self._embedding.built:
            raise ValueError(
                "A TiedDense layer needs an embedding that was called before, and in a file both in one model, "
                f"not one inside the other. Received: {self._embedding.name}, not built"
            )
        self.bias = self.add_weight(shape=(self.units,), initializer=self.bias_initializer, name="bias")

    @property
    def embeddings(self) -> keras.Variable:
        """The embedding's matrix, a variable [V, D]; raises ValueError if it has been quantized."""
        if getattr(self._embedding, "quantization_mode", None) is not None:
            raise ValueError(
                "A TiedDense layer needs its embedding's matrix in floating point. "
                f"Received: {self._embedding.name}, quantized to {self._embedding.quantization_mode}"
            )
        return self._embedding.embeddings

    @property
    def kernel(self) -> Tensor:
        """The embedding's matrix, transposed: a tensor [D, V] through which gradients reach the matrix."""
        return ops.transpose(ops.convert_to_tensor(self.embeddings))

    def call(self, inputs: Tensor) -> Tensor:
        """Returns the logits."""
        return self._hand_on(lambda: self._logits(inputs), inputs)

    def _logits(self, inputs: Tensor) -> Tensor:
        # Computed as a product of two matrices, which can transpose the second without a copy.
        matrix = ops.cast(ops.convert_to_tensor(self.embeddings), self.compute_dtype)
        rows = ops.reshape(inputs, (-1, matrix.shape[1]))
        logits = matmul(rows, matrix, transpose_b=True) + self.bias
        return ops.reshape(logits, (*ops.shape(inputs)[:-1], self.units))

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        """Returns the shape of the logits."""
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        """Returns the layer's arguments, while its model is saved; raises NotImplementedError elsewhere."""
        # Keras then notes which objects are the same. In `clone_model` the copy would have a matrix of its own.
        embedding = keras.saving.serialize_keras_object(self._embedding)
        if "shared_object_id" not in embedding:
            raise NotImplementedError(
                "A TiedDense layer shares an embedding's matrix, which its config can say in a file alone. Copy the "
                'model by `model.save("copy.keras")` and `keras.models.load_model`, or, if it is a LanguageModel, by '
                "`LanguageModel.from_config(model.get_config())`."
            )
        bias_initializer = keras.initializers.serialize(self.bias_initializer)
        return {**super().get_config(), "embedding": embedding, "bias_initializer": bias_initializer}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Makes the layer from the result of `get_config`, with a backend and precision that this process has."""
        # The one that has been loaded before it. Another would be built nowhere, which `build` tells.
        described = {name: part for name, part in config["embedding"].items() if name != "build_config"}
        embedding = keras.saving.deserialize_keras_object(described)
        return super().from_config({**config, "embedding": embedding})

    @property
    def _embedding(self) -> keras.layers.Embedding:
        return self._reference.value
