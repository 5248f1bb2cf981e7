"""The layers of a `LanguageModel`, put together."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from kerasptb.arguments import ModelArguments
from kerasptb.cells import CELLS
from kerasptb.layers.dense import Dense
from kerasptb.layers.dropout import Dropout
from kerasptb.layers.embedding import Embedding
from kerasptb.layers.stateful import stateful_layer
from kerasptb.layers.tied_dense import TiedDense
from kerasptb.regularizers import ActivationRegularization, TemporalActivationRegularization


class Graph:
    """The layers of a model, from the `ModelArguments` and a dtype policy."""

    def __init__(self, arguments: ModelArguments, dtype: keras.DTypePolicy) -> None:
        self._arguments, self._dtype, self._cell = arguments, dtype, CELLS[arguments.cell]
        self._served_by = {"backend": arguments.backend, "precision": arguments.precision, "dtype": dtype}
        plain = arguments.backend in ("reference", "keras")
        self._dropout_class = keras.layers.Dropout if plain else Dropout
        self._random = None if arguments.seed is None else np.random.default_rng(arguments.seed)

    def build(self) -> tuple[keras.KerasTensor, keras.KerasTensor]:
        """Returns tokens [B, T] and logits [B, T, V], symbolic; the layers take their seeds in this order, for ever."""
        sizes = self._arguments.units
        tokens = keras.Input(batch_shape=(self._arguments.batch_size, None), dtype="int32", name="tokens")
        embedding = self._embedding()
        x = self._drop(embedding(tokens), "input_dropout", "embedding_dropout")
        for i, size in enumerate(sizes[:-1]):
            x = self._recurrent(size, self._cell.layer_name(i))(x)
            x = self._drop(x, "hidden_dropout", f"{self._cell.layer_name(i)}_dropout")
        last = self._cell.layer_name(len(sizes) - 1)
        temporal = self._penalty(TemporalActivationRegularization, "temporal_activation_regularization")
        x = self._recurrent(sizes[-1], last, temporal)(x)
        activation = self._penalty(ActivationRegularization, "activation_regularization")
        x = self._drop(x, "output_dropout", f"{last}_dropout", activation)
        if self._arguments.projection:
            size, initializer = self._arguments.embedding_size, self._uniform()
            x = keras.layers.Dense(size, kernel_initializer=initializer, dtype=self._dtype, name="projection")(x)
            x = self._drop(x, "output_dropout", "projection_dropout")
        return tokens, self._logits(embedding)(x)

    def _embedding(self) -> Embedding:
        rate = self._arguments.word_dropout
        return Embedding(
            self._arguments.vocabulary_size,
            self._arguments.embedding_size,
            embeddings_initializer=self._uniform(),
            word_dropout=rate,
            seed=self._next_seed() if rate else None,
            dtype=self._dtype,
            name="embedding",
        )

    def _recurrent(self, size: int, name: str, regularizer: Any = None) -> keras.layers.RNN:
        rate, kernel_rate = self._arguments.recurrent_dropout, self._arguments.recurrent_kernel_dropout
        initializers = {"kernel_initializer": self._uniform(), "recurrent_initializer": self._uniform()}
        return stateful_layer(
            self._cell,
            size,
            of_cell={**initializers, "seed": self._next_seed() if rate or kernel_rate else 0},
            recurrent_dropout=rate,
            recurrent_kernel_dropout=kernel_rate,
            activity_regularizer=regularizer,
            **self._served_by,
            name=name,
        )

    def _drop(self, x: keras.KerasTensor, rate: str, name: str, regularizer: Any = None) -> keras.KerasTensor:
        probability = self._arguments.rate(rate)
        if probability == 0 and regularizer is None:
            return x
        noise_shape = (None, 1, None) if self._arguments.variational_dropout else None
        layer = self._dropout_class(
            probability, noise_shape, self._next_seed(), activity_regularizer=regularizer, dtype=self._dtype, name=name
        )
        return layer(x)

    def _logits(self, embedding: Embedding) -> keras.Layer:
        if self._arguments.tie_embeddings:
            return TiedDense(embedding, bias_initializer=self._uniform(), **self._served_by, name="logits")
        kernel, bias = self._uniform(), self._uniform()
        size = self._arguments.vocabulary_size
        return Dense(size, kernel_initializer=kernel, bias_initializer=bias, **self._served_by, name="logits")

    def _penalty(self, regularizer: Callable[[float], Any], argument: str) -> Any:
        weight = getattr(self._arguments, argument)
        return regularizer(weight) if weight else None

    def _uniform(self) -> keras.initializers.Initializer:
        scale = self._arguments.init_scale
        return keras.initializers.RandomUniform(-scale, scale, seed=self._next_seed())

    def _next_seed(self) -> int | None:
        return None if self._random is None else int(self._random.integers(2**31 - 1))
