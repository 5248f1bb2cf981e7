"""Run folders: what a training writes after each epoch, and loading from them."""

from kerasptb.runs.damage import RunError
from kerasptb.runs.files import lock_run, remove, write_rows
from kerasptb.runs.run import Run, create_run, load_run

__all__ = ["Run", "RunError", "create_run", "load_run", "lock_run", "remove", "write_rows"]
