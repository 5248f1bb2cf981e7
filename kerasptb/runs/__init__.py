"""Run folders: what a training writes after each epoch, and loading from them."""

from kerasptb.runs.run import Run, RunError, create_run, load_run, lock_run, remove, write_history

__all__ = ["Run", "RunError", "create_run", "load_run", "lock_run", "remove", "write_history"]
