"""Run folders: what a training writes after each epoch, and loading from them."""

from kerasptb.runs.damage import RunError
from kerasptb.runs.run import Run, load_run

__all__ = ["Run", "RunError", "load_run"]
