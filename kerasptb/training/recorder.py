"""Writes a training's files into its run folder."""

import dataclasses
from pathlib import Path
from typing import Any

from kerasptb.callbacks import Checkpoint
from kerasptb.models.weights import save_weights
from kerasptb.optimizers.averaging import averaged_weights
from kerasptb.run import Run
from kerasptb.runs import files
from kerasptb.runs.damage import RunError
from kerasptb.runs.weights import is_whole, mend_weights
from kerasptb.trainers import peers
from kerasptb.training.plots import plot_curves
from kerasptb.utils.files import HeldFolder, atomic_write


class Recorder(Checkpoint):
    """The checkpoints of a run and, after each epoch, its weights, history and curves; the first process writes them.

    That one has a `HeldFolder` of the run. If the folder is renamed, it ends the training after a checkpoint there.
    """

    _results = ("perplexity", "val_perplexity", "learning_rate", "words_per_second")

    def __init__(self, run: Run, minutes: float = 5.0, held: HeldFolder | None = None) -> None:
        self.run = run
        self._held = held
        try:
            super().__init__(run.folder, minutes)
        except ValueError as error:
            whole = "The best weights of the run are whole." if is_whole(run.weights_path("best")) else ""
            raise RunError(f"{error} {whole}".rstrip()) from None
        # A run that failed while writing its first epoch has weights, but no history: it starts again.
        if not self.history and run.weights_path("last").exists() and (run.folder / files.HISTORY).exists():
            raise RunError(
                f"{run.folder} cannot be resumed: it has weights, but no {files.RESUME}, which holds what the training "
                "depends on."
            )
        if self.history:
            peers.by_first(lambda: mend_weights(run.weights_path("best"), run.folder / files.BEST_COPY))
            self._write_curves()  # if the process was killed between two files, these are one epoch behind

    @property
    def best(self) -> dict[str, float]:
        """The epoch with the lowest validation perplexity, a row of the history."""
        return min(self.history, key=lambda row: row["val_perplexity"])

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Begins where the folder is, and writes the last weights anew if they are damaged and are those of there."""
        super().on_train_begin(logs)
        last = self.run.weights_path("last")
        if self.history and not self.batch and not peers.by_first(lambda: is_whole(last)):
            self._save_weights(last)

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Ends the training if its folder has been moved, before TensorBoard makes one with the old name."""
        super().on_test_begin(logs)
        self._find_folder()
        if self.folder != self.run.folder:
            self._write()

    def write_epoch(self, row: dict[str, float]) -> None:
        """Writes the epoch's files; the checkpoint after the weights, so that a kill between them loses nothing."""
        self._find_folder()
        row = {**row, "learning_rate": row.get("learning_rate", float(self.model.optimizer.learning_rate))}
        run = dataclasses.replace(self.run, folder=self.folder)
        paths = [run.weights_path("last")]
        if row["val_perplexity"] < min((before["val_perplexity"] for before in self.history), default=float("inf")):
            paths = [run.weights_path("best"), run.folder / files.BEST_COPY, *paths]
            # Counts go with the weights that they were learned on, and are made anew at the end.
            peers.by_first(lambda: (run.folder / files.COUNTS).unlink(missing_ok=True))
        self._save_weights(*paths)
        super().write_epoch(row)
        self._write_curves()

    def _going_on(self) -> str:
        return f" To go on: {files.resume_command(self.folder)}"

    def _find_folder(self) -> None:
        """Lets what follows write into the run's folder, wherever it is."""
        held = self._held  # the first process has it
        place = peers.by_first(lambda: None if held is None or (place := held.place()) is None else str(place))
        if place is None:
            raise RunError(f"{self.run.folder} has been removed, or moved out of sight, while it trained.")
        self.folder = Path(place)

    def _write(self) -> None:
        self._find_folder()
        super()._write()
        if self.folder != self.run.folder:
            raise RunError(
                f"{self.run.folder} has been moved to {self.folder} while it trained. It has a checkpoint. To go on: "
                f"{files.resume_command(self.folder)}"
            )

    def _write_curves(self) -> None:
        def write() -> None:
            files.write_rows(self.run.folder / files.HISTORY, self.history)
            with atomic_write(self.run.folder / files.CURVES) as temporary:
                plot_curves(self.history, temporary)

        peers.by_first(write)

    def _save_weights(self, *paths: Path) -> None:
        with averaged_weights(self.model):
            peers.by_first(lambda: save_weights(self.model, *paths))
