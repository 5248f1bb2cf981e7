"""Checkpoints within an epoch, from which a training goes on to the same bits."""

import contextlib
import io
import itertools
import json
import logging
import math
import operator
import os
import sys
import time
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasptb.callbacks.progress import Progress
from kerasptb.callbacks.reset_states import stateful_layers
from kerasptb.optimizers.averaging import weights_themselves
from kerasptb.trainers import peers
from kerasptb.trainers.running_fit import RunningFit
from kerasptb.utils.files import DAMAGE, atomic_write, check_regular, make_folder
from kerasptb.utils.interrupts import Signals

logger = logging.getLogger(__name__)

_LATEST, _BEFORE = "resume.npz", "resume.before.npz"


def check_minutes(minutes: float) -> None:
    """Raises a `ValueError` unless checkpoints can be so many minutes apart."""
    if not 0 <= minutes < float("inf"):
        raise ValueError(f"Expected minutes of at least 0. Received: minutes={minutes}")


class Checkpoint(keras.callbacks.Callback):
    """Writes all that a training depends on, within its epochs too, and goes on from there to the same bits.

    A training that was killed is started again with the same model, data and folder: `fit` then continues after the
    last batch that the folder has. A checkpoint holds the weights, the optimizer's variables, dropout's seeds, the
    recurrent state, the running metrics, the results of the epochs so far, and the number of batches done. Keras'
    `BackupAndRestore` keeps neither the state nor the place within an epoch.

    Ctrl-C and SIGTERM wait for the end of the step or of what is being written, and in an epoch a checkpoint is written
    first. SIGTERM then ends the process with status 143, by an exception (`SystemExit`). With a model of Keras' own
    trainer only the first signal waits: where `fit` has raised nothing tells that it has ended, until `close`.

    Of several processes that train together (Keras on JAX) the first one writes, and all read what it has written. A
    signal to one of them reaches all: every other second they agree whether a checkpoint is due or one has come.

    Args:
        folder: folder for the latest two checkpoints; created when the first one is written. If the latest is damaged,
            the training goes on from the one before, with a line in the log.
        minutes: time between two checkpoints within an epoch. One more is written at the end of each epoch.

    It comes last in the list of callbacks: at an epoch's end it writes what those before it have made of the optimizer.

    The batches that are done are read again, without training on them, so the data must yield the same batches each
    time. With `make_dataset(jitter=True)` or several `parts`, whose epochs differ, say where it begins:
    `epoch=checkpoint.epoch`.

    Raises:
        ValueError: if both checkpoints are damaged. When training begins, if they are of another model or optimizer,
            or lie within what is now one call of the step function (`steps_per_execution`).

    Example:
        >>> checkpoint = Checkpoint("backup", minutes=5)
        >>> model.fit(batches, epochs=10, callbacks=[ResetStates(), checkpoint])
    """

    _results: tuple[str, ...] = ()  # names of finite numbers that each epoch in the folder must have

    def __init__(self, folder: str | os.PathLike[str], minutes: float = 5.0) -> None:
        super().__init__()
        check_minutes(minutes)
        self.folder = Path(folder)
        self.minutes = minutes
        self._progress = Progress()
        self._logs: dict[str, Any] = {}  # of the batches that are done
        self._values = self._read()  # to be restored; empty if there is nothing to go on from
        self._kept: dict[str, Any] = {}  # the values before a validation of what it changes
        self._written = time.monotonic()
        self._signals = Signals()
        self._wishes = peers.Agreement()
        self._fit: Any = None  # a RunningFit, once one has begun

    @property
    def epoch(self) -> int:
        """Number of whole epochs in the folder: that in which the training goes on, from 0."""
        return self._progress.epoch

    @property
    def batch(self) -> int:
        """Number of batches of that epoch which are done."""
        return self._progress.batch

    @property
    def history(self) -> list[dict[str, float]]:
        """The results of the whole epochs, a list of dicts, each with its "epoch" from 1."""
        return self._progress.before(self.epoch)

    # Keras' hooks, in the order in which they are called.

    def set_params(self, params: dict[str, Any]) -> None:
        """Lets the callbacks of the training that look at earlier epochs (`Resumable`) find those in the folder."""
        super().set_params(params)
        self._progress.share(params)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Restores what the folder has, and makes `fit` begin in that epoch."""
        self.close()  # what a `fit` that has raised may have left
        self._fit = RunningFit(self._model)
        self._signals.install()
        self._signals.hold(all_of_them=self._fit.at_end(self.close))
        self._written = time.monotonic()
        places = peers.gathered([self.epoch, self.batch])
        if (places != places[0]).any():
            raise ValueError(f"Expected processes that see the same checkpoints. Received: {places.tolist()} as places")
        if self._values:
            self._restore()
            self._fit.begin_in(self.epoch)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Begins an epoch, or goes on with it."""
        self._progress.begin_epoch(epoch)

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Restores what other callbacks and Keras have reset at the epoch's begin, and passes over what is done."""
        if self._values and not self._fit.only_reads:
            self._restore()
            self._fit.only_read(self._logs, on_metrics=lambda: self._restore("m"))
        if batch >= self.batch:
            self._go_on()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Writes a checkpoint if it is time, or if the training is asked to end."""
        due, asked = self._wishes.of_any(time.monotonic() - self._written >= 60 * self.minutes, self._signals.number)
        if not self._fit.only_reads:
            self._progress.batch, self._logs = batch + 1, logs or {}
            if asked or due:
                self._write()
        if asked:
            self._end(int(asked))

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Keeps what a validation changes."""
        if self._fit is not None:
            self._kept = self._values_of("sm")

    def on_test_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Ends a validation if the training is asked to end, after a checkpoint of what is before it."""
        (asked,) = self._wishes.of_any(self._signals.number)
        if asked:
            if self._kept:
                self._write()
            self._end(int(asked))

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        """Lets go of what was kept."""
        self._kept = {}

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Writes a checkpoint."""
        self._go_on()
        self.write_epoch({"epoch": epoch + 1, **_as_json(logs or {})})
        self._signals.deliver(self._signal_of_any())

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Undoes what the callback has changed."""
        asked = self._signal_of_any()
        self.close()
        self._signals.deliver(asked)

    def close(self) -> None:
        """Undoes what the callback has changed of the process and the model: for a `fit` that has raised."""
        self._signals.uninstall()
        self._kept = {}
        if self._fit is not None:
            self._fit.train()
            self._fit.begin_in(None)

    def write_epoch(self, row: dict[str, float]) -> None:
        """Writes the checkpoint at the end of an epoch, whose results are `row`; signals wait meanwhile."""
        done = int(row["epoch"])
        self._progress.record(done - 1, row)
        self._progress.begin_epoch(done)
        self._logs = {}
        self._write()

    def _end(self, asked: int) -> None:
        """Says where the training can go on, and ends it."""
        place = f"batch {self.batch} of epoch {self.epoch + 1}"
        if peers.is_first():
            print(f"\nAsked to end. {self.folder} has a checkpoint after {place}.{self._going_on()}", file=sys.stderr)
        self._signals.deliver(asked)

    def _going_on(self) -> str:
        """Returns a sentence that says how to go on from a checkpoint; "" where the caller knows."""
        return ""

    def _signal_of_any(self) -> int:
        return peers.gathered([self._signals.number]).max()

    def _go_on(self) -> None:
        """Makes the step function train again."""
        if self._fit.only_reads:
            self._fit.train()
            self._values = {}

    def _restore(self, kinds: str = "vsm") -> None:
        model, steps = self.model, self._model.steps_per_execution
        if self.batch % steps:
            raise ValueError(
                f"Expected steps_per_execution to divide the {self.batch} batches that are done. Received: "
                f"steps_per_execution={steps}"
            )
        if not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        for kind in kinds:
            variables = _variables(model)[kind]
            saved = [self._values[key] for key in self._values if key.startswith(kind)]
            if kind == "m" and len(variables) < len(saved):
                continue  # Keras has not made them yet
            if [value.shape for value in saved] != [tuple(variable.shape) for variable in variables]:
                raise ValueError(f"Expected a checkpoint of this model and optimizer. Received: that in {self.folder}")
            for variable, value in zip(variables, saved, strict=True):
                variable.assign(value)
        if not self.batch:
            self._values = {}  # an epoch begins as it does

    # Files.

    def _read(self) -> dict[str, Any]:
        """Returns the arrays of the latest sound checkpoint, if there is one, and takes the place from it."""
        errors = []
        for name in (_LATEST, _BEFORE):
            path = self.folder / name
            try:
                values = _read_arrays(path)  # all of them, so that damage is found here
                history = _read_history(str(values.pop("history")), self._results)
                place = json.loads(str(values.pop("place")))
                progress, logs = Progress(), _as_json(place["logs"])
                progress.epoch, progress.batch, progress.history = len(history), operator.index(place["batch"]), history
                if progress.batch < 0:
                    raise ValueError(f"{progress.batch} batches are done")
                self._progress, self._logs = progress, logs
            except FileNotFoundError:
                continue
            except DAMAGE as error:
                errors.append(f"{path} is damaged: {error}.")
                continue
            if errors:
                logger.warning("%s The training goes on from the checkpoint before.", errors[0])
            return values
        if errors:
            raise ValueError(f"{errors[0]} The training cannot go on.")
        return {}

    def _values_of(self, kinds: str) -> dict[str, np.ndarray]:
        """Returns the values of the variables of some kinds, a dict of arrays."""
        variables = _variables(self.model)
        return {f"{kind}{i}": _as_saved(peers.whole(each)) for kind in kinds for i, each in enumerate(variables[kind])}

    def _write(self) -> None:
        place = {"batch": self.batch, "logs": _as_json(self._logs)}
        with weights_themselves(self.model):
            values = {**self._values_of("vsm"), **self._kept}
        latest = self.folder / _LATEST

        def write() -> None:
            make_folder(self.folder)
            with atomic_write(latest) as temporary:
                with temporary.open("wb") as file:
                    np.savez(file, history=json.dumps(self.history), place=json.dumps(place), **values)
                with contextlib.suppress(FileNotFoundError):
                    latest.replace(self.folder / _BEFORE)

        peers.by_first(write)
        self._written = time.monotonic()


def _variables(model: keras.Model) -> dict[str, list[keras.Variable]]:
    """Returns the variables that a training depends on, in a fixed order, by kind; none of evaluation's states."""
    layers = stateful_layers(model)
    states = [variable for layer in layers for variable in keras.tree.flatten(layer.states)]
    further = [part.state_variables() for part in (model, *layers) if hasattr(part, "state_variables")]
    apart = {id(variable) for variable in [*states, *itertools.chain(*further)]}
    return {
        "v": [variable for variable in [*model.variables, *model.optimizer.variables] if id(variable) not in apart],
        "s": states,
        "m": model.metrics_variables,
    }


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Returns the arrays of a file of `numpy.savez`, never more than it holds; raises one of `DAMAGE` for any other."""
    check_regular(path)
    with zipfile.ZipFile(path) as archive:
        if sum(part.file_size for part in archive.infolist()) > path.stat().st_size:
            raise ValueError("its arrays are larger than the file")
        return {part.filename.removesuffix(".npy"): _as_array(archive.read(part)) for part in archive.infolist()}


def _as_array(content: bytes) -> np.ndarray:
    """Returns the array in the bytes of an .npy file; `numpy.load` would make it before it knows that they suffice."""
    file = io.BytesIO(content)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("its format is another")
    shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype.kind not in "biufU":
        raise ValueError(f"it holds values of type {dtype}")
    values = np.frombuffer(memoryview(content)[file.tell() :], dtype)
    return values.reshape(shape, order="F" if is_fortran else "C")


def _read_history(text: str, names: Iterable[str]) -> list[dict[str, float]]:
    """Returns the results of the epochs, a list of dicts; raises ValueError for what no training has written."""
    history = json.loads(text)
    if not isinstance(history, list):
        raise ValueError(f"its epochs are {text:.50}")
    for row in history:
        numbers = isinstance(row, dict) and all(isinstance(value, int | float | list) for value in row.values())
        if not numbers or "epoch" not in row or not all(math.isfinite(row.get(name, math.nan)) for name in names):
            raise ValueError(f"the results of an epoch are {json.dumps(row):.200}")
    return history


def _as_json(logs: Mapping[str, Any]) -> dict[str, Any]:
    """Returns results as JSON has them; metrics such as `keras.metrics.F1Score` have several numbers."""
    return {name: np.asarray(value, "float64").tolist() for name, value in dict(logs).items()}


def _as_saved(value: np.ndarray) -> np.ndarray:
    return value.astype("float32") if value.dtype.kind == "V" else value  # numpy's files know no bfloat16
