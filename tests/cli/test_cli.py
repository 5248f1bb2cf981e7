import importlib
import inspect
import json
import os
import shlex
import shutil
import subprocess
import sys
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from kerasptb.cli import main

WORDS = ["one", "two", "three", "four", "<unk>", "N"]


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    random = np.random.default_rng(0)
    for split, lines in (("train", 400), ("valid", 100), ("test", 90)):
        (folder / f"{split}.txt").write_text("".join(" ".join(random.choice(WORDS, 3)) + "\n" for _ in range(lines)))
    return folder


@pytest.fixture(scope="module")
def run(texts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    arguments = [
        "--data",
        texts,
        "--epochs",
        "2",
        "--batch-size",
        "6",
        "--num-steps",
        "4",
        "--seed",
        "1",
        "--out",
        folder,
    ]
    assert main(["train", *map(str, arguments)]) == 0
    return str(folder)


def error_of(capsys, arguments, status=1):
    assert main(list(map(str, arguments))) == status
    output = capsys.readouterr()
    lines = output.err.strip().split("\n")
    assert len(lines) <= 2, output.err
    assert lines[0].startswith("kerasptb: ")
    assert "Traceback" not in output.err
    return output.err


def test_train_resumes_for_more_epochs(texts, tmp_path, capsys):
    arguments = ["train", "--data", texts, "--batch-size", "6", "--num-steps", "4", "--out", tmp_path / "run"]
    assert main(list(map(str, [*arguments, "--epochs", 1]))) == 0
    assert "Best epoch 1" in capsys.readouterr().out
    assert main(list(map(str, [*arguments, "--epochs", 2, "--resume"]))) == 0
    history = (tmp_path / "run" / "history.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in history] == ["epoch", "1", "2"]


def test_training_into_a_file_writes_a_line_an_epoch(texts, tmp_path):
    options = ["--data", texts, "--batch-size", "6", "--num-steps", "4", "--epochs", "3", "--out", tmp_path / "run"]
    result = subprocess.run([*PROGRAM, "train", *options], capture_output=True, text=True, env=ENVIRONMENT, check=True)
    lines = result.stdout.splitlines()
    assert [line for line in lines if line.startswith("Epoch ")] == ["Epoch 1/3", "Epoch 2/3", "Epoch 3/3"]
    of_epochs = [line for line in lines if "val_perplexity: " in line]
    assert len(of_epochs) == 3
    assert all(line.count("perplexity: ") == 2 and "words_per_second: " in line for line in of_epochs)
    assert not {"\b", "\r", "\x1b"} & set(result.stdout)


def test_evaluate_reports_both_figures_and_labels_them(run, texts, capsys):
    assert main(["evaluate", run, "--data", str(texts), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    strict, streams = result["results"]
    assert (strict["batch_size"], strict["method"], strict["num_words"]) == (1, "every word", 359)
    assert (streams["batch_size"], streams["num_steps"], streams["num_words"]) == (6, 4, 336)
    assert main(["evaluate", run, "--data", str(texts)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"test perplexity {strict['perplexity']:.2f}  (batch size 1: every word; 359 words)")
    assert lines[1].startswith(f"test perplexity {streams['perplexity']:.2f}  (batch size 6:")


def test_evaluate_reads_the_runs_own_text(run, texts, capsys):
    outputs = []
    for data in ([], ["--data", str(texts)], ["--data", "sample"]):
        assert main(["evaluate", run, *data, "--json"]) == 0
        outputs.append(json.loads(capsys.readouterr().out))
    assert outputs[0] == outputs[1]
    assert (outputs[0]["data"], outputs[2]["data"]) == (texts.name, "sample")
    assert outputs[2]["results"] != outputs[0]["results"]


def test_evaluate_reads_no_text_that_has_changed_since(texts, tmp_path, capsys):
    text = tmp_path / "text"
    shutil.copytree(texts, text)
    arguments = ["--batch-size", "6", "--num-steps", "4", "--epochs", "1", "--out", str(tmp_path / "run")]
    assert main(["train", "--data", str(text), *arguments]) == 0
    with (text / "test.txt").open("a") as file:
        file.write("one two\n")
    capsys.readouterr()
    assert f"{text}, which holds another text now. Name" in error_of(capsys, ["evaluate", tmp_path / "run"])
    assert main(["evaluate", str(tmp_path / "run"), "--data", str(text)]) == 0


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


def test_evaluate_takes_a_split_and_sizes(run, texts, capsys):
    arguments = ["--split", "valid", "--batch-size", "3", "--num-steps", "7"]
    assert main(["evaluate", run, "--data", str(texts), *arguments, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["split"] == "valid"
    assert [(r["batch_size"], r["num_steps"], r["num_words"]) for r in result["results"]] == [(3, 7, 3 * 7 * 18)]


def test_evaluate_gives_the_strict_figure_of_a_text_too_short_for_the_runs_streams(run, tmp_path, capsys):
    for split, lines in (("train", 60), ("valid", 60), ("test", 3)):
        (tmp_path / f"{split}.txt").write_text("one two three\n" * lines)
    assert main(["evaluate", run, "--data", str(tmp_path), "--json"]) == 0
    output = capsys.readouterr()
    (result,) = json.loads(output.out)["results"]
    assert (result["method"], result["num_words"]) == ("every word", 11)
    assert "too short for 6 streams" in output.err


PROGRAM = [sys.executable, "-c", "import sys; from kerasptb.cli import main; sys.exit(main())"]
# The variable would bring TensorFlow's notices back.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}


@pytest.mark.parametrize(
    ("command", "expected"),
    [("train", (1, "kerasptb: stopped, because what read the output has ended\n")), ("info", (0, ""))],
)
def test_a_reader_that_has_seen_enough_ends_a_training_with_status_1(texts, tmp_path, command, expected):
    options = ["--data", str(texts), "--out", str(tmp_path / "run"), "--batch-size", "4", "--num-steps", "5"]
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


def test_train_needs_no_standard_output(texts, tmp_path):
    options = ["--data", str(texts), "--out", str(tmp_path / "run"), "--batch-size", "4", "--num-steps", "5"]
    command = shlex.join([*PROGRAM, "train", *options, "--epochs", "1"]) + " >&-"
    result = subprocess.run(command, shell=True, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert (tmp_path / "run" / "metrics.json").exists()


def test_suggest_prints_words_with_probabilities(run, capsys):
    assert main(["suggest", run, "one two", "-k", "3", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["suggestions"]
    assert len(rows) == 3
    assert "<unk>" not in {row["word"] for row in rows}
    assert main(["suggest", run, "one two", "-k", "3"]) == 0
    assert capsys.readouterr().out.split() == [
        text for row in rows for text in (f"{row['probability']:.2%}", row["word"])
    ]


def test_generate_repeats_with_its_seed(run, capsys):
    outputs = []
    for _ in range(2):
        assert main(["generate", run, "--prompt", "one two", "--words", "12", "--seed", "5"]) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1]
    assert outputs[0].startswith("one two")


def test_info_says_that_a_folder_named_is_not_there(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("KERASPTB_DATA", str(tmp_path / "nowhere"))
    assert main(["info"]) == 0
    assert capsys.readouterr().out.endswith(f"{tmp_path / 'nowhere'}, which does not exist\n")


def test_info_is_one_json_object(capsys):
    assert main(["info", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["versions"]["kerasptb"] == "0.1.0"
    assert main(["info"]) == 0
    assert "native" in capsys.readouterr().out


def test_info_says_what_layers_of_another_precision_run_on(capsys, native_library):
    keras.config.set_dtype_policy("float64")
    try:
        assert main(["info"]) == 0
    finally:
        keras.config.set_dtype_policy("float32")
    assert "keras.layers.LSTM: The native backend takes float32" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["evaluate", "nowhere"], "which has no config.json"),
        (["train", "--data", "nowhere"], "does not exist"),
        (["train", "--data", "sample", "--resume"], "--out"),
        (["train", "--data", "sample", "--batch-size", "5000"], "too short for one batch"),
    ],
)
def test_bad_input_gets_a_line_and_status_1(capsys, tmp_path, monkeypatch, arguments, text):
    monkeypatch.chdir(tmp_path)
    assert text in error_of(capsys, arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda folder: (folder / "valid.txt").unlink(), "valid"),
        (lambda folder: (folder / "test.txt").write_text(""), "test.txt"),
        (lambda folder: (folder / "train.txt").write_bytes(b"caf\xe9 au lait\n"), "UTF-8"),
        (lambda folder: (folder / "train.txt").write_text("one two\n" * 50), "three"),
    ],
    ids=["missing", "empty", "not UTF-8", "unknown word without <unk>"],
)
def test_each_fault_of_a_corpus_gets_a_line_that_names_it(capsys, tmp_path, damage, text):
    for split in ("train", "valid", "test"):
        (tmp_path / f"{split}.txt").write_text("one two three <unk>\n" * 50)
    damage(tmp_path)
    assert text in error_of(capsys, ["train", "--data", tmp_path, "--out", tmp_path / "run"])
    assert not (tmp_path / "run").exists()


def test_a_directory_that_cannot_be_written_is_named(capsys, texts, tmp_path):
    (tmp_path / "file").write_text("")
    arguments = ["train", "--data", texts, "--batch-size", "6", "--num-steps", "4", "--out", tmp_path / "file" / "run"]
    assert str(tmp_path / "file") in error_of(capsys, arguments)


def test_debug_shows_the_traceback(tmp_path):
    with pytest.raises(ValueError, match=r"config\.json"):
        main(["evaluate", str(tmp_path), "--debug"])


def test_a_package_that_is_missing_is_named(run, capsys, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "keras_tuner", None)
    for name in [name for name in sys.modules if name.partition(".")[0] == "tuning"]:
        monkeypatch.delitem(sys.modules, name)
    assert main(["tune", "--data", "sample", "--out", str(tmp_path / "search")]) == 1
    assert capsys.readouterr().err == "kerasptb: This command needs the package keras_tuner, which is not installed.\n"


@pytest.mark.parametrize("arguments", [[], ["train", "--epochs", "0"], ["train", "--preset", "large"], ["fly"]])
def test_wrong_words_give_status_2(capsys, arguments):
    assert main(arguments) == 2
    assert "usage: kerasptb" in capsys.readouterr().err


def test_suggest_gives_what_there_is_of_a_small_vocabulary(tmp_path, capsys):
    for split in ("train", "valid", "test"):
        (tmp_path / f"{split}.txt").write_text("a b <unk>\n" * 20)
    arguments = ["--data", tmp_path, "--batch-size", 2, "--num-steps", 3, "--epochs", 1, "--out", tmp_path / "run"]
    assert main(list(map(str, ["train", *arguments]))) == 0
    capsys.readouterr()
    assert main(["suggest", str(tmp_path / "run"), "a"]) == 0
    assert sorted(line.split()[1] for line in capsys.readouterr().out.splitlines()) == ["<eos>", "a", "b"]


@pytest.mark.parametrize(
    ("backend", "expected"),
    [
        ("numpy", "Expected KERAS_BACKEND=tensorflow or KERAS_BACKEND=jax. Received: KERAS_BACKEND=numpy"),
        (
            "jax",
            "Keras is to run on jax, which is not installed. Install it, or set KERAS_BACKEND to another. Received",
        ),
    ],
)
def test_a_backend_that_cannot_be_had_is_named(capsys, monkeypatch, backend, expected):
    monkeypatch.setenv("KERAS_BACKEND", backend)
    monkeypatch.setattr("kerasptb.utils.notices.find_spec", lambda name: None)
    assert error_of(capsys, ["info"]).startswith(f"kerasptb: {expected}")


def test_of_an_error_in_a_layer_its_own_words_are_shown(capsys, monkeypatch):
    def broken_layer(*_, **__):
        raise ValueError("Exception encountered when calling LSTM.call().\n\n\x1b[1mToo\nlong.\x1b[0m\n\nArguments: x")

    monkeypatch.setattr("kerasptb.training.train", broken_layer)
    assert error_of(capsys, ["train"]) == "kerasptb: Too long.\n"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["train", "--epochs", "abc"], "--epochs: expected a whole number of at least 1, received abc"),
        (["train", "--seed", "-5"], "--seed: expected a whole number of at least 0, received -5"),
        (["generate", "run", "--seed", "1.5"], "--seed: expected a whole number of at least 0, received 1.5"),
        (["serve", "run", "--port", "70000"], "--port: expected a port from 0 to 65535, received 70000"),
        (["serve", "run", "--rate", "nan"], "--rate: expected a number of at least 0, received nan"),
    ],
)
def test_a_number_out_of_range_is_named(capsys, arguments, text):
    assert main(arguments) == 2
    assert text in capsys.readouterr().err


def test_help_needs_no_tensorflow():
    code = (
        "import sys; sys.modules['tensorflow'] = None; from kerasptb.cli import main; sys.exit(main(['train', '-h']))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "--steps-per-epoch" in output


TRAIN = {"data": "sample", "preset": "tuned", "epochs": 2, "steps_per_epoch": 3, "batch_size": 4, "num_steps": 5}
TUNE = {"data": "sample", "tuner": "random", "trials": 2, "epochs": 3, "max_parameters": 4, "workers": 5}
TUNE |= {"max_hours": 0.5, "steps_per_epoch": 6, "max_failures": 7}
BOTH = {"backend": "native", "precision": "bfloat16", "seed": 8, "vocabulary_size": 9, "out": "folder"}


@pytest.mark.parametrize(
    ("command", "place", "options", "flags"),
    [
        ("train", "kerasptb.training.train", TRAIN | BOTH, {"--resume": ("resume", True)}),
        (
            "tune",
            "tuning.tune",
            TUNE | BOTH,
            {"--resume": ("resume", True), "--no-early-stopping": ("early_stopping", False)},
        ),
        ("serve run", "kerasptb.serving.serve", {"host": "::1", "port": 81, "rate": 0.5}, {}),
        ("build", "kerasptb.ops.native.build.build", {}, {"--force": ("force", True), "--verbose": ("verbose", True)}),
    ],
)
def test_every_option_reaches_what_does_the_work(monkeypatch, command, place, options, flags):
    module, _, name = place.rpartition(".")
    signature, asked = inspect.signature(getattr(importlib.import_module(module), name)), {}

    def work(*args, **kwargs):
        asked.update(signature.bind(*args, **kwargs).arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(place, work)
    words = [word for option, value in options.items() for word in (f"--{option.replace('_', '-')}", str(value))]
    assert main([*command.split(), *words, *flags]) == 130
    expected = options | dict(flags.values())
    assert {name: asked.get(name) for name in expected} == expected


@pytest.mark.parametrize(("interrupted", "status"), [(True, 130), (False, 0)])
def test_an_interrupted_training_has_a_status_of_its_own(monkeypatch, interrupted, status):
    run = SimpleNamespace(metrics={"interrupted": interrupted})
    monkeypatch.setattr("kerasptb.training.train", lambda *args, **kwargs: run)
    assert main(["train", "--data", "sample"]) == status


def test_generate_at_temperature_zero_needs_no_seed(run, capsys):
    outputs = []
    for seed in ("1", "2"):
        assert main(["generate", run, "--words", "30", "--temperature", "0", "--seed", seed]) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1]


def test_evaluate_reads_both_figures_in_rows_of_the_length_asked_for(run, capsys):
    assert main(["evaluate", run, "--num-steps", "7", "--json"]) == 0
    results = json.loads(capsys.readouterr().out)["results"]
    assert [(r["batch_size"], r["num_steps"]) for r in results] == [(1, 7), (6, 7)]


def test_suggest_gives_five_words_where_no_number_is_named(run, capsys):
    assert main(["suggest", run, "one two"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 5
