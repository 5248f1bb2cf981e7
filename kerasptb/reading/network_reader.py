"""A reader of what was exported: plain layers as TensorFlow functions, on any processor."""

from __future__ import annotations

import functools
import hashlib
import os
from pathlib import Path
from typing import cast

import numpy as np
import tensorflow as tf

from kerasptb.cells import CELLS
from kerasptb.cells.cell import NumPy
from kerasptb.data import Tokenizer
from kerasptb.data.text_format import USUAL, TextFormat
from kerasptb.models import LanguageModel
from kerasptb.models.portable import ExportError, PortableNetwork
from kerasptb.reading.reader import Reader
from kerasptb.utils.children import check_not_forked


class NetworkReader(Reader):
    """Reads with a `PortableNetwork`, in float32.

    Args:
        network: the network.
        text_format: the `TextFormat` with its tokenizer.
    """

    def __init__(self, network: PortableNetwork, text_format: TextFormat) -> None:
        check_not_forked()
        sizes = network.state_sizes
        dense = [(layer.kernel.numpy(), layer.bias.numpy()) for layer in network.dense]
        output = list(sizes).index(network.cell.output_state(sizes))
        super().__init__(text_format, dense, list(sizes.values()), output)
        self._network = network
        self._weights = [[np.asarray(weight) for weight in weights] for weights in network.joined_weights()]
        self._embeddings = network.embeddings.numpy()
        states, texts = tf.TensorSpec([None, self.state_size]), tf.TensorSpec([None, None], tf.int32)
        self._read = tf.function(self._traced_read, input_signature=[texts, states])
        self._score = tf.function(self._traced_score, input_signature=[texts, texts, states])

    @classmethod
    def of(cls, model: LanguageModel) -> NetworkReader:
        """Returns what reads with a `LanguageModel` that knows its tokenizer."""
        return cls(PortableNetwork(model), model.text_format or USUAL)

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hexadecimal digest of weights and tokenizer, the same in every process that has the same model."""
        digest = hashlib.blake2b(self.tokenizer.digest.encode(), digest_size=8)
        for weight in self._network.weights:
            digest.update(weight.numpy().tobytes())
        return digest.hexdigest()

    def encode(self, tokens: np.ndarray, states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns what `Reader.encode` says."""
        check_not_forked()
        if tokens.shape[1] == 1:
            states = self._step(tokens[:, 0], states)
            return self.hidden_after(states)[:, np.newaxis], states
        hidden, states = self._read(tokens, states)
        return hidden.numpy(), states.numpy()

    def log_likelihoods(
        self, tokens: np.ndarray, targets: np.ndarray, states: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns what `Reader.log_likelihoods` says."""
        check_not_forked()
        values, states = self._score(tokens, targets, states)
        return values.numpy(), states.numpy()

    def _step(self, tokens, states):
        """Returns the states, float32 [B, S], after a token a row, [B]."""
        cell, sizes, x = self._network.cell, self._network.state_sizes, self._embeddings[tokens]
        state = dict(zip(sizes, np.split(states, np.cumsum(list(sizes.values()))[:-1], axis=1), strict=True))
        for i, weights in enumerate(self._weights):
            names = cell.state_names(i)
            values = cell.read_step(x, [state[name] for name in names], weights, NumPy)
            state.update(zip(names, values, strict=True))
            x = values[0]
        return np.concatenate([state[name] for name in sizes], axis=1)

    def _traced_read(self, tokens, states):
        hidden, state = self._network.encode(tokens, self._split(states))
        return hidden, self._packed(state)

    def _traced_score(self, tokens, targets, states):
        hidden, states = self._traced_read(tokens, states)
        return -tf.nn.sparse_softmax_cross_entropy_with_logits(targets, self._network.logits(hidden)), states

    def _split(self, states):
        sizes = self._network.state_sizes
        return dict(zip(sizes, tf.split(states, list(sizes.values()), axis=1), strict=True))

    def _packed(self, state):
        return tf.concat([state[name] for name in self._network.state_sizes], axis=1)


def load_saved_model(folder: str | os.PathLike[str]) -> NetworkReader:
    """Opens a SavedModel that `kerasptb.export_saved_model` wrote: suggestions and scores take what it returns.

    Args:
        folder: its folder, which is no longer needed afterwards.

    Returns:
        A `NetworkReader`.

    Raises:
        ExportError: if the folder holds no such SavedModel.
    """
    try:
        loaded = tf.saved_model.load(str(folder))
        network = PortableNetwork.from_weights(
            [weight.numpy() for weight in loaded.weights], CELLS[loaded.cell.numpy().decode()]
        )
        text_format = TextFormat.load(Path(folder, "assets"))
        cast(Tokenizer, text_format.tokenizer).check_size(network.vocabulary_size)
    except (OSError, LookupError, AttributeError, ValueError) as error:
        reason = str(error).strip().split("\n")[0]
        raise ExportError(
            f"Expected a folder made by `kerasptb train` or `kerasptb export`. Received: {folder} ({reason})"
        ) from None
    return NetworkReader(network, text_format)
