"""Byte-level byte-pair encoding with TensorFlow's operations, as Hugging Face's library does it."""

import numpy as np
import tensorflow as tf

from kerasptb.conversion.text import SPACE_CODES, Readings, Signatures, checked, with_known_signs
from kerasptb.data import Subwords
from kerasptb.utils.types import Tensor

# A byte that is in no UTF-8, so that no class of characters holds it.
_CUT = b"\xff"
# White space as the library knows it, within a paragraph.
_SPACE = rf"\t\x{{b}}\f\r {SPACE_CODES}"
# A letter's word, a number and a sign with the space before it; the library's pattern, but for the space before a word,
# which is cut off those before it first: here is no looking ahead.
_LAST_SPACE = rf"([{_SPACE}]+)([{_SPACE}][^{_SPACE}\n])"
_WORD = rf"('s|'t|'re|'ve|'m|'ll|'d| ?\pL+| ?\pN+| ?[^{_SPACE}\n\pL\pN]+|[{_SPACE}]+|\n)"


class BytePairs(tf.Module):
    """The subwords or characters that `Subwords` which have `merges` make of a text, in the graph.

    Signs are read by the `readings` of `Signs`.
    """

    def __init__(self, vocabulary: Subwords, readings: Readings | None = None) -> None:
        super().__init__(name="byte_pairs")
        self._readings = readings or {}
        size, pieces = len(vocabulary), vocabulary.pieces
        self._first = vocabulary.first
        ids = {piece: index for index, piece in enumerate(pieces)}
        self._id_of_byte = tf.constant([ids[bytes([byte])] for byte in range(256)], tf.int64)
        self._written = tf.constant([*pieces, b""])  # the last for the padding
        merges = vocabulary.merges or ()
        pairs = np.array([[vocabulary.token_to_id[part] for part in pair] for pair in merges], "int64").reshape(-1, 2)
        self._merged = tf.constant([vocabulary.token_to_id["".join(pair)] for pair in merges] + [-1], tf.int64)
        self._size, self._num_merges = size, len(merges)
        # Whether nothing that a merge makes would be merged before other pairs like it.
        used = {token: rank for rank, pair in reversed([*enumerate(merges)]) for token in pair}
        at_once = [used.get("".join(pair), rank) >= rank for rank, pair in enumerate(merges)]
        self._all_at_once = tf.constant([*at_once, True])
        keys = np.append(pairs[:, 0] * size + pairs[:, 1], -1)  # the last, for no pair, since a table is never empty
        self._ranks = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(keys, np.arange(len(keys))), len(merges)
        )

    def signatures(self) -> Signatures:
        """Returns a dict from the name of each signature between texts and ids to its function and its input's spec."""
        text, tokens = tf.TensorSpec([None], tf.string, "text"), tf.TensorSpec([None, None], tf.int32, "tokens")
        return {
            "encode": (lambda text: dict(zip(("tokens", "lengths"), self.encode(text), strict=True)), text),
            "decode": (lambda tokens: {"text": self.decode(tokens)}, tokens),
        }

    def encode(self, text: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the ids of texts, string [B], as `Subwords.encode_typed` does, and how many each has, int32 [B].

        The ids are int32 [B, T], the end of a paragraph first, padded with -1.
        """
        with checked(tf.size(text) > 0, "Expected at least one text", tf.size(text)):
            text = tf.strings.unicode_transcode(text, "UTF-8", "UTF-8", errors="replace")
        text = tf.strings.join(["\n", with_known_signs(text, self._readings)])
        # Without white space at the ends of lines, as Python knows it.
        text = tf.strings.regex_replace(text, rf"[{_SPACE}\x{{1c}}-\x{{1f}}\n]*\n", "\n")
        if self._first:
            text = tf.strings.regex_replace(text, r"\n([^\n])", f"\n{self._first}\\1")
        text = tf.strings.regex_replace(text, _LAST_SPACE, rb"\1" + _CUT + rb"\2")
        text = tf.strings.regex_replace(text, _WORD, rb"\1" + _CUT)
        words = tf.strings.split(text, sep=_CUT)
        words = tf.ragged.boolean_mask(words, tf.strings.length(words) > 0)
        different, where = tf.unique(words.values)
        pieces = self._merge(different)
        ids = words.with_values(tf.gather(pieces, where)).merge_dims(1, 2)
        return ids.to_tensor(-1), tf.cast(ids.row_lengths(), tf.int32)

    def decode(self, tokens: Tensor) -> Tensor:
        """Returns what ids [B, T] write, as `Subwords.decode` does, string [B]; -1 writes nothing."""
        valid = tf.reduce_all((tokens >= -1) & (tokens < self._size))
        with checked(valid, f"Expected ids from 0 to {self._size - 1}, or -1", tokens):
            tokens = tf.where(tokens < 0, self._size, tokens)
        text = tf.strings.reduce_join(tf.gather(self._written, tokens), axis=1)
        if self._first:
            text = tf.strings.regex_replace(text, rf"(^|\n){self._first}", r"\1")
        return tf.strings.unicode_transcode(text, "UTF-8", "UTF-8", errors="replace")

    def _merge(self, words: Tensor) -> Tensor:
        """Returns the ids of words, ragged int32 [N, None]: in each round each word merges its likeliest pair."""
        letters = tf.strings.bytes_split(words)
        codes = tf.cast(tf.reshape(tf.io.decode_raw(letters.values, tf.uint8), [-1]), tf.int32)

        def ranks_of(ids: Tensor, word: Tensor) -> Tensor:
            """Returns the rank of the pair that begins at each id, which is within a word."""
            ranks = self._ranks.lookup(ids[:-1] * self._size + ids[1:])
            return tf.pad(
                tf.where(word[:-1] == word[1:], ranks, self._num_merges), [[0, 1]], "CONSTANT", self._num_merges
            )

        def merge(ids: Tensor, word: Tensor, ranks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            best = tf.gather(tf.math.segment_min(ranks, word), word)
            there = (ranks == best) & (best < self._num_merges)
            places = tf.range(tf.size(ids))
            # Of pairs that overlap, as in "aaaa", every second.
            run = tf.cumsum(tf.cast(~there, tf.int32))
            within = places - tf.gather(tf.math.segment_min(places, run), run) + tf.cast(run == 0, tf.int32)
            first = places == tf.gather(tf.math.segment_min(tf.where(there, places, tf.size(ids)), word), word)
            there &= (within % 2 == 1) & (first | tf.gather(self._all_at_once, best))
            ids = tf.where(there, tf.gather(self._merged, best), ids)
            stay = tf.concat([[True], ~there[:-1]], axis=0)
            ids, word = tf.boolean_mask(ids, stay), tf.boolean_mask(word, stay)
            return ids, word, ranks_of(ids, word)

        ids, word = tf.gather(self._id_of_byte, codes), letters.value_rowids()
        ids, word, _ = tf.while_loop(
            lambda ids, word, ranks: tf.reduce_any(ranks < self._num_merges),
            merge,
            (ids, word, ranks_of(ids, word)),
            shape_invariants=(tf.TensorShape([None]),) * 3,
        )
        return tf.RaggedTensor.from_value_rowids(tf.cast(ids, tf.int32), word, nrows=letters.nrows())
