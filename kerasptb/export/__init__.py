"""Exports of a trained run for servers, phones and other runtimes, all made from one portable, stateless model.

A format is a line of `FORMATS` and a file with its function: "saved-model" is `export_saved_model` in `saved_model.py`.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kerasptb.export.litert import export_litert
    from kerasptb.export.onnx import export_onnx
    from kerasptb.export.run import export_run
    from kerasptb.export.saved_model import export_saved_model
    from kerasptb.export.sherpa_onnx import export_sherpa_onnx
    from kerasptb.models.portable import ExportError, portable_model

__all__ = [
    "ExportError",
    "export_litert",
    "export_onnx",
    "export_run",
    "export_saved_model",
    "export_sherpa_onnx",
    "portable_model",
]

# The formats as the command line calls them, and what each writes.
FORMATS = {
    "saved-model": "a folder that takes text, for TensorFlow",
    "litert": "a .tflite file",
    "onnx": "an .onnx file",
    "sherpa-onnx": "an .onnx file for that speech recogniser",
    "run": "a run folder with weights in 8 bits, to hand on",
}


def __getattr__(name):  # the formats are listed without importing TensorFlow, which takes seconds
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = f"{__name__}.{name.removeprefix('export_')}" if name.startswith("export_") else "kerasptb.models.portable"
    return getattr(importlib.import_module(home), name)


def __dir__():
    return sorted(__all__)


def function_of(format):
    """Returns the function that writes one of `FORMATS`, of a run (or a model and its tokenizer) and a path."""
    return __getattr__(f"export_{format.replace('-', '_')}")
