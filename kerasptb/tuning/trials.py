"""Runs one trial after another, in each worker of a search or in a search of one process."""

import contextlib
import dataclasses
import errno
import io
import logging
import math
import shutil
import socket
import time
import traceback
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import grpc
import keras
import keras_tuner as kt
import numpy as np

import kerasptb
from kerasptb.models.weights import save_weights
from kerasptb.tuning.begun import Space
from kerasptb.tuning.built_models import arguments_of
from kerasptb.tuning.oracles import COMPLETED, FAILED, REJECTED, make_oracle
from kerasptb.tuning.records import OBJECTIVE, PROJECT, RUN, SEARCH, Record, copy_folder, settings_of
from kerasptb.tuning.search_space import LanguageModelSpace, count_parameters, overrides_fit, yields_settings
from kerasptb.tuning.settings import SearchSettings
from kerasptb.tuning.stopping import TIME_LIMIT, TrialEarlyStopping
from kerasptb.utils.files import finite, read_json

WEIGHTS = "model.weights.h5"  # of a trial with a `fit` of its own

# A trial is not begun again once its process was killed this often: most likely the system runs out of memory.
MAX_ATTEMPTS = 3

# The notebook's batches of validation. All trials are compared at these, whatever batches they train with.
_EVALUATION_BATCH = 60
_EVALUATION_STEPS = 20

# Seconds that a worker waits for a chief that has gone.
_RETRY_SECONDS = 600


class TrialRejectedError(ValueError):
    """The trial's model has more parameters than the search allows."""


class TrialRunner(kt.engine.base_tuner.BaseTuner):
    """A KerasTuner tuner that trains each trial into a run folder by `kerasptb.train`, and records the result.

    An interrupted trial goes on after its latest checkpoint. A space with a `fit` of its own trains its models itself.
    """

    oracle: Any

    def __init__(self, oracle: Any, hypermodel: Space, corpus: Any, settings: SearchSettings) -> None:
        self.corpus = corpus  # None in a chief, which trains nothing
        self.settings = settings
        self._asked = False
        super().__init__(oracle, hypermodel, directory=str(settings.folder), project_name=PROJECT)
        if self._is_worker():
            self.oracle = _RetryingClient(self.oracle)

    def pre_create_trial(self) -> None:
        """Waits a moment before asking a second time: KerasTuner asks again at once when there is no trial yet."""
        if self._asked:
            time.sleep(1)
        self._asked = True

    def on_trial_begin(self, trial: kt.engine.trial.Trial) -> None:
        """Frees what the previous trial left."""
        self._asked = False
        keras.backend.clear_session()
        if overrides_fit(self.hypermodel):
            keras.utils.set_random_seed(self.settings.seed)  # otherwise `kerasptb.train` sets it

    def run_trial(self, trial: kt.engine.trial.Trial) -> dict[str, float]:
        """Trains a trial, unless its model has too many parameters; returns metrics with "val_perplexity", a dict."""
        folder = Path(self.get_trial_dir(trial.trial_id))
        record, values = Record.load(folder), trial.hyperparameters.values
        record.tuner, record.host = self.tuner_id, socket.gethostname()
        record.attempts += 1
        record.ended, record.reason = False, None  # those of an attempt whose end nobody heard of
        record.planned_epochs = values.get("tuner/epochs", self.settings.epochs)
        record.save(folder)
        if record.attempts > MAX_ATTEMPTS:
            raise RuntimeError(
                f"the process running this trial was killed {MAX_ATTEMPTS} times; did the system run out of memory?"
            )
        # In Hyperband's later rounds, that whose training goes on.
        before = Path(self.get_trial_dir(values["tuner/trial_id"])) if values.get("tuner/trial_id") else None
        attempt = Attempt(trial.hyperparameters, folder, before, record, self.hypermodel, self.corpus, self.settings)
        metrics = attempt.run()
        if not math.isfinite(metrics[OBJECTIVE]):
            raise kerasptb.callbacks.TrainingDivergedError(f"the validation perplexity is {metrics[OBJECTIVE]}")
        return metrics

    def _populate_initial_space(self) -> None:
        """Declares the settings: without a model for a `LanguageModelSpace`, and not in a worker for other spaces."""
        if isinstance(self.hypermodel, LanguageModelSpace):
            hp = self.oracle.get_space()
            self.hypermodel.declare_hyperparameters(hp)
            self.oracle.update_space(hp)
        elif not self._is_worker():
            super()._populate_initial_space()

    def _get_tuner_fname(self) -> str:
        """Returns the oracle's file: the tuner has no state, and KerasTuner would not write its file atomically."""
        return self.oracle._get_oracle_fname()

    def save(self) -> None:
        """Writes the oracle's state, except in a worker: the chief has it."""
        if not self._is_worker():
            self.oracle.save()

    def reload(self) -> None:
        """Restores the oracle's state, except in a worker."""
        if not self._is_worker():
            self.oracle.reload()

    def _try_run_and_update_trial(self, trial: kt.engine.trial.Trial, *fit_args: Any, **fit_kwargs: Any) -> None:
        """Runs a trial and reports it; replaces KerasTuner's method, which turns every error into a silent INVALID."""
        folder, begun, metrics, reason = Path(self.get_trial_dir(trial.trial_id)), time.time(), {}, None
        try:
            metrics = self.run_trial(trial)
        except Exception as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                # The disk is full: all other trials would fail, too. This one runs again; the attempt does not count.
                with contextlib.suppress(OSError):
                    record = Record.load(folder)
                    record.attempts -= 1
                    record.save(folder)
                raise
            (folder / "error.txt").write_text(traceback.format_exc(), encoding="utf-8")
            reason = describe_failure(error)
        record = Record.load(folder)
        record.seconds = max(record.seconds, time.time() - begun)
        if reason is None:
            # KerasTuner writes all of them into a file that holds no others.
            metrics = {name: value for name, value in metrics.items() if math.isfinite(value)}
            self.oracle.update_trial(trial.trial_id, metrics)
            # Not before: a trial that is written as completed, and killed here, would have no score.
            trial.status = COMPLETED
            _write_hparams(folder, trial, metrics)
        else:
            trial.status, trial.message = FAILED, reason
        record.attempts, record.ended, record.reason = 0, True, reason
        record.save(folder)


@dataclasses.dataclass(frozen=True)
class Attempt:
    """A go at a trial."""

    hp: kt.HyperParameters
    folder: Path
    before: Path | None  # the folder of a trial whose run goes on here
    record: Record  # which is kept up to date in the folder
    space: Any
    corpus: kerasptb.Corpus
    settings: SearchSettings

    def run(self) -> dict[str, float]:
        """Trains the trial, unless its model has too many parameters; returns its metrics."""
        if yields_settings(self.space):
            arguments = self.space.model_arguments(self.hp)
            self._limit_parameters(count_parameters(**arguments))
            return self._train_into_run(arguments)
        model = self.space.build(self.hp)
        self._limit_parameters(_parameters_of(model))
        if isinstance(model, kerasptb.LanguageModel) and not overrides_fit(self.space):
            arguments, training = arguments_of(model)
            del model  # the training makes its own
            return self._train_into_run(arguments, training)
        metrics = self._train_by_own_fit(model)
        self._limit_parameters(_parameters_of(model))  # some models are built only by `fit`
        return metrics

    def _limit_parameters(self, parameters: int | None) -> None:
        """Records the number of parameters, if it is known; raises if there are too many."""
        if parameters is not None:
            self.record.parameters = parameters
            self.record.save(self.folder)
        if (self.record.parameters or 0) > self.settings.max_parameters:
            raise TrialRejectedError(
                f"{self.record.parameters:,} parameters, where {self.settings.max_parameters:,} are allowed"
            )

    def _train_into_run(self, arguments: dict[str, Any], compiled: dict[str, Any] | None = None) -> dict[str, float]:
        training = dict(compiled or {})
        if hasattr(self.space, "training_arguments"):
            training |= self.space.training_arguments(self.hp)
        if "epochs" in training:
            raise ValueError("A search gives each trial its epochs. Received: training_arguments with 'epochs'")
        record, judged = self.record, len(self.record.curve)
        resume = self._prepare_resume()
        # A trial that a rule stopped before it was interrupted is only evaluated, if the run has its last epoch.
        stopped = resume and record.stopped not in (None, TIME_LIMIT) and len(record.curve) >= judged
        if not stopped:
            record.stopped = None
        new: dict[str, Any] = {
            "model_arguments": {"seed": self.settings.seed, **arguments},
            "preset": getattr(self.space, "preset", "notebook"),
            "training_arguments": training,
            "steps_per_epoch": self.settings.steps_per_epoch,
            "batch_arguments": {"parts": self.settings.parts},
            "start_from": self.settings.start_from,
        }
        run = kerasptb.train(
            self.corpus,
            epochs=len(record.curve) if stopped else record.planned_epochs,
            out=self.folder / RUN,
            resume=resume,
            callbacks=[self._stopping()],
            verbose=0,
            **({} if resume else new),
        )
        metrics = run.metrics
        if metrics["interrupted"]:
            # An interrupted `train` returns what it has. Here the trial must be taken up again.
            raise KeyboardInterrupt
        record.words_per_second, record.train_perplexity = metrics["words_per_second"], metrics["train_perplexity"]
        valid = self.corpus.valid
        perplexity = kerasptb.evaluate_perplexity(run.load_model(), valid, *evaluation_batches(valid))
        record.bits_per_byte = finite(self.corpus.count("valid").bits_per_byte(perplexity))
        record.save(self.folder)
        return {
            OBJECTIVE: perplexity,
            "perplexity": metrics["train_perplexity"],
            "words_per_second": metrics["words_per_second"],
            "parameters": record.parameters or 0,
            "epochs": metrics["epochs"],
        }

    def _train_by_own_fit(self, model: Any) -> dict[str, float]:
        self.record.curve, self.record.rates = [], []
        best = _KeepBestWeights(self.folder / WEIGHTS)
        result = self.space.fit(
            self.hp,
            model,
            corpus=self.corpus,
            epochs=self.record.planned_epochs,
            callbacks=[self._stopping(), best],
            verbose=0,
        )
        metrics = _as_metrics(result)
        self.record.save(self.folder)
        if best.perplexity is None and isinstance(model, keras.Model) and model.built:
            save_weights(model, self.folder / WEIGHTS)
        return metrics

    def _stopping(self) -> TrialEarlyStopping:
        # A worker that began before its chief may have read the deadline of an earlier start.
        now = read_json(self.settings.folder / SEARCH) or {}
        return TrialEarlyStopping(
            self.folder,
            self.record,
            judge=self.settings.early_stopping and self.settings.tuner != "hyperband",
            deadline=now.get("deadline", self.settings.deadline),
        )

    def _prepare_resume(self) -> bool:
        """Returns whether there is a run to resume: the trial's own, or that of the one before."""
        run_folder = self.folder / RUN
        if self.before is not None and not run_folder.exists():
            copy_folder(self.before / RUN, run_folder)
        try:
            history = kerasptb.load_run(run_folder).history
        except ValueError:  # there is no run yet, or it is incomplete
            shutil.rmtree(run_folder, ignore_errors=True)
            self.record.curve, self.record.rates = [], []
            return False
        self.record.curve = [row["val_perplexity"] for row in history]
        self.record.rates = [row.get("learning_rate") for row in history]
        return True


def run_process(
    settings: SearchSettings,
    space: Space,
    corpus: kerasptb.Corpus | None,
    keep_running: bool = False,
    restarted: bool = False,
) -> None:
    """Runs this process's part of a search to its end: KerasTuner's variables say which. A chief needs no corpus."""
    oracle = make_oracle(
        settings.tuner,
        settings.trials,
        settings.epochs,
        settings.seed or 0,
        fit_sample=getattr(space, "fit_sample", None),
        deadline=settings.deadline,
        max_failures=settings.max_failures,
        keep_running=keep_running,
        restarted=restarted,
    )
    # KerasTuner prints which file it reads.
    with contextlib.redirect_stdout(io.StringIO()):
        runner = TrialRunner(oracle, space, corpus, settings)
    # Saved now, not after the first trial: KerasTuner looks for this file to know whether there is a search to resume.
    runner.save()
    logger = logging.getLogger("tensorflow")
    logger.addFilter(_is_of_no_trial)
    try:
        runner.search()
    finally:
        logger.removeFilter(_is_of_no_trial)


def _is_of_no_trial(notice: logging.LogRecord) -> bool:
    """Whether TensorFlow says anything but that steps are traced again: each trial has a model of its own."""
    return "triggered tf.function retracing" not in notice.getMessage()


def evaluation_batches(ids: np.ndarray) -> tuple[int, int]:
    """Returns the batch size and steps at which all trials are compared on a text: the notebook's, or fewer."""
    num_steps = min(_EVALUATION_STEPS, len(ids) - 1)
    return min(_EVALUATION_BATCH, len(ids) // (num_steps + 1)), num_steps


def describe_failure(error: Exception) -> str:
    """Returns why a trial failed, in a line."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    if isinstance(error, TrialRejectedError):
        return f"{REJECTED}: {lines[0]}"
    if isinstance(error, kerasptb.callbacks.TrainingDivergedError):
        return f"diverged: {lines[0]}"
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":  # TensorFlow's
        return f"out of memory: {lines[0]}"
    return f"{type(error).__name__}: {lines[0]}"


class _KeepBestWeights(keras.callbacks.Callback):
    """Saves the weights of the epoch with the lowest perplexity."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self.perplexity: float | None = None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        perplexity = (logs or {}).get(OBJECTIVE, math.nan)
        if perplexity < (math.inf if self.perplexity is None else self.perplexity):
            save_weights(self.model, self._path)
            self.perplexity = perplexity


def _parameters_of(model: Any) -> int | None:
    return model.count_params() if getattr(model, "built", False) and hasattr(model, "count_params") else None


def _as_metrics(result: Any) -> dict[str, float]:
    """Converts the result of the user's own `fit` to a dict of metrics."""
    if isinstance(result, keras.callbacks.History):
        history = result.history
        if history.get(OBJECTIVE):
            # If the training diverged from the start, no epoch has a finite number, and any of them will do.
            best = int(np.argmin(np.nan_to_num(history[OBJECTIVE], nan=np.inf)))
            return {name: float(values[best]) for name, values in history.items() if len(values) > best}
        result = sorted(history)
    elif isinstance(result, dict) and OBJECTIVE in result:
        return {name: float(value) for name, value in result.items()}
    elif isinstance(result, int | float | np.floating):
        return {OBJECTIVE: float(result)}
    raise TypeError(
        f"Expected HyperModel.fit to return a History or a dict with {OBJECTIVE!r}, or a number. Received: {result!r}"
    )


def _write_hparams(folder: Path, trial: kt.engine.trial.Trial, metrics: dict[str, float]) -> None:
    """Writes settings and results where TensorBoard's HParams page finds them, if TensorFlow is there to do so."""
    if find_spec("tensorflow") is None:
        return
    import tensorflow as tf  # noqa: PLC0415
    from tensorboard.plugins.hparams import api as hparams  # noqa: PLC0415

    values = settings_of(trial.hyperparameters.values)
    shutil.rmtree(folder / "hparams", ignore_errors=True)
    writer = tf.summary.create_file_writer(str(folder / "hparams"))
    with writer.as_default():
        hparams.hparams(values, trial_id=trial.trial_id)
        for name, value in metrics.items():
            tf.summary.scalar(name, value, step=0)
    writer.close()


class _RetryingClient:
    """A worker's connection to the chief, which outlives the chief: calls wait for its successor.

    Each call may be repeated: either the killed chief has saved the call's effect, and its successor knows it, or there
    was no effect.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._client, name)
        if not callable(attribute):
            return attribute

        def call(*args: Any, **kwargs: Any) -> Any:
            give_up = time.time() + _RETRY_SECONDS
            while True:
                try:
                    return attribute(*args, **kwargs)
                except grpc.RpcError as error:
                    if error.code() != grpc.StatusCode.UNAVAILABLE or time.time() > give_up:
                        raise
                    time.sleep(1)

        return call
