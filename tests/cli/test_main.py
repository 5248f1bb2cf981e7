import importlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import types
import warnings
from pathlib import Path

import pytest

import kerasptb
from kerasptb.cli import main, outcome

# Prints (status, output, complaints) of each of the commands in its argument.
EACH_OF_SEVERAL = """
import contextlib, io, json, sys
from kerasptb.cli import main
answers = []
for command in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()) as output, contextlib.redirect_stderr(io.StringIO()) as complaints:
        status = main(command)
    answers.append((status, output.getvalue(), complaints.getvalue()))
print(json.dumps(answers))
"""


@pytest.mark.slow
def test_a_run_is_used_at_another_precision(run, tmp_path, capsys):
    # A run in bfloat16 as another machine has left it.
    shutil.copytree(run, tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    config["model"] |= {"backend": "auto", "precision": "bfloat16"}
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    environment = {**os.environ, "KERASPTB_CPU": "avx2"}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    commands = [["evaluate"], ["suggest", "one two"], ["generate", "--words", "3"]]
    commands = [[words[0], str(tmp_path / "run"), *words[1:]] for words in commands]
    # One process for all of them: what takes time is to import TensorFlow.
    commands += [[*words, "--precision", "float32"] for words in commands]
    result = subprocess.run(
        [sys.executable, "-c", EACH_OF_SEVERAL, json.dumps(commands)],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert result.stderr == ""  # none of TensorFlow's notices
    answers = json.loads(result.stdout)
    for status, _, error in answers[:3]:
        assert status == 1
        assert 'Use precision="float32"' in error
    assert [(status, error) for status, _, error in answers[3:]] == [(0, "")] * 3
    assert main(["evaluate", run]) == 0
    assert capsys.readouterr().out == answers[3][1]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["evaluate", "nowhere"], "nowhere, which does not exist.\n"),
        (["suggest", "englisch", "a"], "does not exist. Did you mean english, the model in this package?"),
        (["train", "--data", "nowhere"], "does not exist"),
        (["train", "--data", "sample", "--resume"], "--out"),
        (["train", "--data", "sample", "--batch-size", "5000"], "too short for one batch"),
    ],
)
def test_bad_input_gets_a_line_and_status_1(error_of, tmp_path, monkeypatch, arguments, text):
    monkeypatch.chdir(tmp_path)
    assert text in error_of(arguments)
    assert list(tmp_path.iterdir()) == []


def test_debug_shows_the_traceback(tmp_path):
    with pytest.raises(ValueError, match=r"config\.json"):
        main(["evaluate", str(tmp_path), "--debug"])


def test_a_package_that_is_missing_is_named(run, capsys, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "keras_tuner", None)
    monkeypatch.setattr(kerasptb, "tuning", kerasptb.tuning)  # the import below would leave another module there
    for name in [name for name in sys.modules if name.startswith("kerasptb.tuning")]:
        monkeypatch.delitem(sys.modules, name)
    assert main(["tune", "--data", "sample", "--out", str(tmp_path / "search")]) == 1
    assert capsys.readouterr().err == "kerasptb: This command needs the package keras_tuner, which is not installed.\n"


@pytest.mark.parametrize(
    ("arguments", "command", "line"),
    [
        ([], "kerasptb", "the following arguments are required: COMMAND"),
        (["train", "--epochs", "0"], "kerasptb train", "argument --epochs: expected a whole number of at least 1"),
        (["train", "--preset", "smal"], "kerasptb train", "zaremba-medium. Received: smal. Did you mean small?"),
        (["train", "--preset", "large"], "kerasptb train", "zaremba-medium. Received: large."),
        (["traim"], "kerasptb", "COMMAND: expected one of train, evaluate,"),
        (["traim"], "kerasptb", "Received: traim. Did you mean train?"),
        (["suggest", "run", "the", "--jsn"], "kerasptb suggest", "there is no --jsn. Did you mean --json?"),
        (["suggest", "run", "the", "--zzz=3"], "kerasptb suggest", "there is no --zzz=3."),
        (["generate", "run", "the"], "kerasptb generate", "the is one word too many."),
        (["info", ""], "kerasptb info", "'' is one word too many."),
    ],
)
def test_wrong_words_get_a_line_that_names_the_nearest_and_status_2(capsys, arguments, command, line):
    assert main(arguments) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(f"{command}: ")
    assert line in first
    assert second == f"{command} --help says more."


def test_a_tool_for_completion_finds_the_parser_where_the_page_says():
    page = Path(__file__).parents[2] / "docs" / "training.md"
    module, _, name = re.search(r"--prog kerasptb (\S+)", page.read_text())[1].rpartition(".")
    parser = getattr(importlib.import_module(module), name)()
    assert parser.parse_args(["export", "run", "--to", "x"]).to == "x"


def test_the_version_is_told(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"kerasptb {kerasptb.__version__}\n"


@pytest.mark.parametrize(
    ("backend", "expected"),
    [
        ("numpy", "Expected KERAS_BACKEND=tensorflow, jax or torch. Received: KERAS_BACKEND=numpy"),
        (
            "jax",
            "Keras is to run on jax, which is not installed. Install it, or set KERAS_BACKEND to another. Received",
        ),
    ],
)
def test_a_backend_that_cannot_be_had_is_named(error_of, monkeypatch, backend, expected):
    monkeypatch.setenv("KERAS_BACKEND", backend)
    monkeypatch.setattr("kerasptb.cli.notices.find_spec", lambda name: None)
    assert error_of(["train"]).startswith(f"kerasptb: {expected}")


def test_of_an_error_in_a_layer_its_own_words_are_shown(error_of, monkeypatch):
    def broken_layer(*_, **__):
        raise ValueError("Exception encountered when calling LSTM.call().\n\n\x1b[1mToo\nlong.\x1b[0m\n\nArguments: x")

    monkeypatch.setattr("kerasptb.training.train", broken_layer)
    assert error_of(["train"]) == "kerasptb: Too long.\n"


def test_help_needs_no_tensorflow():
    code = (
        "import sys; sys.modules['tensorflow'] = None; from kerasptb.cli import main; sys.exit(main(['train', '-h']))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "--steps-per-epoch" in output


@pytest.mark.parametrize(
    ("error", "status", "said"), [(BrokenPipeError(), 0, ""), (OSError(28, "No space left on device"), 1, "No space")]
)
def test_output_that_cannot_be_written_is_told(monkeypatch, tmp_path, error, status, said):
    class Full(io.StringIO):
        def flush(self):
            raise error

        def fileno(self):
            return file.fileno()

    heard = io.StringIO()
    with (tmp_path / "stdout").open("w") as file:
        monkeypatch.setattr(sys, "stdout", Full())
        monkeypatch.setattr(sys, "stderr", heard)
        assert outcome.run(types.SimpleNamespace(command=lambda _: 0, name="info", debug=False)) == status
    assert said in heard.getvalue()


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        type("ResourceExhaustedError", (Exception,), {})("OOM"),
        RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes."),
    ],
)
def test_too_little_memory_is_one_line(capsys, error):
    def command(_):
        raise error

    assert outcome.run(types.SimpleNamespace(command=command, name="score", debug=False)) == 1
    assert capsys.readouterr().err == "kerasptb: The memory is not enough.\n"
    assert outcome.run(types.SimpleNamespace(command=command, name="train", debug=False)) == 1
    assert capsys.readouterr().err.startswith("kerasptb: The memory is not enough. Smaller batches (--batch-size)")


@pytest.mark.filterwarnings("default")
def test_a_warning_is_a_plain_line(capsys):
    def command(options):
        warnings.warn("Slower than it could be:\nthe library is not built.", stacklevel=1)

    assert outcome.run(types.SimpleNamespace(command=command, name="evaluate", debug=False)) == 0
    assert capsys.readouterr().err == "kerasptb: Slower than it could be: the library is not built.\n"
