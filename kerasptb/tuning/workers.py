"""Starts a chief and its workers on this machine, watches them, and starts them again when they die.

The chief draws the trials and the workers run them. They talk by KerasTuner's own protocol, on the loopback device.
Each is a process of its own:

- a worker that dies is started again under its name, and the chief hands it the trial it had;
- a chief that dies is started again on the same folder; the workers train on, and their calls wait for it;
- if one dies again and again with no trial ending in between, the search ends with an error, the last line of its log.
"""

import dataclasses
import multiprocessing
import pickle
import signal
import time
from pathlib import Path
from typing import Any

import kerasptb
from kerasptb.tuning.begun import Space
from kerasptb.tuning.records import read_trials
from kerasptb.tuning.settings import SearchSettings
from kerasptb.utils import children
from kerasptb.utils.processors import available_processors

LOGS = "logs"

# Deaths of one process, with no trial ending in between, that end the search. A trial that kills its process is given
# up earlier.
_MAX_DEATHS = 5
# Seconds that members get to leave by themselves once the search is over.
_GRACE_SECONDS = 3.0
_POLL_SECONDS = 0.5


class WorkersFailedError(RuntimeError):
    """The chief or a worker died again and again."""


@dataclasses.dataclass
class _Member:
    name: str
    process: Any = None  # a `multiprocessing.Process`, once it was started
    deaths: int = 0
    done: bool = False


class LocalCluster:
    """A chief and workers on this machine, for which the space is pickled: its class must stand in a module."""

    def __init__(self, settings: SearchSettings, space: Space, corpus: kerasptb.Corpus, num_workers: int) -> None:
        self._settings = settings
        # Pickled by hand, so that each process turns to its log before it unpickles and TensorFlow is imported.
        self._work = pickle.dumps((settings, space, corpus))
        self._chiefs_work = pickle.dumps((settings, space, None))
        self._threads = max(available_processors() // num_workers, 1)
        self._address = ("127.0.0.1", children.free_port())
        self._members = [_Member(name) for name in ("chief", *(f"tuner{i}" for i in range(num_workers)))]
        self._chief, *self._workers = self._members
        self._ended = 0
        self._context = multiprocessing.get_context("spawn")

    def run(self) -> None:
        """Runs the search to its end; raises WorkersFailedError if the chief or a worker died again and again."""
        (self._settings.folder / LOGS).mkdir(exist_ok=True)
        try:
            for member in self._members:
                self._start(member)
            while not self._poll():
                time.sleep(_POLL_SECONDS)
            # A worker that the chief has told to stop may still be leaving.
            deadline = time.monotonic() + _GRACE_SECONDS
            for member in reversed(self._members):
                member.process.join(max(deadline - time.monotonic(), 0))
        finally:
            for member in reversed(self._members):
                children.terminate(member.process)

    def _poll(self) -> bool:
        """Starts dead processes again; returns whether the search is over."""
        ended = sum(trial.record.ended for trial in read_trials(self._settings.folder))
        if ended != self._ended:
            self._ended = ended
            for member in self._members:
                member.deaths = 0
        for member in self._members:
            if member.done or member.process.is_alive():
                continue
            member.done = member.process.exitcode == 0
            if member.done:
                continue
            member.deaths += 1
            if member.deaths >= _MAX_DEATHS:
                last = children.describe_exit(member.process.exitcode)
                raise WorkersFailedError(
                    f"{member.name} died {member.deaths} times with no trial ending in between (last: {last}); "
                    f"its log ends: {children.last_line(self._log(member)) or '(empty)'}"
                )
            self._start(member, again=True)
        return self._chief.done or all(worker.done for worker in self._workers)

    def _start(self, member: _Member, again: bool = False) -> None:
        is_chief = member is self._chief
        host, port = self._address
        variables = {
            "KERASTUNER_TUNER_ID": member.name,
            "KERASTUNER_ORACLE_IP": host,
            "KERASTUNER_ORACLE_PORT": str(port),
            # Several processes may share a GPU: each takes only the memory that it needs.
            "TF_FORCE_GPU_ALLOW_GROWTH": "true",
            # Where http_proxy is set, calls to this machine would go to the proxy, and wait for an hour.
            "no_grpc_proxy": host,
            **children.thread_variables(1 if is_chief else self._threads),
        }
        if is_chief:
            variables["CUDA_VISIBLE_DEVICES"] = ""
        member.process = self._context.Process(
            target=_work,
            args=(self._chiefs_work if is_chief else self._work, str(self._log(member)), is_chief and again),
            name=member.name,
            daemon=True,
        )
        with children.environment(variables):
            member.process.start()

    def _log(self, member: _Member) -> Path:
        return self._settings.folder / LOGS / f"{member.name}.log"


def _work(packed: bytes, log: str, keep_running: bool) -> None:
    """Runs a member's part of the search, in its process."""
    # Ctrl-C reaches every process of the terminal. Only the parent process acts on it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    children.exit_with_parent()
    children.write_to(log)
    settings, space, corpus = pickle.loads(packed)
    from kerasptb.tuning.trials import run_process  # noqa: PLC0415  (TensorFlow's messages go to the log)

    run_process(settings, space, corpus, keep_running, restarted=keep_running)
