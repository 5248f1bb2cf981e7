"""A model in C, called from Python."""

import ctypes
import subprocess
from pathlib import Path

import numpy as np

# What of the structs a caller cannot know, as functions.
_SIZES = """
#include "model.h"
size_t sizes(int i) {
  return i == 0 ? sizeof(lm_search) : i == 1 ? sizeof(lm_taps) : i == 2 ? LM_STATE_SIZE : LM_VOCABULARY_SIZE;
}
double total(const lm_search *search) { return search->prefix_probability; }
"""
_WORD = 160
_ROOM = 1 << 16


class _Typed(ctypes.Structure):
    _fields_ = [
        ("whole", ctypes.c_size_t),
        ("typed", ctypes.c_size_t),
        ("begins", ctypes.c_int),
        ("prefix_size", ctypes.c_size_t),
        ("prefix", ctypes.c_char * _WORD),
        ("letters", ctypes.c_char * _WORD),
    ]


class _Word(ctypes.Structure):
    _fields_ = [("text", ctypes.c_char * _WORD), ("probability", ctypes.c_double)]


def compile_model(folder, *flags, compiler=("cc",)):
    """Compiles the sources that an export wrote into a library; returns its path."""
    folder = Path(folder)
    (folder / "sizes.c").write_text(_SIZES)
    library = folder / "model.so"
    strict = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror")
    command = [*compiler, *strict, "-shared", "-fPIC", *flags, "-o", library, "model.c", "sizes.c", "-lm"]
    subprocess.run(command, check=True, cwd=folder)
    return library


class CModel:
    """The functions of a compiled model, on Python's texts and NumPy's arrays."""

    def __init__(self, library):
        self._c = ctypes.CDLL(str(library))
        self._c.sizes.restype = self._c.lm_encode.restype = self._c.lm_read_signs.restype = ctypes.c_size_t
        self._c.lm_piece.restype, self._c.total.restype = ctypes.POINTER(ctypes.c_char), ctypes.c_double
        search, taps, self.state_size, self.vocabulary_size = (self._c.sizes(i) for i in range(4))
        self._search, self._taps = ctypes.create_string_buffer(search), ctypes.create_string_buffer(taps)

    def read_signs(self, text):
        """Returns a text with the signs that the model knows."""
        given = text.encode()
        result = ctypes.create_string_buffer(3 * len(given) + 1)
        size = self._c.lm_read_signs(given, ctypes.c_size_t(len(given)), result, ctypes.c_size_t(len(result)))
        return result.raw[:size].decode()

    def encode(self, text):
        """Returns the ids of a text, int32 [N]."""
        given = text if isinstance(text, bytes) else text.encode()
        tokens = np.zeros(_ROOM, "int32")
        size = self._c.lm_encode(
            given, ctypes.c_size_t(len(given)), ctypes.c_void_p(tokens.ctypes.data), ctypes.c_size_t(_ROOM)
        )
        return tokens[:size]

    def split(self, text):
        """Returns the whole part of a text, the beginning after it in small letters, and whether it has no space."""
        given = text if isinstance(text, bytes) else text.encode()
        self.typed = _Typed()
        self._c.lm_split(given, ctypes.c_size_t(len(given)), ctypes.byref(self.typed))
        prefix = self.typed.prefix[: self.typed.prefix_size]
        return given[: self.typed.whole].decode(errors="replace"), prefix.decode(), bool(self.typed.begins)

    def begin(self):
        """Returns a context: float32 [S + V], a state and log probabilities."""
        context = np.zeros(self.state_size + self.vocabulary_size, "float32")
        self._c.lm_begin(ctypes.c_void_p(context.ctypes.data))
        return context

    def read(self, context, tokens):
        """Reads tokens; returns the log probabilities after them."""
        tokens = np.ascontiguousarray(tokens, "int32")
        pointers = ctypes.c_void_p(context.ctypes.data), ctypes.c_void_p(tokens.ctypes.data)
        self._c.lm_read(*pointers, ctypes.c_size_t(len(tokens)))
        return context[self.state_size :]

    def suggest(self, context, k):
        """Returns the words for what was split last, pairs of a word and its probability, and the prefix' own."""
        words = (_Word * k)()
        pointer = ctypes.c_void_p(context.ctypes.data)
        found = self._c.lm_suggest(self._search, pointer, ctypes.byref(self.typed), k, words)
        pairs = [(words[i].text.decode(), words[i].probability) for i in range(found)]
        return pairs, self._c.total(self._search)

    def suggest_typos(self, context, k, layout=2, points=None):
        """Returns the words for what was split last, typed with errors, and what should be written; "" if it stays."""
        words, correction = (_Word * k)(), _Word()
        pointer, points = ctypes.c_void_p(context.ctypes.data), None if points is None else points.astype("float32")
        where = None if points is None else ctypes.c_void_p(points.ctypes.data)
        given = self._search, self._taps, pointer, ctypes.byref(self.typed), layout, where, k, words
        found = self._c.lm_suggest_typos(*given, ctypes.byref(correction))
        pairs = [(words[i].text.decode(), words[i].probability) for i in range(found)]
        return pairs, correction.text.decode()
