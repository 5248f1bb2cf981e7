"""A model in C, called from Python."""

import ctypes
import subprocess
from pathlib import Path

import numpy as np

from kerasptb.native import core

# The model and its sizes, which are constants for a program in C.
_SIZES = """
#include "model.h"
const lm_model* the_model(void) { return &LM_MODEL; }
int size_of_model(int i) { return i ? LM_VOCABULARY_SIZE : LM_STATE_SIZE; }
size_t room_of_model(int num_words, int num_rows, int flags) { return LM_ROOM(num_words, num_rows, flags); }
"""
_MOST_WORDS = 16
_BOTH = 3  # LM_READS | LM_ERRS
_ROOM = 1 << 16


class _Context(ctypes.Structure):
    _fields_ = [("state", ctypes.c_void_p), ("log_probabilities", ctypes.c_void_p)]


def compile_model(folder, *flags, compiler=("cc",)):
    """Compiles the sources that an export wrote into a library; returns its path."""
    folder = Path(folder)
    (folder / "sizes.c").write_text(_SIZES)
    library = folder / "model.so"
    strict = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror")
    command = [*compiler, *strict, "-shared", "-fPIC", *flags, "-o", library, "core.c", "model.c", "sizes.c", "-lm"]
    subprocess.run(command, check=True, cwd=folder)
    return library


class CModel:
    """The functions of a compiled model, on Python's texts and NumPy's arrays."""

    def __init__(self, library):
        self._c = ctypes.CDLL(str(library))
        for name in ("lm_encode", "lm_read_signs", "lm_bytes", "room_of_model"):
            getattr(self._c, name).restype = ctypes.c_size_t
        for name in ("the_model", "lm_open"):
            getattr(self._c, name).restype = ctypes.c_void_p
        self._c.lm_total.restype = ctypes.c_double
        self._model = ctypes.c_void_p(self._c.the_model())
        self.state_size, self.vocabulary_size = (self._c.size_of_model(i) for i in range(2))
        limits = _MOST_WORDS, 64 + 16 * _MOST_WORDS, _BOTH
        size, room = self._c.lm_bytes(self._model, *limits), self._c.room_of_model(*limits)
        assert size <= room <= size + 1024, (size, room)
        self._room = np.zeros(size // 8 + 1)
        self._search = ctypes.c_void_p(self._c.lm_open(ctypes.c_void_p(self._room.ctypes.data), self._model, *limits))

    def read_signs(self, text):
        """Returns a text with the signs that the model knows."""
        given = text.encode()
        result = ctypes.create_string_buffer(3 * len(given) + 1)
        size = self._c.lm_read_signs(
            self._model, given, ctypes.c_size_t(len(given)), result, ctypes.c_size_t(len(result))
        )
        return result.raw[:size].decode()

    def encode(self, text):
        """Returns the ids of a text, int32 [N]."""
        given = text if isinstance(text, bytes) else text.encode()
        tokens = np.zeros(_ROOM, "int32")
        size = self._c.lm_encode(
            self._model, given, ctypes.c_size_t(len(given)), ctypes.c_void_p(tokens.ctypes.data), ctypes.c_size_t(_ROOM)
        )
        return tokens[:size]

    def split(self, text):
        """Returns the whole part of a text, the beginning after it in small letters, and whether it has no space."""
        given = text if isinstance(text, bytes) else text.encode()
        self.typed = core.Typed()
        self._c.lm_split(self._model, given, ctypes.c_size_t(len(given)), ctypes.byref(self.typed))
        prefix = self.typed.prefix[: self.typed.prefix_size]
        return given[: self.typed.whole].decode(errors="replace"), prefix.decode(), bool(self.typed.begins)

    def begin(self):
        """Returns a context: float32 [S + V], a state and log probabilities."""
        context = np.zeros(self.state_size + self.vocabulary_size, "float32")
        self._c.lm_begin(self._search, self._parts(context))
        return context

    def read(self, context, tokens):
        """Reads tokens; returns the log probabilities after them."""
        tokens = np.ascontiguousarray(tokens, "int32")
        pointer = ctypes.c_void_p(tokens.ctypes.data)
        self._c.lm_read(self._search, self._parts(context), pointer, ctypes.c_size_t(len(tokens)))
        return context[self.state_size :]

    def suggest(self, context, k):
        """Returns the words for what was split last, pairs of a word and its probability, and the prefix' own."""
        words = (core.Word * k)()
        found = self._c.lm_suggest(self._search, self._parts(context), ctypes.byref(self.typed), k, words)
        pairs = [(words[i].text.decode(), words[i].probability) for i in range(found)]
        return pairs, self._c.lm_total(self._search)

    def suggest_typos(self, context, k, layout=2, points=None):
        """Returns the words for what was split last, typed with errors, and what should be written; "" if it stays."""
        words, correction = (core.Word * k)(), core.Word()
        points = None if points is None else points.astype("float32")
        where = None if points is None else ctypes.c_void_p(points.ctypes.data)
        given = self._search, self._parts(context), ctypes.byref(self.typed), layout, where, k, words
        found = self._c.lm_suggest_typos(*given, ctypes.byref(correction))
        pairs = [(words[i].text.decode(), words[i].probability) for i in range(found)]
        return pairs, correction.text.decode()

    def _parts(self, context):
        """Returns the `lm_context` of an array."""
        begin = context.ctypes.data
        return ctypes.byref(_Context(begin, begin + self.state_size * context.itemsize))
