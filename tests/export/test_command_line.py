import keras
import pytest
from counted_runs import count

from kerasptb import cli
from kerasptb.cli.formats import FORMATS
from kerasptb.export import export_c
from kerasptb.models.weights import save_weights


@pytest.fixture(scope="module")
def run(model, vocabulary, make_run, tmp_path_factory):
    run = make_run(tmp_path_factory.mktemp("runs") / "run", vocabulary, model.get_config())
    save_weights(model, run.weights_path("best"))
    count(run, "the company said it is on the mat\n" * 3)
    return run


@pytest.mark.parametrize(
    "arguments",
    [
        [],  # which is --format saved-model
        *(["--format", name] for name in FORMATS if name not in ("saved-model", "sherpa-onnx")),
        ["--format", "litert", "--quantize"],
        ["--format", "c", "--float"],
        ["--format", "sherpa-onnx", "--without-state"],
    ],
    ids=" ".join,
)
def test_export_writes_the_format_and_prints_where(run, targets, tmp_path, capsys, arguments):
    if "onnx" in " ".join(arguments):
        pytest.importorskip("onnx", reason="onnx is not installed")
    target = tmp_path / targets[arguments[1] if arguments else "saved-model"]
    assert cli.main(["export", str(run.folder), "--to", str(target), *arguments]) == 0
    assert capsys.readouterr().out == f"{target}\n"
    if target.is_dir():
        files = ["assets", "fingerprint.pb", "saved_model.pb", "variables"]
        if "run" in arguments:
            files = ["config.json", "vocabulary.txt", "weights.int8.npz"]
        if "c" in arguments:
            files = ["core.c", "core.h", "main.c", "model.c", "model.h"]
        if "keyboard" in arguments:
            files = ["CARD.md", "c", "model.tflite", "model.vocabulary.txt", "ngrams.arpa", "words.txt"]
        assert sorted(file.name for file in target.iterdir()) == files
    else:
        beside = [] if {"arpa", "page"} & set(arguments) else [f"{target.stem}.vocabulary.txt"]
        assert sorted(file.name for file in tmp_path.iterdir()) == [target.name, *beside]


@pytest.mark.parametrize(
    ("name", "format"),
    [
        ("new", "saved-model"),
        ("models/1.2", "saved-model"),
        ("novel.tflite", "litert"),
        ("novel.litert", "litert"),
        ("a.b/novel.onnx", "onnx"),
        ("novel.html", "page"),
        ("novel.arpa", "arpa"),
    ],
)
def test_the_format_is_by_the_name_unless_another_is_named(monkeypatch, capsys, name, format):
    monkeypatch.setattr(cli.export, "import_keras", lambda **_: None)
    monkeypatch.setattr(cli.export, "function_of", lambda named: lambda run, path: f"{named} {path}")
    assert cli.main(["export", "english", "--to", name]) == 0
    assert cli.main(["export", "english", "--to", name, "--format", "run"]) == 0
    assert capsys.readouterr().out == f"{format} {name}\nrun {name}\n"


def test_sources_in_c_are_a_folder(run, tmp_path, capsys):
    assert cli.main(["export", str(run.folder), "--to", str(tmp_path / "novel.c")]) == 1
    assert "Expected the name of a folder, for several files. Received: " in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_run_of_subwords_brings_its_tokenizer(subwords, subword_model, make_run, tmp_path, capsys):
    pytest.importorskip("onnx", reason="onnx is not installed")
    run = make_run(tmp_path / "run", subwords, subword_model.get_config(), data={"tokens": "subwords"})
    save_weights(subword_model, run.weights_path("best"))
    target = tmp_path / "exports" / "novel.onnx"
    assert cli.main(["export", str(run.folder), "--to", str(target), "--format", "onnx"]) == 0
    assert capsys.readouterr().out == f"{target}\n"
    written = target.with_name("novel.tokenizer.json").read_text(encoding="utf-8")
    assert written == (run.folder / "tokenizer.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--to", "{run}"], 1, "kerasptb: Expected a new or empty folder"),
        (
            ["--to", "{new}/model.bin", "--format", "litert"],
            1,
            "kerasptb: Expected the name of a file that ends in .tflite",
        ),
        (["--to", "{new}/model", "--quantize"], 1, "kerasptb: --quantize is for --format litert"),
        (["--to", "{new}/model", "--float"], 1, "kerasptb: --float is for --format c"),
        (["--to", "{new}/model", "--without-state"], 1, "kerasptb: --without-state is for --format sherpa-onnx"),
        (["--to", "{new}/model", "--format", "pickle"], 2, "Received: pickle."),
        ([], 2, "required: --to"),
    ],
)
def test_mistakes_are_told_in_a_line(run, tmp_path, capsys, arguments, status, message):
    arguments = [argument.format(run=run.folder, new=tmp_path / "new") for argument in arguments]
    assert cli.main(["export", str(run.folder), *arguments]) == status
    error = capsys.readouterr().err
    assert message in error
    assert status == 2 or error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_no_run_is_named(tmp_path, capsys):
    assert cli.main(["export", str(tmp_path), "--to", str(tmp_path / "new")]) == 1
    assert f"Received: {tmp_path}, which has no config.json" in capsys.readouterr().err


def test_a_keras_file_of_any_model_becomes_c(tmp_path, capsys):
    series = keras.Input((5, 2))
    forecaster = keras.Model(series, keras.layers.Dense(1)(keras.layers.LSTM(3)(series)))
    forecaster.save(tmp_path / "forecaster.keras")
    source, target = str(tmp_path / "forecaster.keras"), tmp_path / "forecaster"
    assert cli.main(["export", source, "--format", "c", "--float", "--to", str(target)]) == 0
    assert capsys.readouterr().out == f"{target}\n"
    export_c(forecaster, tmp_path / "expected" / "forecaster", float32=True)
    for name in "forecaster.c", "forecaster.h":
        assert (target / name).read_bytes() == (tmp_path / "expected" / "forecaster" / name).read_bytes()
    litert = ["export", source, "--to", str(tmp_path / "x.tflite")]
    assert cli.main(litert) == 1
    assert (
        "Expected --format c for a model that is no LanguageModel. Received: --format litert" in capsys.readouterr().err
    )
    (tmp_path / "damaged.keras").write_bytes(b"PK")
    damaged = ["export", str(tmp_path / "damaged.keras"), "--format", "c", "--to", str(tmp_path / "damaged")]
    assert cli.main(damaged) == 1
    assert "Expected a model that Keras loads. Received: " in capsys.readouterr().err
    assert not (tmp_path / "damaged").exists()


def test_a_keras_file_of_a_language_model_is_as_good_as_a_run(model, tmp_path):
    model.save(tmp_path / "model.keras")
    assert cli.main(["export", str(tmp_path / "model.keras"), "--format", "c", "--to", str(tmp_path / "c")]) == 0
    assert (tmp_path / "c" / "model.c").exists()
