"""Exports of a trained run for servers, phones and other runtimes, all made from one portable, stateless model.

A format is a line of `FORMATS`, in `formats.py`, and a file with its function: "saved-model" is `export_saved_model` in
`saved_model.py`.
"""

import lazy_loader

# __init__.pyi has the public names. They are imported when they are first used: TensorFlow takes seconds to import.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

del lazy_loader
