"""KerasTuner's three oracles, extended for a search that runs for hours in several processes.

An oracle draws the trials' settings. The mixin adds to all three:

- a sample whose model would exceed the parameter limit is fitted to the limit before it becomes a trial;
- the search ends when `max_failures` trials have failed for one reason, or at its time limit;
- files are written atomically, so that the search can go on after a process was killed while it wrote;
- a chief that is started again leaves the running trials with their workers, which still train them.
"""

import collections
import json
import re
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras_tuner as kt
import numpy as np

from kerasptb.tuning.records import OBJECTIVE, Record
from kerasptb.utils.files import write_json

RUNNING = kt.engine.trial.TrialStatus.RUNNING
COMPLETED = kt.engine.trial.TrialStatus.COMPLETED
FAILED = kt.engine.trial.TrialStatus.FAILED
STOPPED = kt.engine.trial.TrialStatus.STOPPED

# The message of a trial with too many parameters begins so. The space is the cause, not the machine: such trials never
# end the search.
REJECTED = "rejected"

# Part of `stop_reason` when failing trials have ended the search.
FAILING = "trials failed for one reason"


class SearchOracle(kt.Oracle):
    """What all three have, before KerasTuner's class among the bases; see the module's docstring."""

    trials: dict[str, kt.engine.trial.Trial]
    _retry_queue: list[str]
    # From sampled values to some within the limit.
    fit_sample: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    deadline: float | None = None  # time, in seconds since 1970, after which no trial begins
    max_failures = 3  # for one reason, after which the search ends
    keep_running = False  # whether `reload` leaves the running trials with their workers, which go on with them
    restarted = False  # whether `reload` continues the same session: its failures count, and its `stop_reason` holds
    stop_reason: str | None = None  # why the search ended early

    def __init__(self, **kwargs: Any) -> None:
        # KerasTuner's own limit raises while it holds a lock, which is then never released: a chief would hang.
        super().__init__(max_consecutive_failed_trials=10**9, **kwargs)
        self._failures: collections.Counter[str] = collections.Counter()

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Draws the settings of a trial; see `keras_tuner.Oracle`."""
        return self._fitted(super().populate_space(trial_id))

    def _fitted(self, answer: dict[str, Any]) -> dict[str, Any]:
        if answer.get("values") and self.fit_sample:
            answer["values"] = self.fit_sample(answer["values"])
        return answer

    def _duplicate(self, values: dict[str, Any]) -> bool:
        # Fitting may turn two samples into the same model.
        return super()._duplicate(self.fit_sample(values) if self.fit_sample else values)

    @kt.synchronized
    def create_trial(self, tuner_id: str) -> kt.engine.trial.Trial:
        """Returns a worker's next trial: the one it had when it died, a new one, or one that says stop."""
        if self.stop_reason is None and self.deadline and time.time() > self.deadline:
            self.stop_reason = "the time limit was reached"
            self.save()
        if self.stop_reason is None:
            trial = super().create_trial(tuner_id)
            if trial.status == STOPPED and len(self.trials) < self.max_trials and not self.ongoing_trials:
                self.stop_reason = "the tuner found no settings that have not been tried"
                self.save()
            return trial
        lost = self.ongoing_trials.pop(tuner_id, None)
        if lost is not None:
            # The worker died with this trial, and the search is over. A resumed search runs the trial again.
            self._retry_queue.append(lost.trial_id)
            self.save()
        self.tuner_ids.discard(tuner_id)
        return kt.engine.trial.Trial(self.hyperparameters.copy(), status=STOPPED)

    @kt.synchronized
    def end_trial(self, trial: kt.engine.trial.Trial) -> None:
        """Records a trial's end, and counts failures."""
        known = self.trials[trial.trial_id]
        if all(known is not ongoing for ongoing in self.ongoing_trials.values()):
            return  # the worker reports the end again, because the chief was killed before it could answer
        record = Record.load(self._get_trial_dir(trial.trial_id))
        # KerasTuner's messages between processes do not contain the reason.
        trial.message = trial.message or record.reason
        super().end_trial(trial)
        if known.status == FAILED:
            self._count_failure(known.message or "its perplexity was not a number")
        # KerasTuner's state, written while the trial still counted as running, would have it trained again.
        self.save()

    def get_state(self) -> dict[str, Any]:
        """Returns the state that `save` writes."""
        return {**super().get_state(), "failures": dict(self._failures), "stop_reason": self.stop_reason}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores the state that `save` wrote."""
        super().set_state(state)
        if self.restarted:
            self._failures = collections.Counter(state["failures"])
            self.stop_reason = state["stop_reason"]

    def save(self) -> None:
        """Writes the state atomically."""
        write_json(self._get_oracle_fname(), self.get_state())

    def reload(self) -> None:
        """Restores the state from the project's folder, in whose name KerasTuner would read brackets as a pattern."""
        for path in sorted(Path(self._project_dir).glob("trial_*/trial.json")):
            trial = kt.engine.trial.Trial.load(str(path))
            self.trials[trial.trial_id] = trial
        state = json.loads(Path(self._get_oracle_fname()).read_text(encoding="utf-8"))
        self.set_state(state)
        ongoing = state["ongoing_trials"] if self.keep_running else {}
        self.ongoing_trials = {tuner_id: self.trials[trial_id] for tuner_id, trial_id in ongoing.items()}
        # A trial's end is written before the state, so the queue may hold ended trials; a trial's folder, too, so that
        # the state may lack a trial that runs.
        running = [name for name, trial in self.trials.items() if trial.status == RUNNING]
        queue = [name for name in self._retry_queue if self.trials[name].status not in (COMPLETED, FAILED)]
        self._retry_queue = [*queue, *(name for name in running if name not in {*queue, *ongoing.values()})]

    def _save_trial(self, trial: kt.engine.trial.Trial) -> None:
        write_json(Path(self._get_trial_dir(trial.trial_id)) / "trial.json", trial.get_state())

    def _count_failure(self, message: str) -> None:
        if message.startswith(REJECTED):
            return
        self._failures[failure_kind(message)] += 1
        if self._failures[failure_kind(message)] >= self.max_failures and self.stop_reason is None:
            self.stop_reason = f"{self.max_failures} {FAILING}: {message}"


class RandomOracle(SearchOracle, kt.oracles.RandomSearchOracle):
    """Draws settings at random."""


class BayesianOracle(SearchOracle, kt.oracles.BayesianOptimizationOracle):
    """Draws the first settings at random, later ones where a Gaussian process expects the best."""

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Draws the settings of a trial; see `keras_tuner.Oracle`."""
        # The random state is not saved: with the plain seed, a resumed search would draw its first settings again.
        self._random_state = np.random.RandomState((self.seed + len(self.trials)) % 2**32)
        with warnings.catch_warnings():
            # The Gaussian process warns when a setting seems not to matter. With ten trials, some always do.
            warnings.filterwarnings("ignore", module="sklearn")
            self._fit_process_to_completed()
            answer = super().populate_space(trial_id)
        if answer.get("values") and self._duplicate(answer["values"]):
            answer = self._fitted(self._random_populate_space())  # all trials have one seed: same result
        return answer

    def _fit_process_to_completed(self) -> None:
        """Fits the Gaussian process to the completed trials, so that it can predict what the running ones may reach.

        At a chief's first proposal, KerasTuner asks the process before it is fitted. Its answer is a perplexity of 1,
        and KerasTuner proposes the running trials' settings again.
        """
        completed = {trial_id: trial for trial_id, trial in self.trials.items() if trial.status == COMPLETED}
        if not self.ongoing_trials or len(completed) < self.num_initial_points:
            return
        every, self.trials = self.trials, completed
        try:
            self.gpr.fit(*self._vectorize_trials())
        finally:
            self.trials = every


class HyperbandOracle(SearchOracle, kt.oracles.HyperbandOracle):
    """Draws many settings, trains them for few epochs, and goes on with the best."""

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores the state that `save` wrote, but not its iterations: a resumed search may have more trials."""
        super().set_state({**state, "hyperband_iterations": self.hyperband_iterations})


def make_oracle(tuner: str, trials: int, epochs: int, seed: int, **attributes: Any) -> kt.Oracle:
    """Returns the `SearchOracle` of a search, of so many trials; the seed is that of its draws."""
    # KerasTuner treats a seed of 0 as no seed.
    arguments = {"objective": kt.Objective(OBJECTIVE, "min"), "seed": seed + 1}
    if tuner == "random":
        oracle = RandomOracle(max_trials=trials, **arguments)
    elif tuner == "bayesian":
        # KerasTuner begins with three random trials for each setting, which here would be the whole search.
        oracle = BayesianOracle(max_trials=trials, num_initial_points=max(min(10, trials // 3), 2), **arguments)
    elif tuner == "hyperband":
        # Hyperband would end with its last bracket. Here it repeats all brackets until all trials are used.
        oracle = HyperbandOracle(max_epochs=epochs, factor=3, hyperband_iterations=trials, **arguments)
        oracle.max_trials = trials
    else:
        raise ValueError(f"Expected a tuner among bayesian, hyperband, random. Received: tuner={tuner!r}")
    oracle.verbose = 0
    for name, value in attributes.items():
        setattr(oracle, name, value)
    return oracle


def failure_kind(message: str) -> str:
    """Returns what messages of the same reason have in common: the first line without its numbers."""
    first = (message.strip() or "?").splitlines()[0]
    return re.sub(r"\d[\d.,]*", "N", first.split(":")[0] if first.startswith(("diverged", "out of memory")) else first)
