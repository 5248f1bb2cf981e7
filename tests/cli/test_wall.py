"""What runs a model needs no framework: commands in a process that refuses them say what they say beside them."""

import contextlib
import io
import json
import re
import signal
import subprocess
import sys
import urllib.request

import pytest

from kerasptb.cli import main
from kerasptb.run import load_run

PROGRAM = """
import contextlib, importlib.machinery, io, json, sys

class Refuse:  # to import them, not to look whether they are there
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("keras", "tensorflow", "jax", "torch", "matplotlib"):
            return importlib.machinery.ModuleSpec(name, self)

    def create_module(self, spec):
        raise ImportError(f"{spec.name} is refused")

    def exec_module(self, module):
        raise AssertionError

sys.meta_path.insert(0, Refuse())
from kerasptb.cli import main
"""
RUN_ALL = """
answers = []
for arguments in json.loads(sys.argv[1]):
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        status = main(arguments)
    answers.append([status, out.getvalue()])
print(json.dumps(answers))
"""


@pytest.fixture
def commands(counted_run, tmp_path):
    lines = tmp_path / "lines.txt"
    lines.write_text("one two three\nfour one\n")
    return [
        ["suggest", "english", "I would like"],
        ["suggest", "english", "I would li", "--complete", "--json"],
        ["suggest", counted_run, "one two", "--typos", "qwerty"],
        ["generate", "english", "--prompt", "The", "--words", "5", "--seed", "1"],
        ["score", counted_run, str(lines), "--csv", "-"],
        ["score", counted_run, str(lines), "--document"],
        ["correct", "english", str(lines)],
        ["info", "--json"],
        ["evaluate", counted_run, "--json"],
        ["evaluate", counted_run, "--keyboard", "--json"],
        ["--help"],
        ["train", "--help"],
        ["suggest", "--promt"],
    ]


def test_commands_give_the_same(commands, native_library):
    program = PROGRAM + RUN_ALL
    result = subprocess.run(
        [sys.executable, "-c", program, json.dumps(commands)], capture_output=True, text=True, check=True
    )
    for arguments, (status, text) in zip(commands, json.loads(result.stdout), strict=True):
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
            expected = main(arguments)
        assert status == expected, arguments
        assert re.sub(r"usage: \S+", "", text) == re.sub(r"usage: \S+", "", out.getvalue()), arguments


@pytest.mark.parametrize("format", ["c", "page", "arpa", "run"])
def test_exports_are_the_same_files(counted_run, tmp_path, format):
    path = {"page": "here.html", "arpa": "here.arpa"}.get(format, "here")
    places = [tmp_path / side / path for side in ("one", "other")]
    arguments = ["export", counted_run, "--format", format, "--to"]
    program = f"{PROGRAM}\nsys.exit(main(sys.argv[1:]))"
    subprocess.run([sys.executable, "-c", program, *arguments, str(places[0])], check=True, capture_output=True)
    assert main([*arguments, str(places[1])]) == 0
    files = [sorted(place.rglob("*")) if place.is_dir() else [place] for place in places]
    assert [file.name for file in files[0]] == [file.name for file in files[1]]
    for one, other in zip(*files, strict=True):
        assert one.suffix == ".npz" or one.read_bytes() == other.read_bytes(), one


def test_the_server_answers():
    pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
    program = f"{PROGRAM}\nsys.exit(main(['serve', 'english', '--port', '0']))"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as server:
        try:
            url = re.search(r"http://\S+/", server.stdout.readline())[0]
            body = json.dumps({"text": "I would like", "k": 3, "complete": False}).encode()
            request = urllib.request.Request(f"{url}v1/suggest", body, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=30) as answer:
                found = json.load(answer)["suggestions"]
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(30)
    expected = load_run("english").suggest("I would like", 3)
    assert [each["word"] for each in found] == [each.word for each in expected]
    for one, other in zip(found, expected, strict=True):
        assert one["probability"] == pytest.approx(other.probability, rel=1e-4)
