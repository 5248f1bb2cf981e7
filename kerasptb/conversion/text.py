"""Text to word ids and back with TensorFlow's string operations, as `Vocabulary.encode_typed` does it in Python."""

import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeAlias

import tensorflow as tf

from kerasptb.data import EOS, UNK, Vocabulary
from kerasptb.data.tokenizers.ptb_words import CLITICS, NUMBER, is_word_character
from kerasptb.utils.errors import ExportError
from kerasptb.utils.types import Tensor

Readings: TypeAlias = Mapping[str, tuple[str, str]]  # as `Signs` has them
# From the name of each signature to its function and its input's spec.
Signatures: TypeAlias = dict[str, tuple[Callable[[Tensor], dict[str, Tensor]], Any]]

_LINE_END = r"\r\n|[\r\n]"
# Unicode's white space beyond ASCII, as codes in a class of RE2.
SPACE_CODES = r"\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}"
# The characters that Python's str.split treats as white space.
_SPACE = rf"[\s\x{{b}}\x{{1c}}-\x{{1f}}{SPACE_CODES}]+"
# The regular expressions of `data.tokenizers.ptb_words.split_tokens` in RE2's language, which has no lookbehind, and \b
# for ASCII only. Instead of \b, a mark is put after each clitic (n't, 's and the like) that no letter follows. A match
# of _UNMARKED includes the next character, so a second pass marks clitics that the first one could not match. A match
# of _CLITIC includes the previous letter, so it misses a clitic directly after another. Such a clitic begins with an
# apostrophe, where _TOKEN splits anyway.
_LETTERS = r"\pL\pN\pM\x{200c}\x{200d}_"
_MARK = "\x02"
_UNMARKED = rf"({CLITICS})([^{_LETTERS}{_MARK}]|$)"
_CLITIC = rf"([{_LETTERS}])({CLITICS}){_MARK}"
_TOKEN = rf"({CLITICS}){_MARK}|([{_LETTERS}]+(?:{_MARK}?[.-][{_LETTERS}]+)*|[PUNCTUATION])|(?s:.)"
# Punctuation before and after a word. The second pattern leaves a full stop with the word. It is tried last, and its
# result takes precedence.
_PUNCTUATION_AROUND = [rf"^([^{_LETTERS}'’]*)((?s:.*?))([^{_LETTERS}'’{stop}]*)$" for stop in ("", ".")]
# What `signs.begins_word` looks for before a sign.
_BEGINS_WORD = rf"((?:^|[\s\x{{b}}\x{{1c}}-\x{{1f}}{SPACE_CODES}\p{{Ps}}¿¡])[\"'“”‟‘’‛«»‹›]*)"
_MOST_OVERLAPPING = 8  # quotes in a row: a text of nothing else would take as many passes
_NUMERAL = r"\p{Nd}+(?:[.-]\p{Nd}+)*"
# tf.strings.lower follows the locale of its process. In Turkish and Lithuanian these have other lower-case letters.
_OF_LOCALES = "IJ\u00cc\u00cd\u0128\u012e\u0130"


class TextReader(tf.Module):
    """A vocabulary in the graph, from the file that `Vocabulary.save` wrote, which must exist until the graph is saved.

    Words are found as in `Vocabulary.words_typed`: if the vocabulary holds a word as it is written, or in lower case,
    that entry is taken. Other words are split as in the Penn Treebank, and their parts are looked up likewise. Unknown
    numbers become `N`, other unknown words `<unk>`. Each text begins with `<eos>`, as if a sentence had ended before
    it, and each line's end is `<eos>`. Bytes that are not UTF-8 are read as U+FFFD. Signs are read by the `readings` of
    `Signs`.
    """

    text = tf.TensorSpec([None], tf.string, name="text")
    prompt = tf.TensorSpec([None], tf.string, name="prompt")
    written, padding = "words", ""

    def __init__(self, vocabulary: Vocabulary, path: Path, readings: Readings | None = None) -> None:
        super().__init__(name="text_reader")
        self._readings = readings or {}
        if odd := [word for word in vocabulary.words if "\0" in word or _MARK in word]:
            raise ExportError(
                f"Words with the characters 0 or 2 cannot be found in text by an export. Received: the word {odd[0]!r}"
            )
        self.has_eos = EOS in vocabulary
        self.unk_id = -1 if vocabulary.unk_id is None else vocabulary.unk_id
        self.number_id = vocabulary.word_to_id.get(NUMBER, -1)
        punctuation = {word for word in vocabulary.words if len(word) == 1 and not is_word_character(word)} | set("$%&")
        codes = "".join(rf"\x{{{ord(sign):x}}}" for sign in sorted(punctuation - {"'", "’"}))
        self._token = _TOKEN.replace("PUNCTUATION", codes)
        line = tf.lookup.TextFileIndex
        self._ids = tf.lookup.StaticHashTable(
            tf.lookup.TextFileInitializer(str(path), tf.string, line.WHOLE_LINE, tf.int64, line.LINE_NUMBER), -1
        )
        self._words = tf.lookup.StaticHashTable(
            tf.lookup.TextFileInitializer(str(path), tf.int64, line.LINE_NUMBER, tf.string, line.WHOLE_LINE), ""
        )

    def signatures(self) -> Signatures:
        """Returns a dict from the name of each signature between texts and ids to its function and its input's spec."""
        return {"encode": (lambda text: dict(zip(("tokens", "lengths"), self.encode(text), strict=True)), self.text)}

    def encode(self, text: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the ids of texts, string [B], int32 [B, T] padded with zeros, and how many each has, int32 [B]."""
        with checked(tf.size(text) > 0, "Expected at least one text", tf.size(text)):
            text = tf.identity(text)
        text = tf.strings.unicode_transcode(text, "UTF-8", "UTF-8", errors="replace")
        text = with_known_signs(text, self._readings)
        # tf.strings.lower would end a text at a NUL. NUL and the mark become U+FFFD, which is part of no word either.
        text = tf.strings.regex_replace(text, rf"[\x{{0}}{_MARK}]", "\ufffd")
        text = tf.strings.regex_replace(text, _LINE_END, f" {EOS} " if self.has_eos else " ")
        text = tf.strings.regex_replace(text, _SPACE, " ")
        if self.has_eos:
            text = tf.strings.join([f"{EOS} ", text])
        written = tf.strings.split(text, sep=" ")
        flat = written.flat_values
        # Separators at the ends leave empty strings, which are in no vocabulary.
        # A word between punctuation may be in the vocabulary as it is written, too: "(U.S.,"
        parts = _split(flat, self._token)
        for pattern in _PUNCTUATION_AROUND:
            before, word, after = (tf.strings.regex_replace(flat, pattern, rf"\{i}") for i in (1, 2, 3))
            around = [_split(before, self._token), " ", word, " ", _split(after, self._token)]
            parts = tf.where(self._find(word) >= 0, tf.strings.join(around), parts)
        flat = tf.where(self._find(flat) >= 0, flat, parts)
        words = written.with_flat_values(tf.strings.split(flat)).merge_dims(1, 2)
        ids = self._find(words.flat_values)
        numeral = tf.strings.regex_full_match(words.flat_values, _NUMERAL)
        ids = tf.where((ids < 0) & numeral, tf.cast(self.number_id, tf.int64), ids)
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

    def _find(self, words: Tensor) -> Tensor:
        """Returns the ids of words as they are written or in lower case, int64 [N], -1 for unknown ones."""
        as_written = self._ids.lookup(words)
        return tf.where(as_written >= 0, as_written, self._ids.lookup(_lower(words)))

    def decode(self, tokens: Tensor) -> Tensor:
        """Returns the words of ids, string of the same shape."""
        return self._words.lookup(tf.cast(tokens, tf.int64))


def with_known_signs(text: Tensor, readings: Readings) -> Tensor:
    """Returns texts, string [B], read as `Signs` with these `readings` does."""
    for sign, (at_beginning, elsewhere) in sorted(readings.items(), key=lambda item: -len(item[0])):
        if at_beginning != elsewhere:
            text = _replace_all(text, _BEGINS_WORD + re.escape(sign), rf"\1{at_beginning}")
        text = tf.strings.regex_replace(text, re.escape(sign), elsewhere)
    return text


def _replace_all(text: Tensor, pattern: str, rewrite: str) -> Tensor:
    """Returns texts in which nothing matches a pattern, of matches that overlap no more than `_MOST_OVERLAPPING`."""

    def replaced(_: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        after = tf.strings.regex_replace(text, pattern, rewrite)
        return tf.reduce_any(after != text), after

    begun = tf.constant(True), text  # each time one of those that overlap is replaced
    return tf.while_loop(lambda goes_on, _: goes_on, replaced, begun, maximum_iterations=_MOST_OVERLAPPING)[1]


def checked(condition: Tensor, message: str, received: Tensor) -> AbstractContextManager[Any]:
    """Returns a context whose operations run only if a bool holds; an error says what was expected and received."""
    return tf.control_dependencies([tf.debugging.Assert(condition, [f"{message}. Received:", received])])


def _lower(text: Tensor) -> Tensor:
    for letter in _OF_LOCALES:
        text = tf.strings.regex_replace(text, letter, letter.lower())
    return tf.strings.lower(text, encoding="utf-8")


def _split(words: Tensor, token: str) -> Tensor:
    """Returns words, string [N], split as in the Penn Treebank: spaces between parts, which the expression finds."""
    text = tf.strings.regex_replace(words, "’", "'")
    text = _mark(text)
    text = tf.strings.regex_replace(text, _CLITIC, rf"\1 \2{_MARK}")
    text = _mark(text)  # again, because spaces have been inserted
    # Each token gets a space on both sides; every other character becomes spaces.
    text = tf.strings.regex_replace(text, token, r" \1\2 ")
    return tf.strings.regex_replace(text, _MARK, "")


def _mark(text: Tensor) -> Tensor:
    for _ in range(2):
        text = tf.strings.regex_replace(text, _UNMARKED, rf"\1{_MARK}\2")
    return text
