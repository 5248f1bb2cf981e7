"""Writes a training's files into its run folder."""

from kerasptb.callbacks import Checkpoint
from kerasptb.optimizers import averaged_weights
from kerasptb.runs import run as runs
from kerasptb.runs.plots import plot_curves
from kerasptb.runs.weights import is_whole, mend_weights, save_weights
from kerasptb.utils import peers
from kerasptb.utils.files import atomic_write


class Recorder(Checkpoint):
    """The checkpoints of a run and, after each epoch, its weights, history and curves; the first process writes them.

    Args:
        run: the `kerasptb.Run` of the training.
        minutes: as in `Checkpoint`.

    Raises:
        RunError: if the run cannot be resumed.
    """

    def __init__(self, run, minutes=5.0):
        self.run = run
        try:
            super().__init__(run.folder, minutes)
        except ValueError as error:
            raise runs.RunError(f"{error} The weights of the run are whole.") from None
        # A run that failed while writing its first epoch has weights, but no history: it starts again.
        if not self.history and run.weights_path("last").exists() and (run.folder / runs.HISTORY).exists():
            raise runs.RunError(
                f"{run.folder} cannot be resumed: it has weights, but no {runs.RESUME}, which holds what the training "
                "depends on."
            )
        if self.history:
            peers.by_first(lambda: mend_weights(run.weights_path("best"), run.folder / runs.BEST_COPY))
            self._write_curves()  # if the process was killed between two files, these are one epoch behind

    @property
    def best(self):
        """The epoch with the lowest validation perplexity, a row of the history."""
        return min(self.history, key=lambda row: row["val_perplexity"])

    def on_train_begin(self, logs=None):
        """Begins where the folder is, and writes the last weights anew if they are damaged and are those of there."""
        super().on_train_begin(logs)
        last = self.run.weights_path("last")
        if self.history and not self.batch and not peers.by_first(lambda: is_whole(last)):
            self._save_weights(last)

    def write_epoch(self, row):
        """Writes the epoch's files; the checkpoint after the weights, so that a kill between them loses nothing."""
        row = {**row, "learning_rate": row.get("learning_rate", float(self.model.optimizer.learning_rate))}
        paths = [self.run.weights_path("last")]
        if row["val_perplexity"] < min((before["val_perplexity"] for before in self.history), default=float("inf")):
            paths = [self.run.weights_path("best"), self.run.folder / runs.BEST_COPY, *paths]
        self._save_weights(*paths)
        super().write_epoch(row)
        self._write_curves()

    def _write_curves(self):
        def write():
            runs.write_history(self.run.folder / runs.HISTORY, self.history)
            with atomic_write(self.run.folder / runs.CURVES) as temporary:
                plot_curves(self.history, temporary)

        peers.by_first(write)

    def _save_weights(self, *paths):
        with averaged_weights(self.model):
            peers.by_first(lambda: save_weights(self.model, *paths))
