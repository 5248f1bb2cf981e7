"""Run folders: what a training writes after each epoch, and what is read from them; `kerasptb.run` is what one asks."""

from kerasptb.runs.damage import RunError
from kerasptb.runs.folder import RunFolder
from kerasptb.runs.reader import load_reader

__all__ = ["RunError", "RunFolder", "load_reader"]
