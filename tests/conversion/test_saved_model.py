import json
import os
import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl.testing import flagsaver
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.tools import saved_model_cli

from kerasptb.conversion import export_litert, export_saved_model
from kerasptb.data import DataError, Vocabulary, load_corpus
from kerasptb.data.text_format import load_tokenizer
from kerasptb.export.source import open_source
from kerasptb.models import LanguageModel, evaluate_perplexity
from kerasptb.models.weights import save_weights
from kerasptb.runs import RunError
from kerasptb.utils.errors import ExportError

TEXT = "The company doesn't know\nMr. zebra 's market"
SIGNATURES = {"serving_default", "predict_next", "step", "initial_state", "encode", "score", "generate"}


def operations(folder):
    """Returns the names of all kinds of operations in a SavedModel, in its functions too."""
    proto = saved_model_pb2.SavedModel.FromString((Path(folder) / "saved_model.pb").read_bytes())
    graph = proto.meta_graphs[0].graph_def
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    return {node.op for node in nodes}


def run(*arguments):
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment, check=False)


@pytest.mark.slow
def test_a_process_with_nothing_but_tensorflow_gives_the_answers_of_the_trained_model(saved_model, model, vocabulary):
    process = run(str(Path(__file__).with_name("fresh_process.py")), str(saved_model), TEXT)
    assert process.returncode == 0, process.stderr
    answers = json.loads(process.stdout)
    assert answers["keras_modules"] == ["keras", "kerasptb", "tf_keras"]  # the three that are blocked, nothing else
    tokens = vocabulary.encode_typed(TEXT)
    probabilities = model.next_word_probabilities(tokens[np.newaxis])[0]
    expected = {word: probabilities[i] for i, word in enumerate(vocabulary.words) if word != "<unk>"}
    assert answers["whole"] == pytest.approx(expected, abs=1e-5)
    assert answers["streamed"] == pytest.approx(answers["whole"], abs=1e-6)
    assert answers["default"] == answers["whole"]
    assert answers["perplexity"] == pytest.approx(evaluate_perplexity(model, tokens, every_word=True), rel=1e-5)


def cli(command, *arguments):
    """Runs a command of TensorFlow's program for SavedModels, in this process."""
    with flagsaver.flagsaver():
        saved_model_cli.flags.FLAGS(["saved_model_cli", *map(str, arguments)])
        getattr(saved_model_cli, command)()


def test_saved_model_cli_shows_the_signatures(saved_model, capsys):
    cli("show", "--dir", saved_model, "--all")
    shown = capsys.readouterr().out
    for name in SIGNATURES:
        assert f"signature_def['{name}']" in shown
    for line in ("inputs['text'] tensor_info:", "inputs['h1'] tensor_info:", "outputs['perplexity'] tensor_info:"):
        assert line in shown


def test_saved_model_cli_runs_it(saved_model, loaded, capsys):
    signature = ("--tag_set", "serve", "--signature_def", "predict_next")
    cli("run", "--dir", saved_model, *signature, "--input_exprs", 'text=["the company"];k=3')
    best = loaded.predict_next(["the company"], 3)["words"].numpy()[0]
    assert " ".join(map(repr, best)) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("backend", "precision"),
    [("auto", "float32"), ("reference", "float32"), ("keras", "float32"), ("native", "bfloat16")],
)
@pytest.mark.fast_cases(1)
def test_the_graph_holds_no_cudnn_and_no_native_operation(request, tmp_path, vocabulary, backend, precision):
    if backend == "native":
        request.getfixturevalue("skip_without")(precision)
    if backend == "auto":
        folder = request.getfixturevalue("saved_model")
    else:
        how = {"backend": backend, "precision": precision, "tokenizer": vocabulary}
        model = LanguageModel(len(vocabulary), 4, (5, 3), 2, 3, **how)
        model.predict(np.zeros((2, 3), "int32"), verbose=0)
        folder = export_saved_model(model, tmp_path / "exported")
    found = operations(folder)
    assert "MatMul" in found
    foreign = ("cudnn", "xla", "custom", "pyfunc", "kerasptb", "mkl")
    assert not [name for name in found if any(part in name.lower() for part in foreign)]
    # No state of its own: variables are read, never written.
    assert not [name for name in found if name.startswith("Assign") and name != "AssignVariableOp"]
    assert "RandomUniform" not in found


def test_no_function_of_the_graph_writes_a_variable(saved_model):
    proto = saved_model_pb2.SavedModel.FromString((saved_model / "saved_model.pb").read_bytes())
    for function in proto.meta_graphs[0].graph_def.library.function:
        if "restore" not in function.signature.name:
            assert not [node.name for node in function.node_def if node.op.startswith("Assign")], (
                function.signature.name
            )


def test_everything_saved_is_float32_but_for_words_and_ids(saved_model):
    reader = tf.train.load_checkpoint(str(saved_model / "variables" / "variables"))
    dtypes = {name: dtype for name, dtype in reader.get_variable_to_dtype_map().items() if name.startswith("weights")}
    assert len(dtypes) == 9
    assert set(dtypes.values()) == {tf.float32}


def test_a_run_is_exported_with_its_best_weights_and_its_vocabulary(tmp_path, model, vocabulary, make_run, monkeypatch):
    """Also where its precision cannot be had."""
    for name in ("ops.platform.why_not_native", "engine.network.why_not"):
        monkeypatch.setattr(f"kerasptb.{name}", lambda precision="float32": "This machine has no kernels.")
    run = make_run(tmp_path / "run", vocabulary, {**model.get_config(), "backend": "auto", "precision": "bfloat16"})
    with pytest.raises(RunError, match="no best weights"):
        export_saved_model(run, tmp_path / "exported")
    assert not (tmp_path / "exported").exists()
    save_weights(model, run.weights_path("best"))
    for source in (run, run.folder):
        found = open_source(source)
        assert found.tokenizer == vocabulary
        for weights, expected in zip(found.network.weights, model.get_weights(), strict=True):
            np.testing.assert_array_equal(weights, expected)
    folder = tmp_path / "exported" / "1"
    assert export_saved_model(str(run.folder), folder) == folder
    loaded = tf.saved_model.load(str(folder))
    result = loaded.predict_next(["the"], 1)
    probabilities = model.next_word_probabilities(vocabulary.encode_typed("the")[np.newaxis])[0]
    assert float(result["probabilities"][0, 0]) == pytest.approx(probabilities.max(), abs=1e-5)


def test_the_vocabulary_is_a_readable_file_inside(saved_model, vocabulary):
    assert Vocabulary.load(saved_model / "assets" / "vocabulary.txt") == vocabulary


def test_the_tokenizer_is_a_readable_file_inside(subword_exports, subwords):
    assert load_tokenizer(subword_exports / "models" / "novel" / "1" / "assets") == subwords


@pytest.mark.parametrize("kind", ["file", "folder", "broken link"])
def test_nothing_is_written_over(tmp_path, model, vocabulary, kind):
    target = tmp_path / "target"
    if kind == "folder":
        target.mkdir()
        (target / "mine.txt").write_text("kept")
    elif kind == "file":
        target.write_text("kept")
    else:
        target.symlink_to(tmp_path / "nowhere")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ExportError, match=r"new or empty folder.*Received: .*target"):
        export_saved_model(model, target)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["a[1]", "a\\b"])
def test_a_path_that_tensorflow_takes_for_a_pattern_is_refused(tmp_path, model, vocabulary, name):
    with pytest.raises(ExportError, match=rf"with the character {re.escape(name[1])}\. Received: "):
        export_saved_model(model, tmp_path / name)
    with pytest.raises(ExportError, match=r"Received: "):
        model.export(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_another_backend_of_keras_is_named(tmp_path, model, vocabulary, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    for export in (
        lambda: export_saved_model(model, tmp_path / "exported"),
        lambda: export_litert(model, tmp_path / "exported.tflite"),
        lambda: model.export(tmp_path / "exported"),
    ):
        with pytest.raises(ExportError, match="Received: KERAS_BACKEND=jax"):
            export()


def test_an_export_that_fails_leaves_nothing_behind(tmp_path, model, vocabulary, monkeypatch):
    def fail(*arguments, **kwargs):
        raise OSError("no space")

    monkeypatch.setattr(tf.saved_model, "save", fail)
    with pytest.raises(OSError, match="no space"):
        export_saved_model(model, tmp_path / "exported")
    assert not list(tmp_path.iterdir())


def test_a_model_needs_a_tokenizer_of_its_size(tmp_path, model, vocabulary):
    unknown = LanguageModel(**model.get_config())
    with pytest.raises(ExportError, match="give a `tokenizer` where it is made"):
        export_saved_model(unknown, tmp_path / "exported")
    assert not list(tmp_path.iterdir())
    unknown.tokenizer = vocabulary
    assert open_source(unknown).tokenizer == vocabulary
    with pytest.raises(DataError, match=r"vocabulary, of 53 words\. Received: one of 2"):
        LanguageModel(**model.get_config(), tokenizer=Vocabulary(["a", "<unk>"]))


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("KERASPTB_DATA"), reason="KERASPTB_DATA names no folder with the Penn Treebank")
def test_the_perplexity_of_ptb_through_score_is_that_of_evaluate(tmp_path):
    corpus = load_corpus("ptb")
    model = LanguageModel(len(corpus.vocabulary), 8, (8, 8), 1, 20, init_scale=0.5, seed=1, tokenizer=corpus.vocabulary)
    model.compile()
    loaded = tf.saved_model.load(str(export_saved_model(model, tmp_path / "exported")))
    ids = corpus.test[:20_000]
    result = loaded.score([corpus.vocabulary.decode(ids).replace(" <eos>", "\n")])
    assert int(result["num_words"][0]) == 20_000
    expected = evaluate_perplexity(model, np.r_[corpus.vocabulary.eos_id, ids].astype("int32"), every_word=True)
    assert float(result["perplexity"][0]) == pytest.approx(expected, rel=1e-5)
