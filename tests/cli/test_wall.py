"""What runs a model needs no framework: commands in a process that refuses them say what they say beside them."""

import contextlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import kerasptb
from kerasptb.cli import main

REFUSING = """
import importlib.machinery, sys

asked = []  # the frameworks that one has tried to import

class Refuse:  # to import them, not to look whether they are there
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("keras", "tensorflow", "jax", "torch", "matplotlib"):
            return importlib.machinery.ModuleSpec(name, self)

    def create_module(self, spec):
        asked.append(spec.name)
        raise ImportError(f"{spec.name} is refused")

    def exec_module(self, module):
        raise AssertionError

sys.meta_path.insert(0, Refuse())
"""
EACH = """
import contextlib, io, json

import kerasptb
from kerasptb.cli import main

found = [[each.word, each.probability] for each in kerasptb.load_run("english").suggest("I would like")]
answers = []
for arguments in json.loads(sys.argv[1]):
    asked.clear()
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(arguments)
    answers.append([status, out.getvalue(), err.getvalue(), [*asked]])
print(json.dumps([found, answers]))
"""
# In folders that hold the same: `run`, a run of words with counts, `uncounted`, and the texts that are named here.
TEXTS = {
    "sentences.txt": "one two three\nfour one\n\nThree of five\n",
    "english.txt": "I would like too go home.\nShe said hte same thing.\n",
    "hypotheses.txt": "u1\tone two three\nu1\tthree two\nu2\tfour one\t-2.5\nu2\tone four\t-2.25\n",
    "typed.txt": "one two three four\n" * 5,
}
COMMANDS = [
    ["suggest", "english", "I would like"],
    ["suggest", "english", "I would li", "--complete"],
    ["suggest", "english", "I wpuld", "--typos", "qwerty"],
    ["suggest", "english", "She said", "-k", "3", "--json"],
    ["suggest", "run", "one two"],
    ["suggest", "run", "one t", "--complete", "--json"],
    ["suggest", "run", "one yw", "--typos", "qwerty"],
    ["generate", "english", "--prompt", "The", "--words", "5", "--seed", "1"],
    ["generate", "run", "--words", "9", "--seed", "2"],
    ["score", "english", "english.txt"],
    ["score", "run", "sentences.txt", "--json"],
    ["score", "english", "english.txt", "--csv", "-"],
    ["score", "run", "sentences.txt", "--csv", "-"],
    ["score", "english", "english.txt", "--document"],
    ["score", "run", "sentences.txt", "--document"],
    ["score", "run", "hypotheses.txt", "--nbest", "--all"],
    ["correct", "english", "english.txt"],
    ["correct", "run", "sentences.txt", "--json"],
    ["count", "uncounted"],
    ["info"],
    ["evaluate", "run"],
    ["evaluate", "run", "--batch-size", "4", "--json"],
    ["evaluate", "run", "--keyboard"],
    ["evaluate", "english", "--keyboard", "--text", "english.txt"],
    ["evaluate", "run", "--keyboard", "--typos", "0.1", "--words", "20"],
    ["evaluate", "run", "--continuous-cache"],
    ["export", "run", "--format", "c", "--to", "c"],
    ["export", "run", "--format", "page", "--to", "page.html"],
    ["export", "run", "--format", "arpa", "--to", "ngrams.arpa"],
    ["export", "run", "--format", "run", "--to", "exported"],
    ["export", "run", "--format", "onnx", "--to", "model.onnx"],
    ["export", "run", "--format", "sherpa-onnx", "--to", "sherpa.onnx", "--without-state"],
    ["suggest", "exported", "one two", "--json"],
    ["--help"],
    ["train", "--help"],
    ["suggest", "--promt"],
]
KEYBOARD = ["export", "run", "--format", "keyboard", "--to", "keyboard"]  # of which TensorFlow writes a part


def files_of(folder):
    return {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def sides(run, counted_run, tmp_path):
    """Two folders that hold the same, for the commands of each process."""
    folders = tmp_path / "refusing", tmp_path / "beside"
    for folder in folders:
        shutil.copytree(counted_run, folder / "run")
        shutil.copytree(run, folder / "uncounted")
        for name, text in TEXTS.items():
            (folder / name).write_text(text)
    return folders


def test_commands_say_and_write_the_same(sides, native_library, monkeypatch):
    """One process of its own runs them all: starting one takes longer than most of them."""
    refusing, beside = sides
    commands = [*COMMANDS, KEYBOARD]
    process = subprocess.run(
        [sys.executable, "-c", REFUSING + EACH, json.dumps(commands)],
        capture_output=True, text=True, cwd=refusing, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    found, answers = json.loads(process.stdout)

    monkeypatch.chdir(beside)
    assert "keras" in sys.modules
    expected = kerasptb.load_run("english").suggest("I would like")
    assert found == [[each.word, each.probability] for each in expected]
    for arguments, (status, *texts, asked) in zip(commands, answers, strict=True):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            assert main(arguments) == status, (arguments, texts, err.getvalue())
        assert texts == [out.getvalue(), err.getvalue()], arguments
        assert status == (2 if arguments == ["suggest", "--promt"] else 0), (arguments, texts)
        assert arguments == KEYBOARD or not asked, arguments

    written, others = files_of(refusing), files_of(beside)
    assert {*others} - {*written} == {"keyboard/model.tflite", "keyboard/model.vocabulary.txt"}
    assert {*written} <= {*others}
    for name in {*written} - {"keyboard/CARD.md"}:
        assert written[name].read_bytes() == others[name].read_bytes(), name
    assert {"uncounted/counts.npy", "run/adaptation.json", "c/model.c"} < {*written}
    assert "`model.tflite`: TensorFlow, which writes it, is not installed." in written["keyboard/CARD.md"].read_text()


def test_the_server_answers(sides):
    pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")
    program = f"{REFUSING}\nfrom kerasptb.cli import main\nsys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", program, "serve", "run", "--host", "127.0.0.1", "--port", "0"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, text=True, cwd=sides[0]) as process:
        # A server that says nothing must not hold the tests.
        timer = threading.Timer(60, process.kill)
        timer.start()
        try:
            url = re.search(r"http://127\.0\.0\.1:\d+/", process.stdout.readline())[0]

            def ask(path, **body):
                content = json.dumps(body).encode()
                request = urllib.request.Request(f"{url}v1/{path}", content, {"Content-Type": "application/json"})
                with urllib.request.urlopen(request, timeout=20) as response:
                    return json.load(response)

            suggested = ask("suggest", text="one two ", k=3)["suggestions"]
            scored = ask("score", text="one two three")["words"]
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0
            assert process.stdout.read() == "Stopped.\n"
        finally:
            timer.cancel()
            process.kill()
    run = kerasptb.load_run(sides[1] / "run")
    expected = {each.word: each.probability for each in run.suggest("one two", 3, exclude={"<eos>", "<unk>", "N"})}
    assert {each["word"]: each["probability"] for each in suggested} == pytest.approx(expected, rel=1e-5)
    (sentence,) = run.score("one two three")
    natural = sentence.token_log10_probabilities * np.log(10)
    tokens = [token["log_probability"] for word in scored for token in word["tokens"]]
    assert tokens == pytest.approx(list(natural[:3]), rel=1e-4)  # without the end of the sentence


WITHOUT_TENSORFLOW = """
import json, sys

for name in ("tensorflow", "tensorboard"):
    sys.modules[name] = None

from kerasptb.cli import main

for arguments in json.loads(sys.argv[1]):
    status = main(arguments)
    print("status", status, flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(find_spec("jax") is None, reason="JAX is not installed")
def test_all_runs_on_jax_where_tensorflow_has_no_release(tmp_path, monkeypatch):
    """As on a Python for which it has none: trainings, searches and what comes after; its own formats are refused."""
    monkeypatch.delenv("KERAS_BACKEND")
    paths = os.environ["PYTHONPATH"].split(os.pathsep)  # without that of programs.py, which leaves JAX out
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in paths if Path(path).name != "programs"))
    run, search = str(tmp_path / "run"), str(tmp_path / "search")
    small = ["--data", "sample", "--epochs", "1", "--units", "16", "--embedding-size", "16"]
    commands = [
        ["train", *small, "--out", run],
        ["train", "--resume", "--out", run, "--epochs", "2"],
        ["evaluate", run],
        ["suggest", run, "if the"],
        ["tune", "--data", "sample", "--steps-per-epoch", "2", "--trials", "1", "--epochs", "1", "--out", search],
        ["export", run, "--to", f"{tmp_path}/model.tflite"],
        ["info"],
    ]
    command = [sys.executable, "-c", WITHOUT_TENSORFLOW, json.dumps(commands)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert re.findall(r"^status (\d+)", result.stdout, re.M) == ["0", "0", "0", "0", "0", "1", "0"], result.stderr
    assert "This command needs the package tensorflow, which is not installed." in result.stderr
    assert re.search(r"^keras +\S+ on jax$", result.stdout, re.M)
    assert len(re.findall(r"^Epoch \d/\d +\d+ s +perplexity", result.stdout, re.M)) == 2
    assert "Trials: 1 completed" in result.stdout
