import dataclasses
import functools
import itertools
import json
import shutil
import signal
from pathlib import Path

import keras
import numpy as np
import pytest
from small_trainings import (
    SMALL,
    TINY,
    Diverging,
    FailAt,
    assert_equal_weights,
    begun,
    resumed,
    small_corpus,
    train,
)

import kerasptb
from kerasptb.callbacks import TrainingDivergedError
from kerasptb.models import evaluate_perplexity
from kerasptb.ops import platform as platforms
from kerasptb.runs import RunError


def test_a_resumed_run_has_the_learning_rates_of_its_epochs(no_steps, tmp_path):
    arguments = {"training_arguments": {"learning_rate": 1.0, "constant_epochs": 1, "decay": 0.5}}
    run = train(tmp_path / "run", epochs=2, **arguments)
    train(run.folder, resume=True, epochs=4)
    assert [row["learning_rate"] for row in run.history] == [1.0, 0.5, 0.25, 0.125]


def test_resumed_run_is_the_uninterrupted_one_to_the_bit(tmp_path):
    arguments = {"model_arguments": {**SMALL, "keep_prob": 0.6}, "training_arguments": {"constant_epochs": 2}}
    whole = train(tmp_path / "whole", epochs=5, **arguments)
    train(tmp_path / "parts", epochs=2, **arguments)
    parts = kerasptb.train(small_corpus(), out=tmp_path / "parts", resume=True, epochs=5, verbose=0)
    assert [row["epoch"] for row in parts.history] == [1, 2, 3, 4, 5]
    for key in ("perplexity", "val_perplexity", "learning_rate"):
        assert [row[key] for row in parts.history] == [row[key] for row in whole.history]
    assert_equal_weights(parts, whole)


RECIPES = {
    # It averages from epoch 3 or 4 on. With so many rows its batches have three lengths: each is compiled.
    "awd-lstm": {**TINY, "batch_size": 16, "training_arguments": {"patience": 1, "learning_rate": 2.0}},
    "small": TINY,
    "tied-650": {"model_arguments": {"units": (6,), "embedding_size": 6}},
}


@pytest.fixture(scope="module")
def of_recipe(tmp_path_factory):
    """The run of six epochs of a recipe, made once."""
    folder = tmp_path_factory.mktemp("recipes")
    return functools.cache(lambda name: train(folder / name, epochs=6, preset=name, **RECIPES[name]))


@pytest.mark.slow
def test_a_run_that_is_ended_in_a_validation_resumes_to_the_bit(of_recipe, tmp_path):
    whole, validations = of_recipe("awd-lstm"), itertools.count()

    def end(_):
        if next(validations) == 4:  # of the averages
            signal.raise_signal(signal.SIGTERM)

    ends = keras.callbacks.LambdaCallback(on_test_begin=end)
    with pytest.raises(SystemExit):
        train(tmp_path / "run", epochs=6, preset="awd-lstm", callbacks=[ends], **RECIPES["awd-lstm"])
    place = json.loads(str(np.load(tmp_path / "run" / "resume.npz")["place"]))
    resumed = kerasptb.train(small_corpus(), out=tmp_path / "run", resume=True, verbose=0)
    for key in ("perplexity", "val_perplexity", "learning_rate"):
        assert [row[key] for row in resumed.history] == [row[key] for row in whole.history]
    assert_equal_weights(resumed, whole)
    assert resumed.history[4]["words_per_second"] == place["logs"]["words_per_second"]


@pytest.mark.parametrize(
    "preset", ["awd-lstm", *(pytest.param(each, marks=pytest.mark.slow) for each in ("small", "tied-650"))]
)
@pytest.mark.slow
def test_a_recipe_with_a_memory_resumes_to_the_bit(of_recipe, tmp_path, preset):
    whole, arguments = of_recipe(preset), {**RECIPES[preset], "preset": preset}
    with pytest.raises(RuntimeError, match="out of luck"):
        train(tmp_path / "parts", epochs=6, callbacks=[FailAt(3, 3)], checkpoint_minutes=0, **arguments)
    assert len(kerasptb.load_run(tmp_path / "parts").history) == 3
    parts = kerasptb.train(small_corpus(), out=tmp_path / "parts", resume=True, verbose=0)
    for name in ("perplexity", "val_perplexity", "learning_rate"):
        assert [row[name] for row in parts.history] == [row[name] for row in whole.history]
    with np.load(whole.folder / "resume.npz") as one, np.load(parts.folder / "resume.npz") as other:
        for name in set(one.files) - {"history"}:
            np.testing.assert_array_equal(one[name], other[name])


@pytest.mark.slow
def test_a_run_keeps_the_averages_of_its_weights(of_recipe):
    run = of_recipe("awd-lstm")
    best = min(run.history, key=lambda row: row["val_perplexity"])
    found = evaluate_perplexity(run.load_model(), small_corpus().valid, 16, 5)
    assert found == pytest.approx(best["val_perplexity"], rel=1e-5)
    last = run.load_model(weights="last").get_weights()
    with np.load(run.folder / "resume.npz") as saved:  # it holds the weights that train on
        assert any(np.abs(saved[f"v{i}"] - weights).max() > 1e-3 for i, weights in enumerate(last[:2]))


def test_a_run_cannot_be_resumed_while_it_trains(no_steps, tmp_path):
    class Resume(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            with pytest.raises(RunError, match="Another training is at work"):
                kerasptb.train(small_corpus(), out=tmp_path / "run", resume=True, epochs=9, verbose=0)

    run = train(tmp_path / "run", epochs=2, callbacks=[Resume()])
    assert (len(run.history), run.config["training"]["epochs"]) == (2, 2)
    assert kerasptb.load_run(run.folder).config == run.config


def test_settings_are_compared_as_they_are_meant(tmp_path):
    arguments = {"batch_size": np.int64(4), "model_arguments": {**SMALL, "units": np.int64(8)}}
    run = begun(tmp_path / "run", epochs=1, **arguments)
    assert resumed(run.folder, small_corpus(), epochs=2, **arguments).settings.training.epochs == 2


def test_what_a_run_goes_on_from_is_replaced_not_emptied(no_steps, trained, tmp_path):
    run = trained(tmp_path / "run", epochs=1)
    path = run.folder / "resume.npz"
    before = path.read_bytes()
    with path.open("rb") as file:  # a reader that opened it before sees the old content
        train(run.folder, epochs=2, resume=True)
        assert file.read() == before != path.read_bytes()


@pytest.mark.parametrize("name", ["best.weights.h5", "best.copy.weights.h5", "last.weights.h5"])
def test_a_finished_run_gets_its_weights_back(trained, tmp_path, name):
    whole, run = trained(tmp_path / "whole", epochs=2), trained(tmp_path / "run", epochs=2)
    for damage in (lambda path: path.write_bytes(path.read_bytes()[:-1000]), Path.unlink):
        damage(run.folder / name)
        train(run.folder, resume=True, epochs=2)
        for weights in ("best", "last"):
            assert_equal_weights(run, whole, weights)
        assert (run.folder / "best.copy.weights.h5").read_bytes() == run.weights_path("best").read_bytes()
    assert run.metrics["epochs"] == 2


def test_weights_that_cannot_come_back_are_told_before_anything_changes(trained, tmp_path):
    run = trained(tmp_path / "run", epochs=2)
    run.weights_path("best").write_bytes(b"")
    (run.folder / "best.copy.weights.h5").unlink()
    before = {path: path.read_bytes() for path in run.folder.iterdir() if path.is_file()}
    with pytest.raises(RunError, match=r"Neither .*best\.weights\.h5 nor best\.copy\.weights\.h5 is whole"):
        train(run.folder, resume=True, epochs=3)
    assert {path: path.read_bytes() for path in run.folder.iterdir() if path.is_file()} == before


def test_what_the_bits_depend_on_is_told_if_it_is_another(trained, tmp_path, capsys):
    run = trained(tmp_path / "run", epochs=1)
    train(run.folder, resume=True, epochs=1, verbose=1)
    assert "began with" not in capsys.readouterr().out
    versions, config = run.config["versions"], run.config
    config["versions"] = {**versions, "keras": "3.0.1", "processors": "avx1, threads: 99", "theano": "1.0"}
    (run.folder / "config.json").write_text(json.dumps(config))
    train(run.folder, resume=True, epochs=1, verbose=1)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "began with" in line]
    assert line.startswith(
        f"The run began with keras 3.0.1 (now {keras.__version__}); processors avx1, threads: 99 "
        f"(now {platforms.processors()}); theano 1.0 (now none). "
    )


def test_resuming_keeps_the_runs_settings(tmp_path):
    begun(tmp_path / "run")
    with pytest.raises(RunError, match=r"batch_size=4\. Received: batch_size=8"):
        kerasptb.train(small_corpus(), out=tmp_path / "run", resume=True, batch_size=8, verbose=0)
    with pytest.raises(RunError, match="--out"):
        kerasptb.train(small_corpus(), resume=True, verbose=0)


def test_a_resumed_run_keeps_its_text(no_steps, tmp_path, monkeypatch):
    folder = tmp_path / "text"
    folder.mkdir()
    for split, lines in (("train", 200), ("valid", 60), ("test", 60)):
        (folder / f"{split}.txt").write_text("one two three <unk>\none two\n" * lines)
    monkeypatch.chdir(tmp_path)
    arguments = {"epochs": 1, "batch_size": 4, "num_steps": 5, "verbose": 0, "model_arguments": SMALL}
    run = kerasptb.train("text", out=tmp_path / "run", **arguments)
    # The run goes on with its own text, from any folder and without being given the text ...
    monkeypatch.chdir(folder)
    kerasptb.train(out=run.folder, resume=True, epochs=2, verbose=0)
    history = run.history
    assert [row["epoch"] for row in history] == [1, 2]
    assert history[1]["perplexity"] < history[0]["perplexity"]
    # ... and with no other text, however similar.
    before = {path: path.read_bytes() for path in run.folder.iterdir() if path.is_file()}
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    with (other / "valid.txt").open("a") as file:
        file.write("one\n")
    for text in (other, "sample", small_corpus()):
        with pytest.raises(RunError, match=r"keeps its text: .* was trained on text\. Received: .*, another text"):
            kerasptb.train(text, out=run.folder, resume=True, epochs=3, verbose=0)
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(RunError, match=rf"{folder}, which is no longer there. Name the text with --data"):
        kerasptb.train(out=run.folder, resume=True, epochs=3, verbose=0)
    assert {path: path.read_bytes() for path in run.folder.iterdir() if path.is_file()} == before
    kerasptb.train(tmp_path / "elsewhere", out=run.folder, resume=True, epochs=3, verbose=0)
    assert len(run.history) == 3
    # From then on the run knows the text's new place, even after training on an equal text without a place.
    resumed(run.folder)
    nowhere = dataclasses.replace(run.load_corpus(tmp_path / "elsewhere"), location=None)
    resumed(run.folder, nowhere)
    resumed(run.folder)
    made_up = begun(tmp_path / "made up")
    with pytest.raises(RunError, match=r"a text that came from no file\. Name the text"):
        kerasptb.train(out=made_up.folder, resume=True, epochs=2, verbose=0)


def test_results_of_fewer_epochs_are_gone_while_a_run_goes_on(no_steps, trained, tmp_path):
    run = trained(tmp_path / "run", epochs=1)
    with pytest.raises(TrainingDivergedError):
        train(run.folder, resume=True, epochs=2, callbacks=[Diverging()])
    assert run.metrics == {}
    assert train(run.folder, resume=True, epochs=2).metrics["epochs"] == 2


def test_a_resumed_run_keeps_its_preset(tmp_path):
    run = begun(tmp_path / "run")
    with pytest.raises(RunError, match=r"preset='notebook'\. Received: preset='tuned'"):
        train(run.folder, resume=True, preset="tuned")
    resumed(run.folder, small_corpus(), preset="notebook")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"training_arguments": {"decay": 0.9}}, r"decay=0\.5\. Received: decay=0\.9"),
        ({"steps_per_epoch": 3}, r"steps_per_epoch=None\. Received: steps_per_epoch=3"),
    ],
)
def test_resuming_keeps_the_settings_of_the_training_too(tmp_path, arguments, message):
    begun(tmp_path / "run")
    with pytest.raises(RunError, match=message):
        train(tmp_path / "run", epochs=2, resume=True, **arguments)


def test_a_run_that_has_more_epochs_than_asked_for_says_so_and_keeps_them(trained, tmp_path, capsys):
    trained(tmp_path / "run", epochs=2)
    run = kerasptb.train(small_corpus(), out=tmp_path / "run", resume=True, epochs=1, verbose=1)
    assert "2 epochs are done already" in capsys.readouterr().out
    assert len(run.history) == run.config["training"]["epochs"] == run.metrics["epochs"] == 2


def test_a_run_of_minutes_that_is_given_epochs_has_no_minutes(no_steps, trained, tmp_path, capsys):
    trained(tmp_path / "run", epochs=1)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    config["training"]["minutes"] = 10.0
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    run = kerasptb.train(small_corpus(), out=tmp_path / "run", resume=True, epochs=2, verbose=1)
    assert run.settings.training.minutes is None
    assert "Length: 2 epochs of the text\n" in capsys.readouterr().out
