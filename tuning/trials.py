"""Runs one trial after another, in each worker of a search or in a search of one process."""

import contextlib
import errno
import io
import math
import shutil
import socket
import time
import traceback
from pathlib import Path

import grpc
import keras
import keras_tuner as kt
import numpy as np
import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams

import kerasptb
from kerasptb.models.weights import save_weights
from kerasptb.tuning.built_models import arguments_of
from kerasptb.tuning.oracles import COMPLETED, FAILED, REJECTED, make_oracle
from kerasptb.tuning.records import OBJECTIVE, PROJECT, RUN, SEARCH, Record, copy_folder, settings_of
from kerasptb.tuning.search_space import LanguageModelSpace, count_parameters, overrides_fit, yields_settings
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

    def __init__(self, oracle, hypermodel, corpus, settings):
        self.corpus = corpus
        self.settings = settings
        self._asked = False
        super().__init__(oracle, hypermodel, directory=str(settings.folder), project_name=PROJECT)
        if self._is_worker():
            self.oracle = _RetryingClient(self.oracle)

    def pre_create_trial(self):
        """Waits a moment before asking a second time: KerasTuner asks again at once when there is no trial yet."""
        if self._asked:
            time.sleep(1)
        self._asked = True

    def on_trial_begin(self, trial):
        """Frees what the previous trial left."""
        self._asked = False
        keras.backend.clear_session()
        if overrides_fit(self.hypermodel):
            keras.utils.set_random_seed(self.settings.seed)  # otherwise `kerasptb.train` sets it

    def run_trial(self, trial):
        """Trains a trial, unless its model has too many parameters; returns metrics with "val_perplexity", a dict."""
        folder = Path(self.get_trial_dir(trial.trial_id))
        record = Record.load(folder)
        record.tuner, record.host = self.tuner_id, socket.gethostname()
        record.attempts += 1
        record.ended, record.reason = False, None  # those of an attempt whose end nobody heard of
        record.planned_epochs = trial.hyperparameters.values.get("tuner/epochs", self.settings.epochs)
        record.save(folder)
        if record.attempts > MAX_ATTEMPTS:
            raise RuntimeError(
                f"the process running this trial was killed {MAX_ATTEMPTS} times; did the system run out of memory?"
            )
        if yields_settings(self.hypermodel):
            arguments = self.hypermodel.model_arguments(trial.hyperparameters)
            self._limit_parameters(count_parameters(**arguments), folder, record)
            metrics = self._train_into_run(trial, arguments, {}, folder, record)
        else:
            metrics = self._train_built_model(trial, folder, record)
        if not math.isfinite(metrics[OBJECTIVE]):
            raise kerasptb.callbacks.TrainingDivergedError(f"the validation perplexity is {metrics[OBJECTIVE]}")
        return metrics

    def _populate_initial_space(self):
        """Declares the settings: without a model for a `LanguageModelSpace`, and not in a worker for other spaces."""
        if isinstance(self.hypermodel, LanguageModelSpace):
            hp = self.oracle.get_space()
            self.hypermodel.declare_hyperparameters(hp)
            self.oracle.update_space(hp)
        elif not self._is_worker():
            super()._populate_initial_space()

    def _get_tuner_fname(self):
        """Returns the oracle's file: the tuner has no state, and KerasTuner would not write its file atomically."""
        return self.oracle._get_oracle_fname()

    def save(self):
        """Writes the oracle's state, except in a worker: the chief has it."""
        if not self._is_worker():
            self.oracle.save()

    def reload(self):
        """Restores the oracle's state, except in a worker."""
        if not self._is_worker():
            self.oracle.reload()

    def _try_run_and_update_trial(self, trial, *fit_args, **fit_kwargs):
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

    def _limit_parameters(self, parameters, folder, record):
        """Records the number of parameters, if it is known; raises if there are too many."""
        if parameters is not None:
            record.parameters = parameters
            record.save(folder)
        if (record.parameters or 0) > self.settings.max_parameters:
            raise TrialRejectedError(
                f"{record.parameters:,} parameters, where {self.settings.max_parameters:,} are allowed"
            )

    def _train_built_model(self, trial, folder, record):
        model = self.hypermodel.build(trial.hyperparameters)
        self._limit_parameters(_parameters_of(model), folder, record)
        if isinstance(model, kerasptb.LanguageModel) and not overrides_fit(self.hypermodel):
            arguments, training = arguments_of(model)
            del model  # the training makes its own
            return self._train_into_run(trial, arguments, training, folder, record)
        metrics = self._train_by_own_fit(trial, model, folder, record)
        self._limit_parameters(_parameters_of(model), folder, record)  # some models are built only by `fit`
        return metrics

    def _train_into_run(self, trial, arguments, training, folder, record):
        if hasattr(self.hypermodel, "training_arguments"):
            training = {**training, **self.hypermodel.training_arguments(trial.hyperparameters)}
        if "epochs" in training:
            raise ValueError("A search gives each trial its epochs. Received: training_arguments with 'epochs'")
        run_folder, judged = folder / RUN, len(record.curve)
        resume = self._prepare_resume(trial, run_folder, record)
        # A trial that a rule stopped before it was interrupted is only evaluated, if the run has its last epoch.
        stopped = resume and record.stopped not in (None, TIME_LIMIT) and len(record.curve) >= judged
        if not stopped:
            record.stopped = None
        epochs = len(record.curve) if stopped else record.planned_epochs
        new = {
            "model_arguments": {"seed": self.settings.seed, **arguments},
            "preset": getattr(self.hypermodel, "preset", "notebook"),
            "training_arguments": training,
            "steps_per_epoch": self.settings.steps_per_epoch,
            "batch_arguments": {"parts": self.settings.parts},
            "start_from": self.settings.start_from,
        }
        run = kerasptb.train(
            self.corpus,
            epochs=epochs,
            out=run_folder,
            resume=resume,
            callbacks=[self._stopping(folder, record)],
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
        record.save(folder)
        return {
            OBJECTIVE: perplexity,
            "perplexity": record.train_perplexity,
            "words_per_second": record.words_per_second,
            "parameters": record.parameters,
            "epochs": metrics["epochs"],
        }

    def _train_by_own_fit(self, trial, model, folder, record):
        record.curve, record.rates = [], []
        best = _KeepBestWeights(folder / WEIGHTS)
        result = self.hypermodel.fit(
            trial.hyperparameters,
            model,
            corpus=self.corpus,
            epochs=record.planned_epochs,
            callbacks=[self._stopping(folder, record), best],
            verbose=0,
        )
        metrics = _as_metrics(result)
        record.save(folder)
        if best.perplexity is None and isinstance(model, keras.Model) and model.built:
            save_weights(model, folder / WEIGHTS)
        return metrics

    def _stopping(self, folder, record):
        return TrialEarlyStopping(
            folder,
            self.settings.folder,
            record,
            record.planned_epochs,
            judge=self.settings.early_stopping and self.settings.tuner != "hyperband",
            # A worker that began before its chief may have read the deadline of an earlier start.
            deadline=(read_json(self.settings.folder / SEARCH) or {}).get("deadline", self.settings.deadline),
        )

    def _prepare_resume(self, trial, run_folder, record):
        """Returns whether there is a run to resume: the trial's or, in Hyperband's later rounds, its predecessor's."""
        predecessor = trial.hyperparameters.values.get("tuner/trial_id")
        if predecessor and not run_folder.exists():
            copy_folder(Path(self.get_trial_dir(predecessor)) / RUN, run_folder)
        try:
            run = kerasptb.load_run(run_folder)
        except ValueError:
            # There is no run yet, or it is incomplete.
            shutil.rmtree(run_folder, ignore_errors=True)
            record.curve, record.rates = [], []
            return False
        record.curve = [row["val_perplexity"] for row in run.history]
        record.rates = [row.get("learning_rate") for row in run.history]
        return True


def run_process(settings, space, corpus, keep_running=False, restarted=False):
    """Runs this process's part of a search to its end: KerasTuner's variables say which. A chief needs no corpus."""
    oracle = make_oracle(
        settings.tuner,
        settings.trials,
        settings.epochs,
        settings.seed,
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
    runner.search()


def evaluation_batches(ids):
    """Returns the batch size and steps at which all trials are compared on a text: the notebook's, or fewer."""
    num_steps = min(_EVALUATION_STEPS, len(ids) - 1)
    return min(_EVALUATION_BATCH, len(ids) // (num_steps + 1)), num_steps


def describe_failure(error):
    """Returns why a trial failed, in a line."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    if isinstance(error, TrialRejectedError):
        return f"{REJECTED}: {lines[0]}"
    if isinstance(error, kerasptb.callbacks.TrainingDivergedError):
        return f"diverged: {lines[0]}"
    if isinstance(error, MemoryError | tf.errors.ResourceExhaustedError):
        return f"out of memory: {lines[0]}"
    return f"{type(error).__name__}: {lines[0]}"


class _KeepBestWeights(keras.callbacks.Callback):
    """Saves the weights of the epoch with the lowest perplexity."""

    def __init__(self, path):
        super().__init__()
        self._path = path
        self.perplexity = None

    def on_epoch_end(self, epoch, logs=None):
        perplexity = (logs or {}).get(OBJECTIVE, math.nan)
        if perplexity < (math.inf if self.perplexity is None else self.perplexity):
            save_weights(self.model, self._path)
            self.perplexity = perplexity


def _parameters_of(model):
    return model.count_params() if getattr(model, "built", False) and hasattr(model, "count_params") else None


def _as_metrics(result):
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


def _write_hparams(folder, trial, metrics):
    """Writes settings and results where TensorBoard's HParams page finds them."""
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

    def __init__(self, client):
        self._client = client

    def __getattr__(self, name):
        attribute = getattr(self._client, name)
        if not callable(attribute):
            return attribute

        def call(*args, **kwargs):
            give_up = time.time() + _RETRY_SECONDS
            while True:
                try:
                    return attribute(*args, **kwargs)
                except grpc.RpcError as error:
                    if error.code() != grpc.StatusCode.UNAVAILABLE or time.time() > give_up:
                        raise
                    time.sleep(1)

        return call
