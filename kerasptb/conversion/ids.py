"""Ids in and out, for tokens that are no words."""

from pathlib import Path

import tensorflow as tf

from kerasptb.conversion.byte_pairs import BytePairs
from kerasptb.conversion.text import Readings, Signatures, checked
from kerasptb.data import Subwords
from kerasptb.utils.types import Tensor


class IdReader(tf.Module):
    """A tokenizer that a SavedModel brings as a file, saved with it, while its graph takes and gives ids."""

    text = tf.TensorSpec([None, None], tf.int32, name="tokens")
    prompt = tf.TensorSpec([None, None], tf.int32, name="prompt")
    written, padding = "tokens", -1

    def __init__(self, vocabulary: Subwords, path: Path, readings: Readings | None = None) -> None:
        super().__init__(name="id_reader")
        self.unk_id = -1 if vocabulary.unk_id is None else vocabulary.unk_id
        self._size = len(vocabulary)
        self._file = tf.saved_model.Asset(str(path))
        # The rules of other tokenizers have no equal among TensorFlow's operations.
        self._pairs = None if vocabulary.merges is None else BytePairs(vocabulary, readings)

    def signatures(self) -> Signatures:
        """Returns a dict from the name of each signature between texts and ids to its function and its input's spec."""
        return {} if self._pairs is None else self._pairs.signatures()

    def encode(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the ids of rows [B, T] that end in -1 where others are longer, zeros there, and their numbers."""
        lengths = tf.math.count_nonzero(tokens >= 0, axis=1, dtype=tf.int32)
        before_end = tf.sequence_mask(lengths, tf.shape(tokens)[1])
        fits = (tokens < self._size) & (before_end | (tokens == self.padding))
        message = (
            f"Expected rows of ids from 0 to {self._size - 1}, at least one in each, and only {self.padding} after them"
        )
        with checked(tf.reduce_all(fits) & tf.reduce_all(lengths > 0) & (tf.size(tokens) > 0), message, tokens):
            return tf.maximum(tokens[:, : tf.reduce_max(lengths)], 0), tf.identity(lengths)

    def decode(self, tokens: Tensor) -> Tensor:
        """Returns ids as they are, int32 of the same shape."""
        return tokens
