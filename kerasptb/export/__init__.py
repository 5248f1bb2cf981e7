"""Exports that need no framework: C, a page, n-grams, a pack for keyboards, a run to hand on.

A format is a line of `FORMATS`, in `cli/formats.py`, and a file with its function: "arpa" is `export_arpa` in
`arpa.py`.
What TensorFlow and ONNX read is written by `kerasptb.conversion`.
"""

import lazy_loader

# Names are imported when they are first used.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

del lazy_loader
