import os
import shlex
import subprocess
import sys
from types import SimpleNamespace

import pytest

import kerasptb
from kerasptb.cli import main

PROGRAM = [sys.executable, "-c", "import sys; from kerasptb.cli import main; sys.exit(main())"]
# The variable would bring TensorFlow's notices back.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}


def test_train_resumes_for_more_epochs(no_steps, texts, sizes, tmp_path, capsys):
    arguments = ["train", "--data", texts, *sizes, "--out", tmp_path / "run"]
    assert main(list(map(str, [*arguments, "--epochs", 1]))) == 0
    assert "Best epoch 1" in capsys.readouterr().out
    assert main(list(map(str, [*arguments, "--epochs", 2, "--resume"]))) == 0
    history = (tmp_path / "run" / "history.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in history] == ["epoch", "1", "2"]
    # The last line is the next command, as it can be typed.
    program, *command = shlex.split(capsys.readouterr().out.splitlines()[-1].partition(": ")[2])
    assert program == "kerasptb"
    assert main(command) == 0
    assert capsys.readouterr().out.count("%") == 5


@pytest.mark.slow
def test_training_into_a_file_writes_a_line_an_epoch(texts, sizes, tmp_path):
    options = ["--data", texts, *sizes, "--epochs", "3", "--out", tmp_path / "run"]
    result = subprocess.run([*PROGRAM, "train", *options], capture_output=True, text=True, env=ENVIRONMENT, check=True)
    lines = [line for line in result.stdout.splitlines() if line.startswith("Epoch ")]
    assert [line.split("  ")[0] for line in lines] == ["Epoch 1/3", "Epoch 2/3", "Epoch 3/3"]
    assert all("  perplexity " in line and "  valid " in line and line.count(" words/s") == 1 for line in lines)
    assert not {"\b", "\r", "\x1b"} & set(result.stdout)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("train", (1, "kerasptb: stopped, because what read the output has ended\n")),
        pytest.param("info", (0, ""), marks=pytest.mark.slow),
    ],
)
@pytest.mark.slow
def test_a_reader_that_has_seen_enough_ends_a_training_with_status_1(texts, sizes, tmp_path, command, expected):
    options = ["--data", str(texts), *sizes, "--out", str(tmp_path / "run")]
    reading, writing = os.pipe()
    os.close(reading)
    try:
        command = [*PROGRAM, command, *(options if command == "train" else [])]
        result = subprocess.run(
            command, stdout=writing, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, check=False
        )
    finally:
        os.close(writing)
    assert (result.returncode, result.stderr) == expected
    assert not (tmp_path / "run").exists()  # there is no epoch to keep


@pytest.mark.slow
def test_sigterm_ends_a_training_with_a_checkpoint(texts, sizes, tmp_path):
    options = ["--data", texts, *sizes, "--epochs", "100000", "--out", tmp_path / "run"]
    with subprocess.Popen(
        [*PROGRAM, "train", *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    ) as process:
        while not process.stdout.readline().startswith("Epoch      2/"):  # done, as its line says
            pass
        process.terminate()
        process.communicate(timeout=10)
    assert process.returncode == 143
    epochs = len(kerasptb.load_run(tmp_path / "run").history)
    assert epochs >= 2
    assert (tmp_path / "run" / "resume.npz").exists()
    assert not (tmp_path / "run" / "metrics.json").exists()


@pytest.mark.slow
def test_train_needs_no_standard_output(texts, sizes, tmp_path):
    options = ["--data", str(texts), *sizes, "--out", str(tmp_path / "run")]
    command = shlex.join([*PROGRAM, "train", *options, "--epochs", "1"]) + " >&-"
    result = subprocess.run(command, shell=True, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert (tmp_path / "run" / "metrics.json").exists()


@pytest.mark.parametrize(("interrupted", "status"), [(True, 130), (False, 0)])
def test_an_interrupted_training_has_a_status_of_its_own(monkeypatch, interrupted, status):
    run = SimpleNamespace(metrics={"interrupted": interrupted})
    monkeypatch.setattr("kerasptb.training.train", lambda *args, **kwargs: run)
    assert main(["train", "--data", "sample"]) == status


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda folder: (folder / "valid.txt").unlink(), "valid"),
        (lambda folder: (folder / "test.txt").write_text(""), "test.txt"),
        (lambda folder: (folder / "train.txt").write_bytes("café ".encode() * 20 + b"caf\xe9\n"), "UTF-8"),
    ],
    ids=["missing", "empty", "not UTF-8"],
)
def test_each_fault_of_a_corpus_gets_a_line_that_names_it(error_of, tmp_path, damage, text):
    for split in ("train", "valid", "test"):
        (tmp_path / f"{split}.txt").write_text("one two three <unk>\n" * 50)
    damage(tmp_path)
    assert text in error_of(["train", "--data", tmp_path, "--out", tmp_path / "run"])
    assert not (tmp_path / "run").exists()


def test_a_directory_that_cannot_be_written_is_named(error_of, texts, tmp_path):
    (tmp_path / "file").write_text("")
    arguments = ["train", "--data", texts, "--batch-size", "6", "--num-steps", "4", "--out", tmp_path / "file" / "run"]
    assert str(tmp_path / "file") in error_of(arguments)
