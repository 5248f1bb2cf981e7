"""Writes a training's files into its run folder after each epoch, and resumes from them."""

import json
import zipfile

import keras
import numpy as np

from kerasptb.layers import FusedLSTM
from kerasptb.optimizers import averaged_weights
from kerasptb.runs import run as runs
from kerasptb.runs.plots import plot_curves
from kerasptb.utils.files import atomic_write, reserve_space
from kerasptb.utils.interrupts import uninterrupted


class Recorder(keras.callbacks.Callback):
    """Writes weights, history, curves and what resuming needs after each epoch.

    Args:
        run: the `kerasptb.Run` of the training.

    Attributes:
        history: list of dicts, one for each whole epoch, as in `Run.history`.
    """

    def __init__(self, run):
        super().__init__()
        self.run = run
        self.history = []

    @property
    def best(self):
        """The epoch with the lowest validation perplexity, a row of the history."""
        return min(self.history, key=lambda row: row["val_perplexity"])

    def on_epoch_end(self, epoch, logs=None):
        """Writes the epoch's files; Ctrl-C is delayed until all of them are written."""
        with uninterrupted():
            rate = float(self.model.optimizer.learning_rate)
            row = {"epoch": epoch + 1, **{key: float(value) for key, value in logs.items()}}
            self.history.append({**row, "learning_rate": row.get("learning_rate", rate)})
            if self.best is self.history[-1]:
                self._save_weights("best")
            self._save_weights("last")
            with atomic_write(self.run.folder / runs.RESUME) as temporary, temporary.open("wb") as file:
                variables = {f"v{i}": variable.numpy() for i, variable in enumerate(_resumable_variables(self.model))}
                # The history is in the same file, so that a run killed between two files resumes consistently.
                np.savez(file, history=json.dumps(self.history), **variables)
            self._write_curves()

    def _write_curves(self):
        runs.write_history(self.run.folder / runs.HISTORY, self.history)
        with atomic_write(self.run.folder / runs.CURVES) as temporary:
            plot_curves(self.history, temporary)

    def restore(self, model):
        """Restores the model to the end of the last whole epoch."""
        path = self.run.folder / runs.RESUME
        if not path.exists():
            # A run that failed while writing its first epoch has weights, but no history: it starts again.
            if self.run.weights_path("last").exists() and (self.run.folder / runs.HISTORY).exists():
                raise runs.RunError(
                    f"{self.run.folder} cannot be resumed: it has weights, but no {runs.RESUME}, which holds what the "
                    "next epoch depends on."
                )
            return
        model.optimizer.build(model.trainable_variables)
        try:
            with path.open("rb") as file, np.load(file) as saved:
                for i, variable in enumerate(_resumable_variables(model)):
                    variable.assign(saved[f"v{i}"])
                self.history = json.loads(str(saved["history"]))
        except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError) as error:
            raise runs.RunError(
                f"{path} is damaged: {error}. The run cannot be resumed; its weights are whole."
            ) from None
        self._write_curves()  # if the process was killed between two files, these are one epoch behind

    def _save_weights(self, name):
        # HDF5 kills the process if the disk is full. Besides the weights it writes some 50 KB.
        num_bytes = 4 * self.model.count_params() + 2**20
        with averaged_weights(self.model), atomic_write(self.run.weights_path(name)) as temporary:
            reserve_space(temporary, num_bytes)
            self.model.save_weights(temporary, overwrite=True)


def _resumable_variables(model):
    """Returns the variables that the next epoch depends on, in a fixed order.

    With JAX the model's variables include the recurrent states. These are left out: they are zero when an epoch begins.
    """
    states = {id(v) for layer in model.layers if isinstance(layer, FusedLSTM) for v in layer.state_variables()}
    return [v for v in [*model.variables, *model.optimizer.variables] if id(v) not in states]
