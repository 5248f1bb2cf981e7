import multiprocessing
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
import toy_spaces

from kerasptb import tuning
from kerasptb.tuning.records import read_trials
from kerasptb.tuning.workers import LocalCluster, WorkersFailedError
from kerasptb.utils import children


def when(condition, act, timeout=200):
    """Does something from another thread as soon as a condition holds; returns the thread."""

    def watch():
        give_up = time.monotonic() + timeout
        while time.monotonic() < give_up:
            if condition():
                act()
                return
            time.sleep(0.05)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def running(folder, epochs=1):
    """The trials that are in the middle of their training."""
    return [trial for trial in read_trials(folder) if not trial.record.ended and len(trial.record.curve) >= epochs]


def kill(name):
    (process,) = [process for process in multiprocessing.active_children() if process.name == name]
    os.kill(process.pid, signal.SIGKILL)


def search(texts, folder, space, **arguments):
    arguments = {"tuner": "random", "trials": 6, "epochs": 4, "seed": 1, "workers": 2, "verbose": False, **arguments}
    return tuning.tune(texts, space, out=folder, **arguments)


@pytest.mark.slow
def test_two_workers_share_the_trials_of_a_chief_and_survive_the_death_of_one(texts, tmp_path):
    space = toy_spaces.ToySpace(tmp_path / "journal", pause=0.3)
    killed = []

    def kill_first():
        trial = next(trial for trial in running(tmp_path / "search") if trial.record.tuner == "tuner1")
        killed.append(trial)
        kill("tuner1")

    thread = when(
        lambda: any(trial.record.tuner == "tuner1" for trial in running(tmp_path / "search")) and not killed, kill_first
    )
    result = search(texts, tmp_path / "search", space)
    thread.join()
    assert [trial.status for trial in result.trials] == ["COMPLETED"] * 6
    assert {trial.record.tuner for trial in result.trials} == {"tuner0", "tuner1"}
    counts = Counter(space.trained())
    assert [x for x, count in counts.items() if count == 2] == [killed[0].values["x"]]
    assert sorted(counts.values()) == [1, 1, 1, 1, 1, 2]
    (again,) = [trial for trial in result.trials if trial.trial_id == killed[0].trial_id]
    assert again.record.tuner == "tuner1"


@pytest.mark.slow
def test_a_chief_that_is_killed_takes_up_where_it_was(texts, tmp_path):
    space = toy_spaces.ToySpace(tmp_path / "journal", pause=0.3)
    thread = when(lambda: len(running(tmp_path / "search")) == 2, lambda: kill("chief"))
    result = search(texts, tmp_path / "search", space)
    thread.join()
    assert [trial.status for trial in result.trials] == ["COMPLETED"] * 6
    # No training was lost, and none was done twice: the workers trained on.
    assert set(Counter(space.trained()).values()) == {1}
    assert len(space.trained()) == 6
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_a_chief_and_a_worker_meet_by_the_environment_alone(texts, tmp_path, monkeypatch):
    # As on two machines with a shared folder. The reason of a failure reaches the chief, too.
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    address = {"KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": port}
    folder = tmp_path / "search"
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import toy_spaces; from kerasptb import tuning; "
        "tuning.tune(space=toy_spaces.BrokenSpace(sys.argv[2]), out=sys.argv[3])"
    )
    worker = subprocess.Popen(
        [sys.executable, "-c", program, str(Path(__file__).parent), str(tmp_path / "journal"), str(folder)],
        env={**os.environ, **address, "KERASTUNER_TUNER_ID": "elsewhere"},
    )
    for name, value in {**address, "KERASTUNER_TUNER_ID": "chief"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(tuning.SearchError, match="3 trials failed for one reason: OSError: cannot read block"):
        search(texts, folder, toy_spaces.BrokenSpace(tmp_path / "journal"), workers=None, trials=9)
    assert worker.wait(30) == 0
    trials = read_trials(folder)
    assert [(trial.status, trial.record.tuner) for trial in trials] == [("FAILED", "elsewhere")] * 3


def test_a_chief_that_others_can_reach_warns(texts, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("KERASTUNER_ORACLE_IP", "0.0.0.0")
    monkeypatch.setenv("KERASTUNER_ORACLE_PORT", "8000")
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "chief")
    monkeypatch.setattr("kerasptb.tuning.trials.run_process", lambda *args, **kwargs: None)
    with pytest.raises(tuning.SearchError, match="none has ended"):
        search(texts, tmp_path / "search", toy_spaces.ToySpace(tmp_path / "journal"), workers=None)
    assert "listens on 0.0.0.0" in capsys.readouterr().err


def test_a_chief_that_takes_a_search_up_leaves_what_runs_to_its_workers(texts, tmp_path, monkeypatch):
    for name, value in {"ORACLE_IP": "127.0.0.1", "ORACLE_PORT": "8000", "TUNER_ID": "chief"}.items():
        monkeypatch.setenv(f"KERASTUNER_{name}", value)
    seen = []
    monkeypatch.setattr("kerasptb.tuning.trials.run_process", lambda *_, keep_running: seen.append(keep_running))
    for resume in (False, True):
        with pytest.raises(tuning.SearchError, match="none has ended"):
            search(texts, tmp_path / "search", toy_spaces.ToySpace(tmp_path / "journal"), workers=None, resume=resume)
    assert seen == [False, True]


def test_workers_that_cannot_start_end_the_search_with_their_log(texts, tmp_path, monkeypatch):
    monkeypatch.setattr("kerasptb.tuning.workers._MAX_DEATHS", 1)
    space = toy_spaces.ToySpace(tmp_path / "journal")
    # The chief dies when it unpickles this.
    monkeypatch.setattr("kerasptb.tuning.workers.pickle.dumps", lambda value: b"not a pickle")
    with pytest.raises(WorkersFailedError, match=r"died 1 times .*exit status 1.*log ends: .*UnpicklingError"):
        search(texts, tmp_path / "search", space, workers=1)


def test_workers_share_the_processors(monkeypatch):
    monkeypatch.setattr("kerasptb.tuning.workers.available_processors", lambda: 9)
    assert [LocalCluster(None, None, None, workers)._threads for workers in (1, 2, 20)] == [9, 4, 1]
    names = {"TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS", "KERASPTB_THREADS"}
    assert children.thread_variables(4) == dict.fromkeys(names, "4")


def test_members_have_their_share_of_the_machine_and_no_proxy_between_them(tmp_path, monkeypatch):
    monkeypatch.setattr("kerasptb.tuning.workers.available_processors", lambda: 4)
    cluster, started = LocalCluster(SimpleNamespace(folder=tmp_path), None, None, 2), []

    def process(target, args, name, daemon):
        return SimpleNamespace(start=lambda: started.append((dict(os.environ), args[2])))

    monkeypatch.setattr(cluster, "_context", SimpleNamespace(Process=process))
    before = dict(os.environ)
    for member in (cluster._chief, cluster._workers[0]):
        cluster._start(member)
        cluster._start(member, again=True)
    assert dict(os.environ) == before
    (chief, _), _, (worker, _), _ = started
    assert (chief["OMP_NUM_THREADS"], worker["OMP_NUM_THREADS"]) == ("1", "2")
    assert chief["CUDA_VISIBLE_DEVICES"] == ""
    assert worker.get("CUDA_VISIBLE_DEVICES") == before.get("CUDA_VISIBLE_DEVICES")
    for variables, _ in started:
        assert variables["no_grpc_proxy"] == variables["KERASTUNER_ORACLE_IP"]
        assert variables["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"
    # A chief that is started again leaves the running trials with their workers.
    assert [keep_running for _, keep_running in started] == [False, True, False, False]


# A member unpickles this in place of its work. It prints its arguments, and then dots while it lives.
_TELLING = """
import signal, sys, time, types

def run_process(*arguments, **options):
    print(arguments[3:], options, signal.getsignal(signal.SIGINT) is signal.SIG_IGN, flush=True)
    for _ in range(600):
        time.sleep(0.1)
        print(".", end="", flush=True)

sys.modules["kerasptb.tuning.trials"] = types.SimpleNamespace(run_process=run_process)
"""
_STARTING = """
import multiprocessing, sys
from kerasptb.tuning.workers import _work

if __name__ == "__main__":
    arguments = bytes.fromhex(sys.argv[1]), sys.argv[2], True
    process = multiprocessing.get_context("spawn").Process(target=_work, args=arguments)
    process.start()
    process.join()
"""


class Telling:
    def __reduce__(self):
        return exec, (_TELLING, {})


def test_a_chief_that_is_started_again_is_told_and_goes_with_who_started_it(tmp_path):
    log = tmp_path / "chief.log"
    packed = pickle.dumps((None, Telling(), None)).hex()
    starter = subprocess.Popen([sys.executable, "-c", _STARTING, packed, str(log)])
    try:
        give_up = time.monotonic() + 60
        while "." not in (log.read_text() if log.exists() else "") and time.monotonic() < give_up:
            time.sleep(0.1)
    finally:
        starter.kill()
        starter.wait()
    # It keeps the running trials and the reason that ended the search, and ignores Ctrl-C.
    assert log.read_text().splitlines()[0] == "(True,) {'restarted': True} True"
    time.sleep(2)
    length = log.stat().st_size
    time.sleep(1)
    assert log.stat().st_size == length


def test_how_a_process_ended_is_said_in_words():
    assert [children.describe_exit(code) for code in (-9, 1)] == ["killed by signal 9", "exit status 1"]


def test_a_trial_that_ends_forgives_deaths(monkeypatch):
    cluster = LocalCluster(SimpleNamespace(folder=None), None, None, 1)
    trials, started = [], []
    monkeypatch.setattr("kerasptb.tuning.workers.read_trials", lambda folder: trials)
    monkeypatch.setattr(cluster, "_start", lambda member, again=False: started.append(member.name))
    for member in (cluster._chief, *cluster._workers):
        alive = member is cluster._chief
        member.process = SimpleNamespace(is_alive=lambda alive=alive: alive, exitcode=1)
    for _ in range(12):  # five deaths in a row would end the search
        cluster._poll()
        cluster._poll()
        trials.append(SimpleNamespace(record=SimpleNamespace(ended=True)))
    assert started == ["tuner0"] * 24
