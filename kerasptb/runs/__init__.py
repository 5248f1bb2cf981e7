"""Run folders: what a training writes after each epoch, and loading from them."""

from kerasptb.runs.damage import RunError
from kerasptb.runs.folder import load_run
from kerasptb.runs.run import Run

__all__ = ["Run", "RunError", "load_run"]
