import json
import time

import keras_tuner as kt
import numpy as np
import pytest

from kerasptb.tuning.oracles import COMPLETED, FAILED, STOPPED, failure_kind, make_oracle
from kerasptb.tuning.records import Record
from kerasptb.tuning.search_space import LanguageModelSpace, count_parameters


def started(folder, tuner="random", space=None, trials=10, **attributes):
    """Returns an oracle with its space, as a tuner makes it."""
    oracle = make_oracle(tuner, trials, 9, seed=4, **attributes)
    oracle._set_project_dir(str(folder), "trials")
    hp = oracle.get_space()
    if space is None:
        hp.Int("x", 0, 999)
    else:
        space.declare_hyperparameters(hp)
    oracle.update_space(hp)
    return oracle


def end(oracle, trial, score=None, reason=None):
    record = Record(reason=reason, ended=True)
    record.save(oracle._get_trial_dir(trial.trial_id))
    if score is not None:
        oracle.update_trial(trial.trial_id, {"val_perplexity": score})
    # A worker's trial arrives without its message.
    copy = kt.engine.trial.Trial.from_proto(trial.to_proto())
    copy.status = FAILED if score is None else COMPLETED
    oracle.end_trial(copy)


@pytest.mark.parametrize("tuner", ["random", "bayesian", "hyperband"])
def test_every_trial_drawn_is_within_the_limit(tmp_path, tuner):
    space = LanguageModelSpace()
    space.prepare(vocabulary_size=10000)
    oracle = started(tmp_path, tuner, space, trials=7, fit_sample=space.fit_sample)
    for i in range(7):
        trial = oracle.create_trial("tuner0")
        chosen = space.settings(trial.hyperparameters)
        sizes = chosen["embedding_size"], chosen["units"], chosen["tie_embeddings"]
        assert count_parameters(10000, *sizes) <= 3_955_088
        end(oracle, trial, score=100.0 + i)
    assert oracle.create_trial("tuner0").status == STOPPED


def test_bayesian_asks_the_gaussian_process_after_a_third_of_the_trials(tmp_path, monkeypatch):
    oracle = started(tmp_path, "bayesian", trials=12)
    fits = []
    monkeypatch.setattr(oracle.gpr, "fit", lambda x, y, fit=oracle.gpr.fit: fits.append(len(x)) or fit(x, y))
    for i in range(6):
        end(oracle, oracle.create_trial("tuner0"), score=100.0 + i)
    assert fits == [4, 5]


@pytest.mark.parametrize(("trials", "drawn"), [(2, 2), (5, 2), (12, 4), (60, 10)])
def test_bayesian_draws_a_third_of_its_trials_but_two_to_ten(trials, drawn):
    assert make_oracle("bayesian", trials, 9, seed=4).num_initial_points == drawn


def test_bayesian_proposes_nothing_near_what_is_running_for_being_unknown(tmp_path, monkeypatch):
    oracle = started(tmp_path, "bayesian", trials=12)
    for i in range(4):
        end(oracle, oracle.create_trial("tuner0"), score=100.0 + i)
    oracle.create_trial("tuner1")
    oracle = started(tmp_path, "bayesian", trials=12, keep_running=True)  # a chief that is started again
    oracle.reload()
    guesses, predict = [], oracle.gpr.predict

    def remember(*arguments, **options):
        guesses.append(predict(*arguments, **options))
        return guesses[-1]

    monkeypatch.setattr(oracle.gpr, "predict", remember)
    oracle.create_trial("tuner0")
    mean, deviation = guesses[0]
    assert mean[0] + deviation[0] > 50  # a Gaussian process that has seen nothing gives 1


@pytest.mark.parametrize("tuner", ["random", "bayesian"])
def test_settings_that_are_fitted_to_one_model_are_tried_once(tmp_path, tuner):
    oracle = started(tmp_path, tuner, trials=9, fit_sample=lambda values: {"x": values["x"] % 3})
    tried = []
    while (trial := oracle.create_trial("tuner0")).status != STOPPED:
        tried.append(trial.hyperparameters.values["x"])
        end(oracle, trial, score=100.0 + len(tried))
    assert sorted(tried) == [0, 1, 2]
    assert oracle.stop_reason == "the tuner found no settings that have not been tried"


def test_settings_have_run_out_when_nothing_runs_any_more(tmp_path):
    oracle = started(tmp_path, fit_sample=lambda values: {"x": 0})
    running = oracle.create_trial("tuner0")
    assert oracle.create_trial("tuner1").status == STOPPED
    assert oracle.stop_reason is None  # the running trial's worker may die, and another take the trial over
    end(oracle, running, score=7.0)
    assert oracle.create_trial("tuner0").status == STOPPED
    assert oracle.stop_reason == "the tuner found no settings that have not been tried"


def test_what_takes_the_place_of_a_proposal_that_was_tried_is_fitted_too(tmp_path, monkeypatch):
    oracle = started(tmp_path, "bayesian", trials=9, fit_sample=lambda values: {"x": values["x"] // 100 * 100})
    for i in range(3):
        end(oracle, oracle.create_trial("tuner0"), score=100.0 + i)
    tried = [trial.hyperparameters.values for trial in oracle.trials.values()]
    proposed = {"status": "RUNNING", "values": tried[0]}
    keras_tuners = kt.oracles.BayesianOptimizationOracle
    monkeypatch.setattr(keras_tuners, "populate_space", lambda self, trial_id: dict(proposed))
    drawn = oracle.create_trial("tuner0").hyperparameters.values
    assert drawn not in tried
    assert drawn["x"] % 100 == 0


def test_the_same_seed_draws_the_same_trials(tmp_path):
    values = [
        [started(tmp_path / str(i)).create_trial(f"tuner{j}").hyperparameters.values for j in range(3)]
        for i in range(2)
    ]
    assert values[0] == values[1]
    assert make_oracle("random", 5, 5, seed=0).seed == make_oracle("random", 5, 5, seed=0).seed


def test_a_worker_that_comes_back_gets_its_trial_again(tmp_path):
    oracle = started(tmp_path)
    first = oracle.create_trial("tuner0")
    oracle.create_trial("tuner1")
    assert oracle.create_trial("tuner0") is first


def test_three_failures_for_one_reason_end_the_search(tmp_path):
    oracle = started(tmp_path)
    reasons = [
        "OSError: block 1",
        "out of memory: 7",
        "OSError: block 2",
        "out of memory: shape[8]",
        "OSError: block 33",
    ]
    for reason in reasons:
        assert oracle.stop_reason is None
        end(oracle, oracle.create_trial("tuner0"), reason=reason)
    assert oracle.stop_reason == "3 trials failed for one reason: OSError: block 33"
    assert oracle.create_trial("tuner0").status == STOPPED
    assert oracle.trials["00"].message == "OSError: block 1"


def test_rejected_models_never_end_the_search(tmp_path):
    oracle = started(tmp_path)
    for _ in range(5):
        end(oracle, oracle.create_trial("tuner0"), reason="rejected: 9 parameters, where 8 are allowed")
    assert oracle.stop_reason is None


def test_reasons_are_one_if_they_differ_in_numbers_only():
    assert failure_kind("OSError: block 1") == failure_kind("OSError: block 2.5")
    assert failure_kind("OSError: block 1") != failure_kind("OSError: page 1")
    assert failure_kind("out of memory: OOM with shape[9,9]") == failure_kind("out of memory: Dst tensor is full")
    assert failure_kind("diverged: the loss became nan") == failure_kind("diverged: perplexity inf")
    assert failure_kind("ValueError: a\nmore") == failure_kind("ValueError: a\nother")


def test_no_trial_begins_after_the_deadline_and_a_lost_one_waits(tmp_path):
    oracle = started(tmp_path)
    lost = oracle.create_trial("tuner0")
    oracle.deadline = time.time() - 1
    assert oracle.create_trial("tuner0").status == STOPPED
    assert oracle.ongoing_trials == {}
    assert oracle.stop_reason == "the time limit was reached"
    again = started(tmp_path)
    again.reload()
    assert again.stop_reason is None
    assert again.create_trial("tuner7").trial_id == lost.trial_id


def test_a_chief_started_again_leaves_running_trials_to_their_workers(tmp_path):
    oracle = started(tmp_path)
    running = oracle.create_trial("tuner0")
    end(oracle, oracle.create_trial("tuner1"), reason="OSError: 1")
    again = started(tmp_path, keep_running=True)
    again.reload()
    assert list(again.ongoing_trials) == ["tuner0"]
    # The worker did not notice the restart: it ends the trial, and no other worker gets it.
    end(again, running, score=5.0)
    assert again.create_trial("tuner1").trial_id not in (running.trial_id, "01")
    assert again.trials[running.trial_id].score == 5.0
    # A chief that a user starts goes on, whatever ended the search. One that the running search restarts does not.
    end(again, again.create_trial("tuner1"), reason="OSError: 2")
    again.stop_reason = "the time limit was reached"
    again.save()
    for restarted, failures in ((False, 0), (True, 1)):
        after = started(tmp_path, keep_running=True, restarted=restarted)
        after.reload()
        assert (after.stop_reason is not None) == restarted
        assert sum(after._failures.values()) == failures


def test_a_search_taken_up_again_runs_the_trials_that_ran(tmp_path):
    oracle = started(tmp_path)
    running = {oracle.create_trial("tuner0").trial_id, oracle.create_trial("tuner1").trial_id}
    again = started(tmp_path)
    again.reload()
    assert {again.create_trial("tuner0").trial_id, again.create_trial("tuner5").trial_id} == running


def test_a_trial_whose_folder_was_written_last_is_not_lost(tmp_path):
    oracle = started(tmp_path)
    oracle.save()
    state = json.loads((tmp_path / "trials" / "oracle.json").read_text())
    trial = oracle.create_trial("tuner0")
    (tmp_path / "trials" / "oracle.json").write_text(json.dumps(state))
    again = started(tmp_path)
    again.reload()
    assert again.create_trial("tuner0").trial_id == trial.trial_id


def test_an_end_that_is_told_twice_counts_once(tmp_path):
    oracle = started(tmp_path)
    trial = oracle.create_trial("tuner0")
    end(oracle, trial, score=7.0)
    end(oracle, trial, reason="OSError: too late")
    assert oracle.trials[trial.trial_id].status == COMPLETED
    assert oracle.end_order == [trial.trial_id]


def test_unknown_tuners_are_refused():
    with pytest.raises(ValueError, match=r"bayesian, hyperband, random. Received: tuner='grid'"):
        make_oracle("grid", 5, 5, seed=1)


@pytest.mark.parametrize("when", ["whole", "cut off after the trial's own file"])
def test_a_trial_that_has_ended_is_not_run_again(tmp_path, when):
    oracle = started(tmp_path)
    trial = oracle.create_trial("tuner0")
    path = tmp_path / "trials" / "oracle.json"
    before = path.read_text()
    end(oracle, trial, score=7.0)
    if when == "whole":
        assert json.loads(path.read_text())["ongoing_trials"] == {}
    else:
        path.write_text(before)
    again = started(tmp_path)
    again.reload()
    assert again.trials[trial.trial_id].score == 7.0
    assert again.create_trial("tuner0").trial_id != trial.trial_id


def test_what_a_search_is_taken_up_from_is_replaced_not_emptied(tmp_path):
    oracle = started(tmp_path)
    trial = oracle.create_trial("tuner0")
    for path in (tmp_path / "trials" / "oracle.json", tmp_path / "trials" / f"trial_{trial.trial_id}" / "trial.json"):
        with path.open() as file:  # a reader that opened it before sees the old text
            before = path.read_text()
            end(oracle, trial, score=7.0) if path.name == "oracle.json" else oracle._save_trial(trial)
            assert file.read() == before


def test_brackets_in_the_name_of_the_folder_are_no_pattern(tmp_path):
    of_another = started(tmp_path / "lr1")
    for score in (1.0, 2.0):
        end(of_another, of_another.create_trial("tuner0"), score=score)
    oracle = started(tmp_path / "lr[1]")
    end(oracle, oracle.create_trial("tuner0"), score=7.0)
    again = started(tmp_path / "lr[1]")
    again.reload()
    assert [trial.score for trial in again.trials.values()] == [7.0]
    assert again.create_trial("tuner0").trial_id not in again.end_order


@pytest.mark.parametrize(
    ("tuner", "trials"),
    # The Bayesian oracle draws two at random, and then thinks for half a second about each.
    [("random", 12), pytest.param("bayesian", 7, marks=pytest.mark.slow), ("hyperband", 12)],
)
def test_a_search_taken_up_again_and_again_draws_what_one_at_a_stretch_draws(tmp_path, tuner, trials):
    class Wavy:
        def declare_hyperparameters(self, hp):
            for name in "ab":
                hp.Float(name, 0, 9)

    def drawn(folder, taken_up):
        oracle = started(folder, tuner, Wavy(), trials=trials)
        for _ in range(trials):
            if taken_up:
                oracle.save()
                oracle = started(folder, tuner, Wavy(), trials=trials)
                oracle.reload()
            trial = oracle.create_trial("tuner0")
            end(oracle, trial, score=100.0 + sum(np.sin(trial.hyperparameters.values[name]) for name in "ab"))
        return [oracle.trials[name].hyperparameters.values for name in oracle.start_order]

    assert drawn(tmp_path / "again", taken_up=True) == drawn(tmp_path / "whole", taken_up=False)
