"""The core that finds words, on values of Python. `src/core/core.h` says what its parts mean, and has its structs.

Calls keep the interpreter's lock, since most take microseconds.
"""

from __future__ import annotations

import ctypes
import functools
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kerasptb.native import loader

FOLDER = Path(__file__).parent / "src" / "core"
_HEADER = re.sub(r"/\*.*?\*/", "", (FOLDER / "core.h").read_text(encoding="utf-8"), flags=re.DOTALL)
# The numbers that the header defines, such as "LM_MOST_TAPS".
CONSTANTS = {name: float(value) for name, value in re.findall(r"#define (LM_\w+) ([\d.e-]+)\n", _HEADER)}
MOST_TAPS, WORD_BYTES = int(CONSTANTS["LM_MOST_TAPS"]), int(CONSTANTS["LM_WORD_BYTES"])
LITERAL_ROW, _ERRS = 1, 2
_TYPES = {"int32_t": ctypes.c_int32, "size_t": ctypes.c_size_t, "double": ctypes.c_double, "char": ctypes.c_char}
_POINTER, _SIZE, _NUMBER, _LONG = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int32, ctypes.c_uint64


def _struct(name: str) -> type[ctypes.Structure]:
    """Returns a struct of the header."""
    body = re.search(rf"struct {name} {{(.*?)}};|typedef struct {{([^}}]*)}} {name};", _HEADER, re.DOTALL)
    assert body is not None, name
    fields = []
    for declaration in (body[1] or body[2]).split(";")[:-1]:
        of_type, names = re.fullmatch(r"\s*(?:const )?(\w+)(.*)", declaration, re.DOTALL).groups()  # type: ignore
        for each in names.split(","):
            field, size = re.search(r"(\w+)(?:\[(\w+)\])?", each).groups()  # type: ignore[union-attr]
            kind: Any = _POINTER if "*" in each else _TYPES[of_type]
            fields.append((field, kind * int(CONSTANTS[size]) if size else kind))
    return type(name, (ctypes.Structure,), {"_fields_": fields})


Typed, Word, Hits, Question, _Model = map(_struct, ("lm_typed", "lm_word", "lm_hits", "lm_question", "lm_model"))
MODEL_FIELDS = [name for name, *_ in _Model._fields_]


class Model:
    """An `lm_model`.

    Args:
        fields: its fields by name: integers and arrays; those that are not there are 0.
    """

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._arrays = {name: np.ascontiguousarray(each) for name, each in fields.items() if np.ndim(each)}
        addresses = {name: each.ctypes.data for name, each in self._arrays.items()}
        self._struct = _Model(**dict(fields) | addresses)
        self.address = ctypes.addressof(self._struct)


class Texts:
    """Several texts, one behind the other, as functions of the core take them."""

    def __init__(self, texts: Iterable[str]) -> None:
        encoded = [text.encode(errors="surrogateescape") for text in texts]
        self._bytes, self._ends = b"".join(encoded), np.cumsum([len(each) for each in encoded], dtype="int32")

    @functools.cached_property
    def hashes(self) -> np.ndarray:
        """What tells them from others, uint32 [N], sorted."""
        hashes = np.empty(len(self._ends), "uint32")
        function = _function("lm_hash_all", None, ctypes.c_char_p, _POINTER, _NUMBER, _POINTER)
        function(self._bytes, self._ends.ctypes.data, len(hashes), hashes.ctypes.data)
        return np.unique(hashes)

    def align(self, model: Model, hits: ctypes.Structure) -> np.ndarray:
        """Returns the probability of all taps for each, float64 [N]."""
        found = np.empty(len(self._ends))
        function = _function("lm_align_all", None, *[_POINTER] * 2, ctypes.c_char_p, _POINTER, _NUMBER, _POINTER)
        function(model.address, ctypes.addressof(hits), self._bytes, self._ends.ctypes.data, len(found), _at(found))
        return found


class Search:
    """A search for words.

    Args:
        model: the `Model`.
        prefix: how the words begin, in bytes as `fold_bytes` has them, of which there are less than WORD_BYTES.
        num_words: how many are looked for.
        letters: what is typed, if it may have errors; shorter than WORD_BYTES, too.
        begins: whether the word comes without a space before it.
        hits: an `lm_hits`, if it may have errors.
        **question: further fields of an `lm_question`, numbers and arrays; those that are not there are 0.
    """

    def __init__(
        self,
        model: Model,
        prefix: bytes,
        num_words: int,
        letters: bytes = b"",
        begins: bool = False,
        hits: ctypes.Structure | None = None,
        **question: Any,
    ) -> None:
        arrays = {name: each for name, each in question.items() if np.ndim(each)}
        numbers = {f"num_{name}": len(each) for name, each in arrays.items() if name != "left_out"}
        typed = Typed(begins=begins, prefix_size=len(prefix), prefix=prefix, letters=letters)
        asks = Question(**question | {name: _at(each) for name, each in arrays.items()} | numbers)
        asks.typed, asks.num_words = ctypes.addressof(typed), num_words
        asks.hits = None if hits is None else ctypes.addressof(hits)
        limits = num_words, question.get("most_rows", 0), 0 if hits is None else _ERRS
        of_room = _POINTER, _NUMBER, _NUMBER, _NUMBER
        self._room = np.empty(_function("lm_bytes", _SIZE, *of_room)(model.address, *limits) // 8 + 1)
        self._search = _function("lm_open", _POINTER, _POINTER, *of_room)(_at(self._room), model.address, *limits)
        self._kept = model, typed, asks, hits, arrays
        self._most = num_words + min(numbers.get("num_beside", 0), int(CONSTANTS["LM_MORE_FOUND"]) + num_words)
        self._take = _function("lm_take", _NUMBER, _POINTER, _POINTER)
        self._give = _function("lm_give", None, _POINTER, _NUMBER, _POINTER)
        self._asked = ctypes.POINTER(ctypes.c_int32)()
        _function("lm_find", None, _POINTER, _POINTER)(self._search, ctypes.addressof(asks))

    def take(self) -> list[list[int]]:
        """Returns what is to be read next: a row, that before it, and a token of each."""
        number = self._take(self._search, ctypes.addressof(self._asked))
        flat = self._asked[: 3 * number]
        return [flat[i : i + 3] for i in range(0, 3 * number, 3)]

    def give(self, row: int, log_probabilities: np.ndarray) -> None:
        """Takes what comes after a row, float32 [V]."""
        values = np.ascontiguousarray(log_probabilities, "float32")
        self._give(self._search, row, _at(values))

    def words(self) -> list[tuple[str, float]]:
        """Returns pairs of a word and its probability, the likeliest first."""
        words = (Word * self._most)()
        function = _function("lm_words", _NUMBER, _POINTER, _POINTER, _NUMBER)
        number = function(self._search, ctypes.addressof(words), self._most)
        return [(each.text.decode(), each.probability) for each in words[:number]]

    @property
    def total(self) -> float:
        """The probability that the next word begins as typed."""
        return _function("lm_total", ctypes.c_double, _POINTER)(self._search)

    @property
    def literal(self) -> float:
        """The probability of what is typed itself."""
        return _function("lm_literal", ctypes.c_double, _POINTER)(self._search)


def id_of(token: int | None) -> int:
    """Returns a token as fields of an `lm_model` have it, -1 for none."""
    return -1 if token is None else token


def hits_of(likelihoods: np.ndarray, omissions: np.ndarray, strays: np.ndarray, **numbers: float) -> ctypes.Structure:
    """Returns an `lm_hits`.

    Args:
        likelihoods: float64 [S, n], of n taps, each relative to the likeliest letter.
        omissions: float64 [S].
        strays: float64 [n].
        **numbers: its other fields.
    """
    may_be_words = ((likelihoods > 0).any(axis=0) | (strays > 0)).all()
    hits = Hits(num_taps=len(strays), may_be_words=bool(may_be_words), **numbers)
    hits.strays[: len(strays)] = strays.tolist()
    hits.arrays = likelihoods, omissions  # kept as long as it
    hits.likelihoods, hits.omissions = map(_at, hits.arrays)
    return hits


@functools.cache
def _function(name: str, returns: Any, *types: Any) -> Any:
    return ctypes.PYFUNCTYPE(returns, *types)((name, loader.core()))


def _at(array: np.ndarray) -> int:
    return array.ctypes.data
