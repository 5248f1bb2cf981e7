"""The formats of exports as the command line calls them."""

import importlib
from collections.abc import Callable
from pathlib import Path

# What each writes. TensorFlow and ONNX read the first four.
_CONVERSIONS = {
    "saved-model": "a folder that takes text, for TensorFlow",
    "litert": "a .tflite file",
    "onnx": "an .onnx file",
    "sherpa-onnx": "an .onnx file for that speech recogniser",
}
FORMATS = {
    **_CONVERSIONS,
    "c": "a folder of C sources, for any compiler",
    "page": "an .html file, a keyboard page that asks no server",
    "arpa": "an .arpa file of its text's n-grams, for runs with counts",
    "keyboard": "a folder for a keyboard: LiteRT in 8 bits, C, words, n-grams, and a card of what it has read",
    "run": "a run folder with weights in 8 bits, to hand on",
}

# By what a name ends in; that for C is then told that it is a folder's.
_BY_SUFFIX = {".tflite": "litert", ".litert": "litert", ".onnx": "onnx", ".html": "page", ".arpa": "arpa", ".c": "c"}


def format_of(path: str) -> str:
    """Returns the format of an export to a path, if none is named."""
    return _BY_SUFFIX.get(Path(path).suffix, "saved-model")


def needs_keras(format: str) -> bool:
    """Returns whether a format is made in Keras; a keyboard's pack has a part that is."""
    return format in ("saved-model", "litert", "keyboard")


def function_of(format: str) -> Callable[..., Path]:
    """Returns the function that writes one of `FORMATS`, of a run (or, most of them, a model) and a path."""
    name, room = format.replace("-", "_"), "conversion" if format in _CONVERSIONS else "export"
    return getattr(importlib.import_module(f"kerasptb.{room}.{name}"), f"export_{name}")
