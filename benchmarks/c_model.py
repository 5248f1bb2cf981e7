"""A model in C, called from Python."""

import ctypes
import subprocess
from pathlib import Path

import numpy as np

# The model and its sizes, which are constants for a program in C.
_SIZES = """
#include "model.h"
const lm_model* the_model(void) { return &LM_MODEL; }
int size_of_model(int i) { return i ? LM_VOCABULARY_SIZE : LM_STATE_SIZE; }
size_t room_of_model(int num_words, int num_rows, int flags) { return LM_ROOM(num_words, num_rows, flags); }
"""
_MOST_WORDS = 16
_BOTH = 3  # LM_READS | LM_ERRS
_WORD = 160
_ROOM = 1 << 16


class _Typed(ctypes.Structure):
    _fields_ = [
        ("whole", ctypes.c_size_t),
        ("typed", ctypes.c_size_t),
        ("begins", ctypes.c_int32),
        ("prefix_size", ctypes.c_int32),
        ("prefix", ctypes.c_char * _WORD),
        ("letters", ctypes.c_char * _WORD),
    ]


class _Question(ctypes.Structure):
    _fields_ = [
        ("typed", ctypes.c_void_p),
        *((name, ctypes.c_int32) for name in ("num_words", "num_excluded", "num_beside", "num_known", "num_literal")),
        *((name, ctypes.c_double) for name in ("at_least", "least_odds")),
        *((name, ctypes.c_void_p) for name in ("left_out", "excluded", "beside", "known", "literal", "hits")),
    ]


class _Hits(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int32) for name in ("num_taps", "is_whole", "may_be_words")),
        *((name, ctypes.c_double) for name in ("hit", "exchanged", "doubled", "undoubled", "unknown")),
        *((name, ctypes.c_void_p) for name in ("likelihoods", "omissions")),
        ("strays", ctypes.c_double * 40),
    ]


class _Word(ctypes.Structure):
    _fields_ = [("text", ctypes.c_char * _WORD), ("probability", ctypes.c_double)]


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
        for name in ("lm_encode", "lm_read_signs", "lm_bytes", "lm_hits_bytes", "room_of_model"):
            getattr(self._c, name).restype = ctypes.c_size_t
        for name in ("the_model", "lm_open"):
            getattr(self._c, name).restype = ctypes.c_void_p
        self._c.lm_total.restype = self._c.lm_literal.restype = ctypes.c_double
        self._c.lm_hash.restype, self._c.lm_hash.argtypes = ctypes.c_uint64, (ctypes.c_char_p, ctypes.c_size_t)
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
        self.typed = _Typed()
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
        words = (_Word * k)()
        found = self._c.lm_suggest(self._search, self._parts(context), ctypes.byref(self.typed), k, words)
        pairs = [(words[i].text.decode(), words[i].probability) for i in range(found)]
        return pairs, self._c.lm_total(self._search)

    def suggest_typos(self, context, k, layout=2, points=None):
        """Returns the words for what was split last, typed with errors, and what should be written; "" if it stays."""
        words, correction = (_Word * k)(), _Word()
        points = None if points is None else points.astype("float32")
        where = None if points is None else ctypes.c_void_p(points.ctypes.data)
        given = self._search, self._parts(context), ctypes.byref(self.typed), layout, where, k, words
        found = self._c.lm_suggest_typos(*given, ctypes.byref(correction))
        pairs = [(words[i].text.decode(), words[i].probability) for i in range(found)]
        return pairs, correction.text.decode()

    def find(self, context, read, k, excluded=(), beside=(), known=(), literal=None):
        """Searches for the words for what was split last with another network than that in C.

        Args:
            context: what is known after the whole words; it has `log_probabilities`, float32 [V].
            read: function of pairs of such a context and a token that returns those after them.
            k: number of words.
            excluded: words that are not found.
            beside: words that do not count among the k.
            known: words that are known besides those of the model.
            literal: the tokens of what is typed, if it may have errors, on QWERTY.

        Returns:
            words: pairs of a word and its probability.
            total: what `lm_total` returns.
            literal: what `lm_literal` returns.
        """
        hits, room = _Hits(), np.zeros(self._c.lm_hits_bytes(self._model) // 8 + 1)
        letters, places = self.typed.letters, (ctypes.c_void_p(room.ctypes.data), ctypes.byref(hits))
        lists = {"excluded": excluded, "beside": beside, "known": known}
        arrays = {name: np.sort(self.hashes(words)) for name, words in lists.items()}
        arrays["literal"] = np.array([] if literal is None else literal, "int32")
        question = _Question(
            typed=ctypes.addressof(self.typed),
            num_words=k,
            **{f"num_{name}": len(array) for name, array in arrays.items()},
            **{name: array.ctypes.data for name, array in arrays.items()},
        )
        if literal is not None and self._c.lm_find_hits(self._model, letters, 2, None, 0, *places):
            question.hits, question.least_odds = ctypes.addressof(hits), 1e-2
        self._c.lm_find(self._search, ctypes.byref(question))
        self._read_all(context, read)
        words = (_Word * (k + len(beside)))()
        found = self._c.lm_words(self._search, words, len(words))
        pairs = [(words[i].text.decode(), words[i].probability) for i in range(found)]
        return pairs, self._c.lm_total(self._search), self._c.lm_literal(self._search)

    def _read_all(self, context, read):
        asked, contexts, given = ctypes.POINTER(ctypes.c_int32)(), {}, [(0, context)]
        while given:
            contexts |= dict(given)
            for row, each in given:
                values = np.ascontiguousarray(each.log_probabilities, "float32")
                self._c.lm_give(self._search, row, ctypes.c_void_p(values.ctypes.data))
            number = self._c.lm_take(self._search, ctypes.byref(asked))
            rows = [asked[3 * i : 3 * i + 3] for i in range(number)]
            after = read([(contexts[before], token) for _, before, token in rows])
            given = [(row, each) for (row, _, _), each in zip(rows, after, strict=True)]

    def hashes(self, words):
        """Returns the low bits of `lm_hash` of words, uint32 [W]."""
        return np.array([self._c.lm_hash(word.encode(), len(word.encode())) % 2**32 for word in words], "uint32")

    def _parts(self, context):
        """Returns the `lm_context` of an array."""
        begin = context.ctypes.data
        return ctypes.byref(_Context(begin, begin + self.state_size * context.itemsize))
