import csv
import dataclasses
import functools
import io
import itertools
import json
import logging
import runpy
import shutil
import time
import types

import numpy as np
import pytest
import tensorflow as tf
import toy_spaces
from tensorflow.core.util import event_pb2
from tensorflow.python.summary.summary_iterator import summary_iterator
from toy_spaces import SMALL, toy

import kerasptb
from kerasptb import runs, tuning
from kerasptb.cli import main
from kerasptb.ops.platform import why_not_native
from kerasptb.tuning import stopping
from kerasptb.tuning.records import read_trials
from kerasptb.tuning.search_space import NOTEBOOK_PARAMETERS


@pytest.fixture(scope="module")
def found(texts, tmp_path_factory):
    """A search by random draws, of models that are trained in earnest."""
    out = tmp_path_factory.mktemp("searches") / "random"
    space = tuning.LanguageModelSpace(num_layers=1, **SMALL)
    result = tuning.tune(
        texts, space, tuner="random", trials=2, epochs=2, seed=3, max_parameters=15_000, out=out, verbose=False
    )
    return result


def test_the_best_trial_is_first_and_every_number_is_recorded(found, corpus):
    first, second = found.trials
    assert first.score < second.score
    for trial in found.trials:
        run = kerasptb.load_run(trial.folder / "run")
        assert trial.record.parameters == run.metrics["parameters"] <= 15_000
        assert trial.record.words_per_second == run.metrics["words_per_second"] > 0
        assert trial.record.curve == [row["val_perplexity"] for row in run.history]
        assert trial.record.seconds > 0
        assert run.metrics["preset"] == "notebook"
        assert run.config["model"]["seed"] == 3
        assert run.config["recipe"]["learning_rate"] == pytest.approx(trial.values["learning_rate"], rel=1e-5)
        model = run.load_model()
        assert (model.batch_size, model.num_steps) == (trial.values["batch_size"], trial.values["num_steps"])
        # All at one batch size, whatever they trained with: 420 words are 20 streams of 21.
        assert trial.score == pytest.approx(kerasptb.evaluate_perplexity(model, corpus.valid, 20, 20))


def test_the_leaderboard_says_what_the_trials_say(found):
    with (found.folder / "leaderboard.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["trial"] for row in rows] == [trial.trial_id for trial in found.trials]
    assert [float(row["valid_perplexity"]) for row in rows] == [trial.score for trial in found.trials]
    assert [int(row["rank"]) for row in rows] == [1, 2]
    assert rows[0]["units_0"] == str(found.trials[0].values["units_0"])
    for name in ("perplexity-parameters.png", "perplexity-settings.png"):
        assert (found.folder / "plots" / name).read_bytes().startswith(b"\x89PNG")


def test_tensorboard_finds_settings_and_results(found):
    for trial in found.trials:
        (path,) = (trial.folder / "hparams").iterdir()
        events = [event for event in summary_iterator(str(path)) if isinstance(event, event_pb2.Event)]
        tags = {value.tag for event in events for value in event.summary.value}
        assert "_hparams_/session_start_info" in tags
        assert "val_perplexity" in tags
        assert list((trial.folder / "run" / "logs").rglob("events*"))


def test_the_best_run_is_evaluated_used_and_trained_on(found, texts, capsys):
    best = str(found.folder / "best")
    assert main(["evaluate", best, "--data", str(texts), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["results"][0]["perplexity"] > 1
    assert main(["suggest", best, "w1 w2", "-k", "2", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["suggestions"]) == 2
    assert main(["train", "--data", str(texts), "--out", best, "--resume", "--epochs", "3"]) == 0
    assert [row["epoch"] for row in kerasptb.load_run(best).history] == [1, 2, 3]


def test_the_script_rebuilds_the_best_model(found):
    assert "start_from='none'" in (found.folder / "best_model.py").read_text()  # whatever would suit the text
    names = runpy.run_path(str(found.folder / "best_model.py"))
    model = names["build_model"]()
    trained = found.run.load_model()
    model.load_weights(found.run.weights_path("best"))
    assert model.get_config() == trained.get_config()
    assert names["TRAINING"]["decay"] == found.run.config["recipe"]["decay"]


AROUND_SMALL = {"units": 32, "embedding_size": 32, "batch_size": 5, "num_steps": 5, "learning_rate": (0.01, 0.03)}


@pytest.mark.parametrize(
    "arguments",
    [{"num_layers": 1, **SMALL}, pytest.param({"preset": "small", **AROUND_SMALL}, marks=pytest.mark.slow)],
    ids=["notebook", "small"],
)
@pytest.mark.slow
def test_the_script_trains_as_the_trial_was_trained(texts, tmp_path, monkeypatch, arguments):
    space = tuning.LanguageModelSpace(**arguments)
    result = toy(texts, tmp_path, space, trials=1, epochs=2, steps_per_epoch=3, max_parameters=20_000)
    assert result.run.config["batches"]["steps_per_epoch"] == 3
    assert result.run.config["training"]["preset"] == space.preset
    assert result.run.load_model().variational_dropout == (space.preset == "small")
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(result.folder / "best_model.py"), run_name="__main__")
    again = kerasptb.load_run(tmp_path / "retrained")
    for name in ("perplexity", "val_perplexity", "learning_rate"):
        assert [row[name] for row in again.history] == [row[name] for row in result.run.history]


@pytest.mark.slow
def test_hyperband_goes_on_with_the_best_where_it_stopped(no_steps, texts, tmp_path):
    space = tuning.LanguageModelSpace(num_layers=1, **SMALL)
    result = toy(texts, tmp_path, space, tuner="hyperband", trials=4, epochs=3)
    trials = read_trials(result.folder)
    assert [len(trial.record.curve) for trial in trials] == [1, 1, 1, 3]
    best = min(trials[:3], key=lambda trial: trial.score)
    assert trials[3].record.curve[0] == best.record.curve[0]
    assert trials[3].values == best.values


@pytest.mark.slow
def test_bayesian_search_uses_all_its_trials(texts, tmp_path):
    space = toy_spaces.ToySpace(tmp_path / "journal")
    result = toy(texts, tmp_path, space, tuner="bayesian", trials=6)
    assert [trial.status for trial in result.trials] == ["COMPLETED"] * 6
    assert result.trials[0].score == 100 + min(space.trained())
    assert result.run is None


def test_a_poisoned_trial_is_recorded_and_the_search_goes_on(texts, tmp_path, capsys):
    space = toy_spaces.PoisonedSpace(tmp_path / "journal")
    result = toy(texts, tmp_path, space, trials=6, verbose=True)
    reasons = [trial.record.reason for trial in read_trials(result.folder)]
    assert reasons == [
        None,
        "out of memory: OOM when allocating tensor with shape[9,9]",
        "diverged: training diverged: the loss became nan in epoch 1, step 7",
        "KeyError: 'no such word'",
        None,
        None,
    ]
    output = capsys.readouterr().out
    assert "3 completed, 3 failed" in output
    assert "trial 1 failed: out of memory" in output
    assert "Traceback" in (result.trials[-1].folder / "error.txt").read_text()


def test_that_each_trial_is_traced_anew_is_no_warning(texts, tmp_path):
    logger, screen = tf.get_logger(), io.StringIO()
    handler = logging.StreamHandler(screen)
    logger.addHandler(handler)
    try:
        toy(texts, tmp_path, toy_spaces.TracedSpace(tmp_path / "journal"), trials=8)
        logger.warning("another")
    finally:
        logger.removeHandler(handler)
    assert screen.getvalue() == "another\n"


def test_three_trials_failing_for_one_reason_end_the_search_with_it(texts, tmp_path):
    space = toy_spaces.BrokenSpace(tmp_path / "journal")
    with pytest.raises(tuning.SearchError, match="3 trials failed for one reason: OSError: cannot read block"):
        toy(texts, tmp_path, space, trials=10)
    assert len(space.trained()) == 3


def test_a_search_whose_trials_all_fail_says_so(texts, tmp_path):
    space = toy_spaces.BrokenSpace(tmp_path / "journal")
    with pytest.raises(tuning.SearchError, match="No trial of the search has completed: OSError"):
        toy(texts, tmp_path, space, trials=2)


def test_a_space_of_ones_own_is_a_subclass(fake_trials, texts, tmp_path):
    space = toy_spaces.WithoutDropout(num_layers=1, **SMALL | {"units": 32})
    result = toy(texts, tmp_path, space, trials=1, epochs=1)
    assert result.run.config["model"]["keep_prob"] == 1.0
    assert "gentle" in result.trials[0].values
    # Trials of another space would not be comparable.
    with pytest.raises(tuning.SearchError, match=r"keeps its space, toy_spaces\.WithoutDropout"):
        toy(texts, tmp_path, tuning.LanguageModelSpace(), trials=1, epochs=1, resume=True)


def test_a_search_is_around_the_recipe_for_the_text(tmp_path, monkeypatch):
    """Words: the notebook. A text of one's own: `auto`, in its precision, in the rows and dropout that suit it."""
    (tmp_path / "novel.txt").write_text("It was the best of times.\n" * 2000)
    begun = []
    monkeypatch.setattr("kerasptb.tuning.search._search", lambda search, *_: begun.append(search))
    tuning.tune(tmp_path / "novel.txt", epochs=5, out=tmp_path / "own")
    tuning.tune("sample", out=tmp_path / "words")
    tuning.tune(tmp_path / "novel.txt", "characters", out=tmp_path / "characters")
    own, words, characters = (each.settings for each in begun)
    assert [each.preset for each in (own, words, characters)] == ["auto", "notebook", "characters"]
    assert [each.space.preset for each in begun] == ["auto", "notebook", "characters"]
    assert [each.space.bounds["batch_size"] for each in begun[:2]] == [4, [20, 30, 40, 60]]
    assert own.precision == begun[0].space.precision == ("float32" if why_not_native("bfloat16") else "bfloat16")
    assert [each.tokens for each in (own, characters)] == [None, "characters"]
    assert own.space["config"]["preset"] == "auto"
    # A recipe that is larger than the notebook's is not made narrower.
    assert (own.max_parameters, characters.max_parameters) == (NOTEBOOK_PARAMETERS, 5_444_864)
    with pytest.raises(ValueError, match=r"Received: max_parameters=1000$"):
        tuning.tune("sample", "medium", max_parameters=1000, out=tmp_path / "narrow")


def test_a_space_of_ones_own_is_a_function(fake_trials, texts, tmp_path, corpus):
    def build(hp):
        model = kerasptb.build_language_model(
            len(corpus.vocabulary), 8, hp.Choice("units", [8, 12]), batch_size=5, num_steps=5
        )
        model.compile(kerasptb.optimizers.ClippedSGD(hp.Float("learning_rate", 0.25, 0.5), 2.0))
        return model

    result = toy(texts, tmp_path, build, trials=1, epochs=1)
    training = result.run.config["recipe"]
    assert training["learning_rate"] == pytest.approx(result.trials[0].values["learning_rate"])
    assert training["global_clipnorm"] == 2.0
    assert result.run.config["model"]["units"] == [result.trials[0].values["units"]]


@pytest.mark.parametrize("name", ["trials", "epochs", "workers", "max_parameters", "steps_per_epoch", "max_failures"])
def test_a_search_of_nothing_is_refused(texts, tmp_path, name):
    with pytest.raises(ValueError, match=f"`{name}` must be a whole number of at least 1. Received: {name}=0"):
        tuning.tune(texts, out=tmp_path / "search", **{name: 0})
    assert not (tmp_path / "search").exists()


class OwnSettings(tuning.LanguageModelSpace):
    def settings(self, hp):
        width = hp.Int("width", 8, 24, step=8)
        return {
            **{
                "embedding_size": width,
                "units": (width,),
                "tie_embeddings": False,
                "keep_prob": 1.0,
                "init_scale": 0.1,
            },
            **{"batch_size": 5, "num_steps": 5, "learning_rate": 0.5, "global_clipnorm": 5.0},
            **{"constant_epochs": 1, "decay": 0.5},
        }


@pytest.mark.parametrize("tuner", ["random", "bayesian"])
@pytest.mark.slow
def test_a_subclass_may_have_settings_of_other_names(fake_trials, texts, tmp_path, tuner):
    result = toy(texts, tmp_path, OwnSettings(), trials=2, epochs=1, tuner=tuner)
    assert {tuple(trial.values) for trial in result.trials} == {("width",)}


def test_a_space_may_be_a_partial_function(fake_trials, texts, tmp_path, corpus):
    def build(hp, batch_size):
        model = kerasptb.build_language_model(len(corpus.vocabulary), 8, hp.Int("units", 4, 9), batch_size, 5)
        model.compile()
        return model

    result = toy(texts, tmp_path, functools.partial(build, batch_size=5), trials=1, epochs=1)
    assert result.run.config["model"]["batch_size"] == 5


def test_a_best_run_that_was_trained_further_is_not_lost(fake_trials, texts, tmp_path):
    space = tuning.LanguageModelSpace(num_layers=1, **SMALL)
    result = toy(texts, tmp_path, space, trials=1, epochs=1)
    first = kerasptb.train(out=result.run.folder, resume=True, epochs=3, verbose=0)
    history = first.history
    assert toy(texts, tmp_path, space, trials=1, epochs=1, resume=True).run.history == history
    # A better run takes its place, and this one moves to a folder of its own.
    trial = result.folder / "trials" / "trial_0" / "run" / "history.csv"
    trial.write_text(trial.read_text().replace("\n1,", "\n1,9"))
    again = toy(texts, tmp_path, space, trials=1, epochs=1, resume=True)
    assert len(again.run.history) == 1
    assert kerasptb.load_run(result.folder / "best-1").history == history


def test_a_copy_of_a_trial_makes_way_for_a_better_one(fake_trials, texts, tmp_path):
    space = tuning.LanguageModelSpace(num_layers=1, **SMALL)
    result = toy(texts, tmp_path, space, trials=2, epochs=1)
    shutil.rmtree(result.run.folder)
    shutil.copytree(result.trials[1].folder / "run", result.run.folder)
    again = toy(texts, tmp_path, space, trials=2, epochs=1, resume=True)
    assert again.run.history == kerasptb.load_run(result.trials[0].folder / "run").history
    assert not list(result.folder.glob("*best*-*"))
    assert not list(result.folder.glob(".best*"))


def test_a_search_finds_its_text_from_anywhere(texts, tmp_path, monkeypatch):
    monkeypatch.chdir(texts.parent)
    space = toy_spaces.ToySpace(tmp_path / "journal")
    for data, name in ((texts.name, "by path"), (kerasptb.load_corpus(texts.name), "a corpus")):
        out = tmp_path / name
        arguments = {"tuner": "random", "epochs": 1, "seed": 1, "verbose": False, "out": out}
        tuning.tune(data, space, trials=1, **arguments)
        monkeypatch.chdir(tmp_path)
        assert len(tuning.tune(None, space, trials=2, resume=True, **arguments).trials) == 2
        monkeypatch.chdir(texts.parent)


def test_numpy_numbers_are_welcome(texts, tmp_path):
    space = toy_spaces.ToySpace(tmp_path / "journal")
    two = np.int64(2)
    result = tuning.tune(
        texts, space, trials=two, epochs=two, seed=two, tuner="random", verbose=False, out=tmp_path / "search"
    )
    assert len(result.trials) == 2


def test_an_interrupted_search_is_taken_up_again(texts, tmp_path):
    space = toy_spaces.InterruptedSpace(tmp_path / "journal")
    with pytest.raises(KeyboardInterrupt):
        toy(texts, tmp_path, space, trials=5)
    assert (tmp_path / "search" / "leaderboard.csv").exists()
    result = tuning.tune(texts, space, out=tmp_path / "search", resume=True, verbose=False)
    assert [trial.status for trial in result.trials] == ["COMPLETED"] * 5
    trained = space.trained()
    # The third was begun twice, the others once.
    assert trained[2] == trained[3]
    assert len(set(trained)) == 5
    assert len(trained) == 6


def test_a_resumed_search_may_have_more_trials_but_no_other_epochs(texts, tmp_path):
    space = toy_spaces.ToySpace(tmp_path / "journal")
    toy(texts, tmp_path, space, trials=2)
    assert len(toy(texts, tmp_path, space, trials=3, resume=True).trials) == 3
    assert len(space.trained()) == 3
    with pytest.raises(tuning.SearchError, match=r"keeps its settings: .* has epochs=2\. Received: epochs=9"):
        toy(texts, tmp_path, space, epochs=9, resume=True)
    with pytest.raises(tuning.SearchError, match=r"not empty.*--resume"):
        toy(texts, tmp_path, space)


@pytest.mark.parametrize("short", ["valid", "train"])
@pytest.mark.slow
def test_a_short_text_is_searched_in_batches_that_it_fills(fake_trials, texts, tmp_path, short):
    for split in ("train", "valid", "test"):
        (tmp_path / f"{split}.txt").write_text((texts / f"{split}.txt").read_text().replace("\n", " "))
    words = (texts / f"{short}.txt").read_text().split()
    (tmp_path / f"{short}.txt").write_text(" ".join(words[:110]))
    # 110 words are enough for 4 rows of 26 words and their targets; some draws between 20 and 40 are longer.
    space = tuning.LanguageModelSpace(num_layers=1, **SMALL | {"units": 32, "batch_size": 4, "num_steps": (20, 40)})
    result = toy(tmp_path, tmp_path, space, trials=3, epochs=1, steps_per_epoch=2, max_parameters=15_000)
    assert [trial.status for trial in result.trials] == ["COMPLETED"] * 3
    assert all(20 <= trial.values["num_steps"] <= 26 for trial in result.trials)
    (tmp_path / f"{short}.txt").write_text(" ".join(words[:80]))
    with pytest.raises(ValueError, match=r"batch_size=4 and num_steps=20, need texts of 84 words"):
        tuning.tune(tmp_path, space, out=tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.slow
def test_a_search_among_the_most_frequent_words(no_steps, texts, tmp_path, monkeypatch):
    space = tuning.LanguageModelSpace(num_layers=1, **SMALL | {"units": 32})
    arguments = {"steps_per_epoch": 3, "max_parameters": 15_000}
    result = toy(texts, tmp_path, space, trials=1, vocabulary_size=9, **arguments)
    assert len(result.run.vocabulary) == 9
    assert result.run.config["model"]["vocabulary_size"] == 9
    # A resumed search reads the text as before. A corpus of the same words is accepted, too, and no other.
    corpus = kerasptb.load_corpus(texts, vocabulary_size=9)
    assert len(toy(None, tmp_path, space, trials=2, resume=True).trials) == 2
    assert len(toy(corpus, tmp_path, space, trials=3, resume=True).trials) == 3
    with pytest.raises(tuning.SearchError, match="another text or vocabulary"):
        toy(kerasptb.load_corpus(texts), tmp_path, space, trials=4, resume=True)
    with pytest.raises(tuning.SearchError, match=r"vocabulary_size=9\. Received: vocabulary_size=8"):
        toy(None, tmp_path, space, trials=4, vocabulary_size=8, resume=True)
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(result.folder / "best_model.py"), run_name="__main__")
    assert kerasptb.load_run(tmp_path / "retrained").vocabulary == corpus.vocabulary


@pytest.mark.slow
def test_a_corpus_of_the_most_frequent_words_is_read_again_from_where_it_is(no_steps, texts, tmp_path, monkeypatch):
    space = tuning.LanguageModelSpace(num_layers=1, **SMALL | {"units": 32})
    corpus = kerasptb.load_corpus(texts, vocabulary_size=9)
    result = toy(corpus, tmp_path, space, trials=1, steps_per_epoch=3, max_parameters=15_000)
    assert len(toy(None, tmp_path, space, trials=2, resume=True).trials) == 2
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(result.folder / "best_model.py"), run_name="__main__")
    assert kerasptb.load_run(tmp_path / "retrained").vocabulary == corpus.vocabulary


def test_a_corpus_without_unknown_words_is_read_again_as_it_was(texts, tmp_path):
    for split in ("train", "valid", "test"):
        (tmp_path / f"{split}.txt").write_text((texts / f"{split}.txt").read_text().replace("<unk>", "w0"))
    space = toy_spaces.ToySpace(tmp_path / "journal")
    toy(kerasptb.load_corpus(tmp_path), tmp_path, space, trials=1)
    assert len(toy(None, tmp_path, space, trials=2, resume=True).trials) == 2


def test_a_search_that_is_taken_up_or_joined_keeps_its_text(fake_trials, texts, tmp_path, monkeypatch):
    space = tuning.LanguageModelSpace(num_layers=1, **SMALL | {"units": 32})
    monkeypatch.setenv("KERASPTB_DATA", str(texts))
    toy("auto", tmp_path, space, trials=1, epochs=1)
    other = tmp_path / "other"
    shutil.copytree(texts, other)
    with (other / "valid.txt").open("a") as file:
        file.write("w1\n")
    # What "auto" finds has changed.
    monkeypatch.setenv("KERASPTB_DATA", str(other))
    with pytest.raises(tuning.SearchError, match=rf"begun with {texts}\. Received: {other}, another text"):
        toy(None, tmp_path, space, trials=2, epochs=1, resume=True)
    # A worker gets the same error.
    for name, value in (("IP", "127.0.0.1"), ("PORT", "1")):
        monkeypatch.setenv(f"KERASTUNER_ORACLE_{name}", value)
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "worker-0")
    with pytest.raises(tuning.SearchError, match="keeps its text"):
        toy(None, tmp_path, space)


@pytest.mark.slow
def test_an_interrupted_training_goes_on_after_its_last_epoch(texts, tmp_path, monkeypatch):
    space = tuning.LanguageModelSpace(num_layers=1, **SMALL | {"units": 32})
    whole = toy(texts, tmp_path / "whole", space, trials=1, epochs=3)

    def interrupt(callback, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(stopping.TrialEarlyStopping, "on_epoch_begin", interrupt)
        toy(texts, tmp_path / "cut", space, trials=1, epochs=3)
    begun = []
    monkeypatch.setattr(
        stopping.TrialEarlyStopping, "on_epoch_begin", lambda callback, epoch, logs=None: begun.append(epoch)
    )
    resumed = tuning.tune(texts, out=tmp_path / "cut" / "search", resume=True, verbose=False)
    assert begun == [1, 2]
    assert resumed.trials[0].score == whole.trials[0].score
    assert resumed.trials[0].record.curve == whole.trials[0].record.curve


def test_the_time_limit_ends_a_search_with_what_it_has(texts, tmp_path, monkeypatch):
    looks = itertools.count()
    clock = types.SimpleNamespace(time=lambda: time.time() + 600 * next(looks))  # ten minutes from look to look
    monkeypatch.setattr("kerasptb.tuning.stopping.time", clock)
    monkeypatch.setattr("kerasptb.tuning.oracles.time", clock)
    space = toy_spaces.ToySpace(tmp_path / "journal")
    result = toy(texts, tmp_path, space, trials=50, epochs=1000, max_hours=2)
    assert result.stop_reason == "the time limit was reached"
    assert [trial.record.stopped for trial in result.trials] == ["time limit"]
    assert 1 <= len(result.trials[0].record.curve) < 1000


def test_a_trial_that_killed_its_process_three_times_is_given_up(texts, tmp_path):
    space = toy_spaces.ToySpace(tmp_path / "journal")
    result = toy(texts, tmp_path, space, trials=1)
    runner_settings = result.folder / "search.json"
    assert json.loads(runner_settings.read_text())["trials"] == 1
    from kerasptb.tuning.records import Record
    from kerasptb.tuning.settings import SearchSettings
    from kerasptb.tuning.trials import run_process

    arguments = json.loads(runner_settings.read_text()) | {"trials": 2}
    folder = result.folder / "trials" / "trial_1"
    folder.mkdir()
    Record(attempts=3).save(folder)
    run_process(SearchSettings(**arguments, folder=result.folder), space, None)
    trial = read_trials(result.folder)[1]
    assert trial.status == "FAILED"
    assert "was killed 3 times" in trial.record.reason


@pytest.mark.parametrize(("there", "missing"), [(["tensorflow"], "tensorboard scikit-learn"), ([], "scikit-learn")])
def test_missing_packages_are_told_before_the_search(texts, tmp_path, monkeypatch, there, missing):
    monkeypatch.setattr("kerasptb.tuning.search.find_spec", lambda name: name if name in there else None)
    with pytest.raises(tuning.SearchError, match=f"pip install {missing} scipy$"):
        toy(texts, tmp_path, None, tuner="bayesian")


def test_the_command_searches(no_steps, tmp_path, capsys):
    for split, lines in (("train", 800), ("valid", 400), ("test", 400)):
        # The largest of the default batches has 60 rows of 35 words.
        (tmp_path / f"{split}.txt").write_text("one two three <unk> N\n" * lines)
    out = tmp_path / "search"
    command = ["tune", "--data", str(tmp_path), "--tuner", "random", "--epochs", "1", "--seed", "1", "--out", str(out)]
    assert main([*command, "--trials", "1", "--max-parameters", "90000", "--steps-per-epoch", "2"]) == 0
    output = capsys.readouterr().out
    assert "trial 0: perplexity" in output
    assert "1 completed" in output
    assert kerasptb.load_run(out / "best").metrics["parameters"] <= 90_000
    assert main([*command, "--trials", "1"]) == 1
    assert "--resume" in capsys.readouterr().err
    assert main(["tune", "--out", str(tmp_path / "nothing"), "--resume"]) == 1
    assert "search.json" in capsys.readouterr().err


def test_a_worker_needs_the_folder_and_a_chief_the_port(monkeypatch):
    monkeypatch.setenv("KERASTUNER_ORACLE_IP", "127.0.0.1")
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "tuner3")
    with pytest.raises(ValueError, match="KERASTUNER_ORACLE_PORT"):
        tuning.tune("sample")
    monkeypatch.setenv("KERASTUNER_ORACLE_PORT", "8000")
    with pytest.raises(ValueError, match="--out"):
        tuning.tune("sample")


def test_the_objective_is_the_validation_perplexity(found):
    state = json.loads((found.trials[0].folder / "trial.json").read_text())
    assert state["metrics"]["metrics"]["val_perplexity"]["direction"] == "min"


def test_as_many_failures_as_allowed_end_the_search(texts, tmp_path):
    space = toy_spaces.BrokenSpace(tmp_path / "journal")
    with pytest.raises(tuning.SearchError, match="2 trials failed for one reason"):
        toy(texts, tmp_path, space, trials=10, max_failures=2)
    assert len(space.trained()) == 2


def test_a_seed_that_was_drawn_is_recorded(texts, tmp_path):
    seeds = []
    for name in "ab":
        toy(texts, tmp_path / name, toy_spaces.ToySpace(tmp_path / "journal"), trials=1, seed=None)
        seeds.append(json.loads((tmp_path / name / "search" / "search.json").read_text())["seed"])
    assert all(isinstance(seed, int) for seed in seeds)
    assert seeds[0] != seeds[1]


def test_the_time_limit_is_in_hours(texts, tmp_path):
    begun = time.time()
    result = toy(texts, tmp_path, toy_spaces.ToySpace(tmp_path / "journal"), trials=1, max_hours=2.5)
    deadline = json.loads((result.folder / "search.json").read_text())["deadline"]
    assert begun + 9000 <= deadline <= time.time() + 9000


def test_a_search_that_is_taken_up_forgives_the_attempts_of_the_session_before(texts, tmp_path):
    space = toy_spaces.InterruptedSpace(tmp_path / "journal")
    with pytest.raises(KeyboardInterrupt):
        toy(texts, tmp_path, space, trials=3)
    (trial,) = [trial for trial in read_trials(tmp_path / "search") if not trial.record.ended]
    dataclasses.replace(trial.record, attempts=3).save(trial.folder)
    result = toy(texts, tmp_path, space, trials=3, resume=True)
    assert [trial.status for trial in result.trials] == ["COMPLETED"] * 3


def test_the_best_stays_while_a_training_is_at_work_in_it(fake_trials, texts, tmp_path, capsys):
    space = tuning.LanguageModelSpace(num_layers=1, **SMALL)
    result = toy(texts, tmp_path, space, trials=1, epochs=1)
    trial = result.folder / "trials" / "trial_0" / "run" / "history.csv"
    trial.write_text(trial.read_text().replace("\n1,", "\n1,9"))  # another history than that of the copy
    before = kerasptb.load_run(result.run.folder).history
    with runs.files.lock_run(result.run.folder):
        again = toy(texts, tmp_path, space, trials=1, epochs=1, resume=True, verbose=True)
    assert "A training is at work in" in capsys.readouterr().out
    assert again.run.folder == trial.parent
    assert kerasptb.load_run(result.run.folder).history == before
    assert toy(texts, tmp_path, space, trials=1, epochs=1, resume=True).run.folder == result.run.folder
