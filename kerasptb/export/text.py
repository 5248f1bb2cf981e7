"""Text to word ids and back with TensorFlow's string operations, as `generation.encode_text` does it in Python."""

import tensorflow as tf

from kerasptb.data import EOS, UNK
from kerasptb.export.destination import ExportError

# What Python's str.splitlines and str.split take for line ends and for white space.
_LINE_END = r"\r\n|[\n\r\x{b}\x{c}\x{1c}-\x{1e}\x{85}\x{2028}\x{2029}]"
_SPACE = r"[\s\x{1f}\x{a0}\x{1680}\x{2000}-\x{200a}\x{202f}\x{205f}\x{3000}]+"
# The regular expressions of `data.tokenizer.tokenize` in RE2's language, which has no lookbehind and no \b but
# ASCII's. In its place stands a mark after each n't, 's and the like that no letter follows. A match takes that next
# character with it, so a second round marks those that a first one met halfway; and a match of _CLITIC takes the
# letter before, and so misses a clitic right after another, which then begins with an apostrophe, where _TOKEN parts
# it anyway.
_LETTER = r"[\pL\pN_]"
_SHORT = r"n't|'(?:s|re|ve|ll|d|m)"
_MARK = "\x02"
_UNMARKED = rf"({_SHORT})([^\pL\pN_{_MARK}]|$)"
_CLITIC = rf"({_LETTER})({_SHORT}){_MARK}"
_TOKEN = rf"({_SHORT}){_MARK}|({_LETTER}+(?:{_MARK}?[.-]{_LETTER}+)*|[$%&])|(?s:.)"
_NUMBER = r" \p{Nd}+(?:[.-]\p{Nd}+)* "


class TextReader(tf.Module):
    """A vocabulary in the graph.

    Words are found as `generation.encode_text` finds them: one that stands in the vocabulary as it is written, or in
    lower case, is taken so; others are split and lower-cased in the Penn Treebank's manner, and those still unknown
    become `<unk>`. Each text begins with `<eos>`, as if a sentence had ended before it, and each line's end is `<eos>`.
    Bytes that are not UTF-8 are read as U+FFFD.

    Args:
        vocabulary: a `Vocabulary`.
        path: the file that `Vocabulary.save` wrote; must be there until the graph is saved, and is saved with it.

    Raises:
        ExportError: if a word holds the character 0 or 2, which part words here.
    """

    def __init__(self, vocabulary, path):
        super().__init__(name="text_reader")
        if odd := [word for word in vocabulary.words if "\0" in word or _MARK in word]:
            raise ExportError(
                f"Words with the characters 0 or 2 cannot be found in text by an export. Received: the word {odd[0]!r}"
            )
        self.has_eos = EOS in vocabulary
        self.unk_id = -1 if vocabulary.unk_id is None else vocabulary.unk_id
        line = tf.lookup.TextFileIndex
        self._ids = tf.lookup.StaticHashTable(
            tf.lookup.TextFileInitializer(str(path), tf.string, line.WHOLE_LINE, tf.int64, line.LINE_NUMBER), -1
        )
        self._words = tf.lookup.StaticHashTable(
            tf.lookup.TextFileInitializer(str(path), tf.int64, line.LINE_NUMBER, tf.string, line.WHOLE_LINE), ""
        )

    def encode(self, text):
        """Returns the ids of texts.

        Args:
            text: string [B], UTF-8.

        Returns:
            tokens: int32 [B, T], the ids of each text, then zeros.
            lengths: int32 [B], the number of ids of each text.
        """
        with checked(tf.size(text) > 0, "Expected at least one text", tf.size(text)):
            text = tf.identity(text)
        text = tf.strings.unicode_transcode(text, "UTF-8", "UTF-8", errors="replace")
        # tf.strings.lower would end a text at a NUL, which like U+FFFD and the mark is part of no word.
        text = tf.strings.regex_replace(text, rf"[\x{{0}}{_MARK}]", "\ufffd")
        text = tf.strings.regex_replace(text, _LINE_END, f" {EOS} " if self.has_eos else " ")
        text = tf.strings.regex_replace(text, _SPACE, " ")
        if self.has_eos:
            text = tf.strings.join([f"{EOS} ", text])
        written = tf.strings.split(text, sep=" ")
        flat = written.flat_values
        # The empty string is what splitting leaves between separators at the ends; it is in no vocabulary.
        lower = tf.strings.lower(flat, encoding="utf-8")
        other = tf.where(self._ids.lookup(lower) >= 0, lower, _tokenize(flat))
        flat = tf.where(self._ids.lookup(flat) >= 0, flat, other)
        words = written.with_flat_values(tf.strings.split(flat)).merge_dims(1, 2)
        ids = self._ids.lookup(words.flat_values)
        if self.unk_id < 0:
            message = f"Expected words of the vocabulary, which has no {UNK}"
            unknown = tf.boolean_mask(words.flat_values, ids < 0)
            with checked(tf.size(unknown) == 0, message, unknown):
                ids = tf.identity(ids)
        ids = words.with_flat_values(tf.cast(tf.where(ids < 0, tf.cast(self.unk_id, tf.int64), ids), tf.int32))
        lengths = tf.cast(ids.row_lengths(), tf.int32)
        if not self.has_eos:
            message = f"Expected texts with at least one word: the vocabulary has no {EOS} to begin with"
            with checked(tf.reduce_all(lengths > 0), message, text):
                lengths = tf.identity(lengths)
        return ids.to_tensor(), lengths

    def to_words(self, tokens):
        """Returns the words of ids, string of the same shape.

        Args:
            tokens: int32 of any shape.
        """
        return self._words.lookup(tf.cast(tokens, tf.int64))


def checked(condition, message, received):
    """Returns a context whose operations run only if a condition holds.

    Args:
        condition: bool [].
        message: what was expected.
        received: tensor that the error shows.
    """
    return tf.control_dependencies([tf.debugging.Assert(condition, [f"{message}. Received:", received])])


def _tokenize(words):
    """Returns words split and lower-cased in the Penn Treebank's manner, the parts separated by spaces.

    Args:
        words: string [N], UTF-8.
    """
    text = tf.strings.regex_replace(words, "’", "'")
    text = tf.strings.lower(text, encoding="utf-8")
    text = _mark(text)
    text = tf.strings.regex_replace(text, _CLITIC, rf"\1 \2{_MARK}")
    text = _mark(text)  # once more, as spaces have come
    # Each token with a space of its own on both sides; every other character becomes spaces.
    text = tf.strings.regex_replace(text, _TOKEN, r" \1\2 ")
    text = tf.strings.regex_replace(text, _MARK, "")
    return tf.strings.regex_replace(text, _NUMBER, " N ")


def _mark(text):
    for _ in range(2):
        text = tf.strings.regex_replace(text, _UNMARKED, rf"\1{_MARK}\2")
    return text
