"""A search's folder through full disks, interruptions and locks, and what is refused before there is one."""

import dataclasses
import errno
import math

import keras
import keras_tuner as kt
import pytest
import toy_spaces

import kerasptb
from kerasptb import tuning
from kerasptb.tuning import stopping
from kerasptb.tuning.records import SEARCH, read_trials
from kerasptb.tuning.settings import SearchSettings
from kerasptb.tuning.trials import run_process
from kerasptb.utils.files import lock_folder, read_json, write_json

SMALL = {
    "num_layers": 1,
    "units": [32],
    "embedding_size": [32],
    "batch_size": [5],
    "num_steps": [5],
    "keep_prob": [1.0],
}


def toy(texts, tmp_path, space, **arguments):
    if not arguments.get("resume"):
        arguments = {"tuner": "random", "trials": 3, "epochs": 2, "seed": 1, **arguments}
    arguments["verbose"] = False
    return tuning.tune(texts, space, out=tmp_path / "search", **arguments)


class FullDisk(toy_spaces.ToySpace):
    """The disk is full in the second training, but only at its first attempt."""

    number = errno.ENOSPC

    def happen(self, x):
        if len(self.trained()) == 2:
            raise OSError(self.number, "No space left on device", "run/best.weights.h5")


class Fitted(kt.HyperModel):
    """A model of its own, whose result depends on how its weights are drawn."""

    def build(self, hp):
        hp.Int("x", 0, 999)
        return keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])

    def fit(self, hp, model, corpus, epochs, callbacks, verbose):
        return 100 + float(keras.ops.sum(model.layers[0].kernel))


def plain_space(hp):
    hp.Choice("x", [1, 2])
    model = kerasptb.LanguageModel(23, 4, 4, 5, 5)
    model.compile()
    return model


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT], ids=["disk", "quota"])
def test_a_full_disk_ends_the_search_and_costs_no_trial(texts, tmp_path, number):
    space = FullDisk(tmp_path / "journal")
    space.number = number
    with pytest.raises(OSError, match=r"No space left on device: .*best\.weights\.h5"):
        toy(texts, tmp_path, space)
    assert [trial.record.attempts for trial in read_trials(tmp_path / "search")] == [0, 0]
    result = toy(texts, tmp_path, space, resume=True)
    assert [trial.status for trial in result.trials] == ["COMPLETED"] * 3
    first, second, again, third = space.trained()
    assert second == again
    assert len({first, second, third}) == 3


def test_every_file_that_a_search_is_taken_up_from_is_written_whole(texts, tmp_path):
    # KerasTuner empties a file before it writes it. Cut off in between, the file could never be read again.
    result = toy(texts, tmp_path, toy_spaces.ToySpace(tmp_path / "journal"))
    assert not list((result.folder / "trials").glob("tuner*.json"))


def test_a_search_that_is_taken_up_without_a_time_limit_has_none(texts, tmp_path):
    space = toy_spaces.ToySpace(tmp_path / "journal")
    with pytest.raises(tuning.SearchError, match=r"has completed: the time limit was reached"):
        toy(texts, tmp_path, space, max_hours=1e-9)
    result = toy(texts, tmp_path, space, resume=True)
    assert (len(result.trials), result.stop_reason) == (3, None)


def test_a_text_that_cannot_be_read_again_is_named_anew(texts, tmp_path):
    space = toy_spaces.ToySpace(tmp_path / "journal")
    corpus = dataclasses.replace(kerasptb.load_corpus(texts), location=None)
    toy(corpus, tmp_path, space, trials=1)
    with pytest.raises(tuning.SearchError, match=r"came from no file\. Name it with --data"):
        toy(None, tmp_path, space, resume=True)
    assert len(toy(corpus, tmp_path, space, resume=True, trials=2).trials) == 2


def test_resuming_needs_the_folder():
    with pytest.raises(tuning.SearchError, match="name it with --out"):
        tuning.tune("sample", resume=True)


def test_a_worker_goes_by_the_time_limit_of_who_has_taken_the_search_up(texts, tmp_path, monkeypatch):
    space = toy_spaces.ToySpace(tmp_path / "journal")
    folder = toy(texts, tmp_path, space, trials=1).folder
    arguments = {**read_json(folder / SEARCH), "trials": 2}
    write_json(folder / SEARCH, {**arguments, "deadline": 3e9})
    seen, init = [], stopping.TrialEarlyStopping.__init__

    def remember(self, *args, deadline=None, **kwargs):
        seen.append(deadline)
        init(self, *args, deadline=deadline, **kwargs)

    monkeypatch.setattr(stopping.TrialEarlyStopping, "__init__", remember)
    before = SearchSettings(**arguments | {"deadline": 2e9}, folder=folder)  # what it read of the start before
    run_process(before, space, None)
    assert seen == [3e9]


def test_a_folder_is_kept_to_one_search(texts, tmp_path):
    space = toy_spaces.ToySpace(tmp_path / "journal")
    result = toy(texts, tmp_path, space)
    before = (result.folder / "search.json").read_text()
    busy = RuntimeError("not here")
    with lock_folder(result.folder, busy), pytest.raises(tuning.SearchError, match="Another search is at work in"):
        toy(texts, tmp_path, space, resume=True, trials=4)
    assert (result.folder / "search.json").read_text() == before
    assert len(toy(texts, tmp_path, space, resume=True, trials=4).trials) == 4


def test_a_search_whose_trials_were_deleted_is_left_as_it_is(texts, tmp_path):
    space = toy_spaces.ToySpace(tmp_path / "journal")
    result = toy(texts, tmp_path, space)
    (result.folder / "trials" / "trial_1").rename(tmp_path / "elsewhere")
    before = {path: path.read_bytes() for path in result.folder.rglob("*.json")}
    with pytest.raises(tuning.SearchError, match="the folders of trials 1 are missing"):
        toy(texts, tmp_path, space, resume=True, trials=5)
    assert {path: path.read_bytes() for path in result.folder.rglob("*.json")} == before


def test_what_was_put_into_the_best_run_stays_while_it_is_the_best(fake_trials, texts, tmp_path):
    space = tuning.LanguageModelSpace(**SMALL)
    result = toy(texts, tmp_path, space, trials=1, epochs=1)
    (result.run.folder / "notes.txt").write_text("mine")
    toy(texts, tmp_path, space, trials=1, resume=True)
    assert (result.run.folder / "notes.txt").read_text() == "mine"


def interrupted_after_its_training(texts, tmp_path, monkeypatch, why):
    """Returns a space and a trial that stopped after its first epoch, for a reason, and was interrupted then."""

    def interrupt(*_):
        raise KeyboardInterrupt

    space = tuning.LanguageModelSpace(**SMALL)
    monkeypatch.setattr(stopping.TrialEarlyStopping, "_stop_reason", lambda *_: why)
    monkeypatch.setattr(kerasptb, "evaluate_perplexity", interrupt)
    with pytest.raises(KeyboardInterrupt):
        toy(texts, tmp_path, space, trials=1, epochs=3)
    monkeypatch.undo()
    return space, *read_trials(tmp_path / "search")


@pytest.mark.parametrize(
    ("why", "lost", "epochs"),
    [
        ("above the median at epoch 1", [], 1),
        ("above the median at epoch 1", [9.0], 3),  # the run did not keep the epoch of the stop
        (stopping.TIME_LIMIT, [], 3),
    ],
    ids=["a rule", "a rule at an epoch that is lost", "the time limit"],
)
@pytest.mark.slow
def test_a_trial_that_a_rule_had_stopped_is_not_trained_on(no_steps, texts, tmp_path, monkeypatch, why, lost, epochs):
    space, trial = interrupted_after_its_training(texts, tmp_path, monkeypatch, why)
    curve, rates = trial.record.curve + lost, trial.record.rates + lost
    dataclasses.replace(trial.record, curve=curve, rates=rates, seconds=1000.0).save(trial.folder)
    (trial,) = toy(texts, tmp_path, space, trials=1, resume=True).trials
    assert trial.status == "COMPLETED"
    assert (len(trial.record.curve), len(trial.record.rates)) == (epochs, epochs)
    assert trial.record.seconds >= 1000


@pytest.mark.slow
def test_a_trial_whose_run_was_cut_off_begins_anew(no_steps, texts, tmp_path, monkeypatch):
    space, trial = interrupted_after_its_training(texts, tmp_path, monkeypatch, stopping.TIME_LIMIT)
    (trial.folder / "run" / "config.json").unlink()
    (trial,) = toy(texts, tmp_path, space, trials=1, resume=True).trials
    assert (len(trial.record.curve), len(trial.record.rates)) == (3, 3)


@pytest.mark.slow
def test_a_search_without_further_settings_says_so(fake_trials, texts, tmp_path):
    result = toy(texts, tmp_path, plain_space, trials=5, epochs=1)
    assert len(result.trials) == 2
    assert result.stop_reason == "the tuner found no settings that have not been tried"


@pytest.mark.slow
def test_a_hyperband_search_may_be_given_more_trials(texts, tmp_path):
    space = toy_spaces.ToySpace(tmp_path / "journal")
    few = toy(texts, tmp_path, space, tuner="hyperband", trials=1, epochs=3)
    more = toy(texts, tmp_path, space, trials=12, resume=True)
    assert len(few.trials) == 1
    assert len(more.trials) == 12


@pytest.mark.slow
def test_the_seed_reaches_a_model_that_has_none(texts, tmp_path):
    results = [toy(texts, tmp_path / name, plain_space, trials=1, epochs=1) for name in "ab"]
    assert [result.run.metrics["seed"] for result in results] == [1, 1]
    assert results[0].trials[0].score == results[1].trials[0].score


def test_the_seed_reaches_a_fit_of_ones_own(texts, tmp_path):
    scores = []
    for name in ("a", "b"):
        result = toy(texts, tmp_path / name, Fitted())
        scores.append({trial.trial_id: trial.score for trial in result.trials})
    assert scores[0] == scores[1]


@pytest.mark.parametrize(
    ("space", "arguments", "message"),
    [
        (plain_space, {"precision": "bfloat16"}, r"has its own precision\. Received: precision='bfloat16'"),
        (plain_space, {"backend": "keras"}, "has its own backend"),
        (Fitted(), {"steps_per_epoch": 3}, "has its own steps_per_epoch"),
        (lambda hp: None, {"workers": 2}, r"with workers, a space that stands in a module.*<lambda>"),
        (plain_space, {"max_hours": math.nan}, r"`max_hours` must be a number above 0\. Received: max_hours=nan"),
        (plain_space, {"max_hours": -1.0}, "`max_hours` must be"),
        (plain_space, {"max_hours": math.inf}, "`max_hours` must be"),
    ],
    ids=["precision", "backend", "steps", "lambda", "nan hours", "no hours", "endless hours"],
)
def test_what_cannot_work_is_refused_before_there_is_a_folder(texts, tmp_path, space, arguments, message):
    with pytest.raises(ValueError, match=message):
        toy(texts, tmp_path, space, **arguments)
    assert not (tmp_path / "search").exists()


@pytest.mark.slow
def test_trials_are_read_in_the_order_of_their_numbers(texts, tmp_path):
    space = toy_spaces.ToySpace(tmp_path / "journal")
    toy(texts, tmp_path, space, trials=9)
    result = toy(texts, tmp_path, space, trials=12, resume=True)
    assert [int(trial.trial_id) for trial in read_trials(result.folder)] == list(range(12))
