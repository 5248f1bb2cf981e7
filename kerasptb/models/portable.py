"""The model that every export is made from: stateless, of plain Keras layers, in float32."""

import itertools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import keras
import numpy as np

from kerasptb.cells import CELLS, Cell
from kerasptb.engine import Network, open_network
from kerasptb.layers.keras_cell import portable_layer
from kerasptb.utils.errors import ExportError
from kerasptb.utils.types import Tensor

# The tensors of a state, [B, H] each, by their names.
State: TypeAlias = dict[str, Tensor]


def check_backend(what: str) -> None:
    """Raises an `ExportError` unless Keras runs on TensorFlow, which making `what` requires."""
    if (backend := keras.backend.backend()) != "tensorflow":
        raise ExportError(
            f"{what} is made with Keras on TensorFlow: set KERAS_BACKEND=tensorflow. Received: KERAS_BACKEND={backend}"
        )


def check_path(path: str | os.PathLike[str]) -> None:
    """Raises an `ExportError` for a path from which TensorFlow could not load a SavedModel."""
    path = Path(path).absolute()
    # TensorFlow looks for the variables with a glob pattern, in which these characters are special.
    if sign := next((sign for sign in "[\\" if sign in str(path)), None):
        raise ExportError(f"TensorFlow loads no SavedModel from a path with the character {sign}. Received: {path}")


class PortableNetwork:
    """A `LanguageModel` or a `Network` as plain Keras layers, with copies of its weights, that take and return state.

    A state is a dict of float32 [B, H] with the keys of `state_sizes`, "h0", "c0", "h1" and so on. `recurrent` are the
    layers of the `cell`, `dense` those after them.
    """

    def __init__(self, model: Any) -> None:
        network = open_network(model)
        self._build(network.cell, network.weights, network.is_tied)

    def _build(self, cell: Cell, weights: Sequence[np.ndarray], tied: bool) -> None:
        """Makes the layers that these weights are of, arrays in the order of `weights`."""
        self.cell, self.tied = cell, tied
        (self.vocabulary_size, size), between, n = weights[0].shape, weights[1:-2], cell.num_weights
        num_layers, of_projection = divmod(len(between), n)
        units = [cell.units_of(between[i * n : (i + 1) * n]) for i in range(num_layers)]
        self.state_sizes = cell.state_sizes(units)
        self._embedding = keras.layers.Embedding(self.vocabulary_size, size, dtype="float32", name="embedding")
        self.recurrent = [portable_layer(cell, size, cell.layer_name(i)) for i, size in enumerate(units)]
        dense = {**({"projection": size} if of_projection else {}), "logits": self.vocabulary_size}
        self.dense = [keras.layers.Dense(size, dtype="float32", name=name) for name, size in dense.items()]
        self._embedding.build()
        for layer in self.layers[1:]:
            layer.build((None, None, size))
            size = layer.cell.units if layer in self.recurrent else layer.units
        for variable, value in zip(self.weights, weights, strict=True):
            variable.assign(value)

    @property
    def layers(self) -> list[keras.Layer]:
        """The layers, from the words to the logits."""
        return [self._embedding, *self.recurrent, *self.dense]

    @property
    def weights(self) -> list[keras.Variable]:
        """The Keras variables of the layers: embeddings; each recurrent layer's; any projection's; kernel, bias."""
        return [variable for layer in self.layers for variable in layer.weights]

    def encode(self, tokens: Tensor, state: State | None = None, mask: Tensor | None = None) -> tuple[Tensor, State]:
        """Returns the output [B, T, H], with a projection [B, T, D], and the state after words [B, T].

        Without a state it begins at zero. Steps whose mask, bool [B, T], is false change neither state nor output.
        """

        def read(layer: keras.Layer, x: Tensor, initial_state: list[Tensor] | None) -> tuple[Tensor, list[Tensor]]:
            x, *new_state = layer(x, initial_state=initial_state, mask=mask)
            return x, new_state

        return self._through_layers(read, self._embedding(tokens), state)

    def encode_word(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Reads a word in each row, int32 [B], as `encode` does, without a loop in the graph: the output is [B, H]."""
        return self._through_layers(lambda layer, x, state: layer.cell(x, state), self._embedding(tokens), state)

    def encode_vector(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """As `encode_word`, of the words' vectors [B, D], in fewer operations (`Cell.read_step`)."""

        def read(layer: keras.Layer, x: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
            new_state = self.cell.read_step(x, state, [weight.value for weight in layer.weights], keras.ops)
            return new_state[0], new_state

        return self._through_layers(read, x, state)

    def _through_layers(
        self, read: Callable[..., tuple[Tensor, Sequence[Tensor]]], x: Tensor, state: State | None
    ) -> tuple[Tensor, State]:
        """Has each layer read the output of the one before, recurrent ones with their part of the state."""
        new_state: State = {}
        for i, layer in enumerate(self.recurrent):
            names = self.cell.state_names(i)
            x, values = read(layer, x, None if state is None else [state[name] for name in names])
            new_state.update(zip(names, values, strict=True))
        for layer in self.dense[:-1]:
            x = layer(x)
        return x, new_state

    @property
    def embeddings(self) -> keras.Variable:
        """The embedding matrix, float32 [V, D], a Keras variable."""
        return self._embedding.embeddings

    def logits(self, hidden: Tensor) -> Tensor:
        """Returns the logits of the next word, float32 [..., V], of the output of `encode`."""
        return self.dense[-1](hidden)


def network_of(model: keras.Model, **how: Any) -> Network:
    """Returns the network of a `LanguageModel` as its weights are now; `how` are further arguments of `Network`.

    On TensorFlow and JAX nothing is copied: what a training does makes new arrays. On PyTorch it changes them.
    """
    return Network(CELLS[model.cell], _weights_of(model), model.tie_embeddings, **how)


def _weights_of(model: keras.Model) -> list[np.ndarray]:
    """Returns a model's weights, those of `PortableNetwork.weights`, float32 arrays."""
    recurrent = [model.get_layer(CELLS[model.cell].layer_name(i)).get_weights() for i in range(len(model.units))]
    dense = [model.get_layer(name) for name in (("projection", "logits") if model.projection else ("logits",))]
    # Read by attribute, not by `get_weights`: a matrix with LoRA, or a kernel tied to the embedding, is not among the
    # weights of its layer.
    of_dense = [weight for layer in dense for weight in (layer.kernel, layer.bias)]
    weights = [model.get_layer("embedding").embeddings, *itertools.chain(*recurrent), *of_dense]
    return [np.asarray(keras.ops.convert_to_numpy(weight), "float32") for weight in weights]


def portable_model(model: keras.Model, with_state: bool = True) -> keras.Model:
    """Returns a trained model as a plain, stateless functional Keras model that takes any batch size and length.

    Args:
        model: a `LanguageModel`.
        with_state: whether the state is among the inputs and outputs; if not, each row starts from a zero state.

    Returns:
        A `keras.Model`. With state its inputs are the dict `{"tokens": int32 [B, T], "h0": float32 [B, H], "c0":
        ...}`, and its outputs `{"logits": float32 [B, T, V], "h0": ..., "c0": ...}`. Without state the input is the
        tokens and the output the logits.

    Example:
    >>> import kerasptb, numpy as np
    >>> from kerasptb.models.portable import portable_model
    >>> model = kerasptb.LanguageModel(vocabulary_size=9, embedding_size=4, units=3, batch_size=2, num_steps=5)
    >>> outputs = portable_model(model)(
    ...     {"tokens": np.zeros((1, 7), "int32"), "h0": np.zeros((1, 3)), "c0": np.zeros((1, 3))}
    ... )
    >>> outputs["logits"].shape, outputs["h0"].shape
    (TensorShape([1, 7, 9]), TensorShape([1, 3]))
    """
    network = PortableNetwork(model)
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    if with_state:
        state = {name: keras.Input((size,), name=name) for name, size in network.state_sizes.items()}
        hidden, new_state = network.encode(tokens, state)
        return keras.Model(
            {"tokens": tokens, **state}, {"logits": network.logits(hidden), **new_state}, name=model.name
        )
    hidden, _ = network.encode(tokens)
    return keras.Model(tokens, network.logits(hidden), name=model.name)
