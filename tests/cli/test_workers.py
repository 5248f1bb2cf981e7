import contextlib
import json
import multiprocessing
import os
import shutil
import signal
import threading
import time
import types
from importlib.util import find_spec

import numpy as np
import pytest

import kerasptb
from kerasptb.cli import main, workers
from kerasptb.utils.extras import install_command


@pytest.fixture
def train(texts, native_library, tmp_path, capfd):
    """Trains in two processes, and returns the status and what was said; calls `act` once the run has more epochs."""
    if find_spec("jax") is None:
        pytest.skip("JAX is not installed")
    folder = tmp_path / "run"

    def run(*options, act=None):
        before = epochs(folder)
        thread = threading.Thread(target=lambda: act and (wait_for(lambda: epochs(folder) > before), act()))
        thread.start()
        status = main([*map(str, ["train", "--workers", "2", "--out", folder, *options])])
        thread.join()
        return status, capfd.readouterr()

    return run


def epochs(folder):
    return len(kerasptb.load_run(folder).history) if (folder / "history.csv").exists() else 0


def wait_for(condition):
    give_up = time.monotonic() + 100
    while not condition() and time.monotonic() < give_up:
        time.sleep(0.02)


@pytest.mark.slow
def test_a_training_goes_on_after_a_death_and_after_sigterm_with_any_number_of_workers(
    train, texts, sizes, tmp_path, monkeypatch
):
    monkeypatch.setattr("kerasptb.cli.workers._GRACE_SECONDS", 4)
    deaths = []

    def kill():
        deaths.append(time.monotonic())
        os.kill(multiprocessing.active_children()[1].pid, signal.SIGKILL)

    folder, alone = tmp_path / "run", tmp_path / "alone"
    options = ["--data", texts, *sizes, "--seed", "1", "--keep-prob", "0.7"]
    status, said = train(*options, "--epochs", "6", "--checkpoint-minutes", "0", act=kill)
    assert time.monotonic() - deaths[0] < 60
    assert status == 1
    last = said.err.strip().split("\n")[-1]
    assert "of 2 has ended (killed by signal 9)" in last
    assert "--resume" in last
    assert said.out.count("Workers: 2, each with 3 rows of a batch") == 1  # the first process speaks for both
    assert "[Gloo]" not in said.out
    assert multiprocessing.active_children() == []

    shutil.copytree(folder, alone)
    assert main(["train", "--resume", "--out", str(alone)]) == 0
    status, said = train("--resume", act=lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert said.err.strip().split("\n")[-1] == "kerasptb: ended by SIGTERM"
    assert status == 143
    run, expected = kerasptb.load_run(folder), kerasptb.load_run(alone)
    done = len(run.history)
    assert 2 <= done < 6
    for name in ("perplexity", "val_perplexity"):
        found = [row[name] for row in run.history]
        np.testing.assert_allclose(found, [row[name] for row in expected.history[:done]], rtol=1e-4, err_msg=name)
    assert main(["train", "--resume", "--out", str(folder)]) == 0
    assert run.metrics["test_perplexity"] == pytest.approx(expected.metrics["test_perplexity"], rel=1e-3)


@pytest.mark.slow
def test_the_first_worker_counts_and_the_others_wait(train, texts, sizes, tmp_path):
    status, said = train("--data", texts, *sizes, "--seed", "1", "--epochs", "1")
    assert status == 0
    assert said.out.count("Counts of the training text: ") == said.out.count("  with counts going on: ") == 1
    run = kerasptb.load_run(tmp_path / "run")  # with Keras on another backend
    figures = run.metrics["test_perplexity_every_word"], run.metrics["test_perplexity_every_word_with_counts"]
    assert figures[1] == pytest.approx(run.evaluate_counts()[0].perplexity, rel=1e-4)
    assert figures[0] == pytest.approx(run.evaluate().perplexity, rel=1e-4)
    assert figures[0] != figures[1]


@pytest.mark.slow
def test_what_is_wrong_is_said_once(train, tmp_path):
    status, said = train("--data", tmp_path)
    assert status == 1
    assert said.err.startswith("kerasptb: Expected")
    assert said.err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_no_worker_begins_unless_all_of_them_have_rows(make_run, error_of, tmp_path, monkeypatch):
    monkeypatch.setattr("kerasptb.cli.train.run_together", lambda options: pytest.fail("they begin"))
    sizes = {"embedding_size": 3, "units": [3], "batch_size": 6, "num_steps": 4, "vocabulary_size": 2}
    run = make_run(tmp_path / "run", kerasptb.Vocabulary(["a", "b"]), sizes).folder
    for options, rows in {
        ("--preset", "notebook"): 60,
        ("--preset", "small"): 32,
        ("--batch-size", "7"): 7,
        ("--config", run, "--data", "sample"): 6,
        ("--from", run): 6,
        ("--out", run, "--resume"): 6,
    }.items():
        said = error_of(["train", "--workers", "1000", *options])
        assert f"Expected a batch whose rows 1000 workers divide. Received: batch_size={rows}" in said
    assert "a text that each of them can read. Received: a pipe" in error_of(["train", "--workers", "2", "--data", "-"])
    assert "name it with --out" in error_of(["train", "--workers", "2", "--resume"])
    (tmp_path / "taught.json").write_text(json.dumps({"training": {"preset": "small", "teacher": str(run)}}))
    for options in (["--teacher", run], ["--config", tmp_path / "taught.json"]):
        said = error_of(["train", "--workers", "2", *options])
        assert "A teacher needs one worker. Received: --workers 2 with a teacher" in said


@pytest.mark.parametrize(
    ("codes", "ended_first", "log", "status", "line"),
    [
        ([0, 0], 1, "", 0, ""),
        ([1, 1], 1, "", 1, ""),  # the first process has said why
        ([130, 130], 1, "kerasptb: interrupted", 130, ""),
        ([1, 1], 1, "no memory\n", 1, "worker 1 of 2 has ended (exit status 1) and said: no memory."),
        ([-9, 1], 0, "connection reset", 1, "worker 0 of 2 has ended (killed by signal 9)."),
        ([None, -6], 1, "", 1, "worker 1 of 2 has ended (killed by signal 6)."),
        ([None, 0], 1, "", 1, "worker 0 of 2 did not end."),
    ],
)
def test_the_one_that_ended_first_is_named(tmp_path, capsys, codes, ended_first, log, status, line):
    logs = [tmp_path / "0.log", tmp_path / "1.log"]
    logs[1].write_text(log)
    assert workers._status(codes, ended_first, logs) == status
    assert line in capsys.readouterr().err


@pytest.mark.parametrize("alive", [True, False])
def test_a_signal_goes_to_the_first_process_while_it_lives(monkeypatch, alive):
    sent, first = [], types.SimpleNamespace(pid=7, is_alive=lambda: alive)
    monkeypatch.setattr(os, "kill", lambda *arguments: sent.append(arguments))
    with contextlib.nullcontext() if alive else pytest.raises(KeyboardInterrupt):
        workers._forward_to([first])(signal.SIGINT, None)
    assert sent == ([(7, signal.SIGINT)] if alive else [])


def test_without_jax_it_says_what_to_install(monkeypatch, error_of):
    monkeypatch.setattr("kerasptb.cli.workers.find_spec", lambda name: None)
    assert install_command("jax") in error_of(["train", "--workers", "2"])
