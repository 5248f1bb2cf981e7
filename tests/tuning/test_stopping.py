import math
import time
import types

import keras
import pytest

from kerasptb.optimizers import OneCycle
from kerasptb.tuning.records import Record
from kerasptb.tuning.stopping import TrialEarlyStopping, decayed_epochs, has_plateaued, lowest

FLAT = [400.0, 300.0, 200.0]


def ended_trials(folder, curves):
    for i, curve in enumerate(curves):
        trial = folder / "trials" / f"trial_{i}"
        trial.mkdir(parents=True)
        (trial / "trial.json").write_text("{}")
        Record(curve=curve, ended=True).save(trial)


def train(tmp_path, curve, rates=None, epochs=12, record=None, schedule=1.0, **arguments):
    """Returns the record of a trial that goes through a curve, a step an epoch, until it is stopped."""
    folder = tmp_path / "trials" / "trial_99"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "trial.json").write_text("{}")
    record = record or Record()
    begun = len(record.curve)
    record.planned_epochs = epochs
    callback = TrialEarlyStopping(folder, record, **arguments)
    callback.set_model(types.SimpleNamespace(stop_training=False, optimizer=keras.optimizers.SGD(schedule)))
    callback.on_train_begin()
    for epoch, perplexity in enumerate(curve):
        logs = {"val_perplexity": perplexity}
        if rates:
            logs["learning_rate"] = rates[epoch]
        callback.model.optimizer.iterations.assign_add(1)
        callback.on_epoch_end(begun + epoch, logs)
        if callback.model.stop_training:
            break
    return Record.load(folder)


def test_a_trial_above_the_median_stops_after_a_third_of_the_epochs(tmp_path):
    ended_trials(tmp_path, [[150.0 - i - 2 * epoch for epoch in range(12)] for i in range(5)])
    record = train(tmp_path, [200.0 - epoch for epoch in range(12)])
    assert (len(record.curve), record.stopped) == (4, "above the median at epoch 4")


def test_a_trial_at_the_median_goes_on(tmp_path):
    ended_trials(tmp_path, [[150.0 - i - 2 * epoch for epoch in range(12)] for i in range(5)])
    record = train(tmp_path, [148.0 - 2 * epoch for epoch in range(12)])
    assert (len(record.curve), record.stopped) == (12, None)


def test_a_short_trial_is_judged_from_its_second_epoch_on(tmp_path):
    ended_trials(tmp_path, [[150.0] * 3] * 5)
    assert train(tmp_path, [200.0] * 3, epochs=3).stopped == "above the median at epoch 2"


def test_who_else_has_stopped_a_training_is_not_overruled(tmp_path):
    folder = tmp_path / "trials" / "trial_0"
    folder.mkdir(parents=True)
    callback = TrialEarlyStopping(folder, Record(planned_epochs=12))
    callback.set_model(types.SimpleNamespace(stop_training=True))
    callback.on_epoch_end(0, {"val_perplexity": 200.0})
    assert callback.model.stop_training
    assert callback.record.stopped is None


def test_fewer_than_five_ended_trials_are_no_measure(tmp_path):
    ended_trials(tmp_path, [[150.0] * 12] * 4)
    assert train(tmp_path, [200.0] * 12).stopped is None


def test_a_trial_that_was_stopped_counts_with_what_it_reached(tmp_path):
    # At epoch 4, the medians are 130 with those that were stopped, and 120 without.
    ended_trials(tmp_path, [[130.0, 130.0], [140.0, 140.0], [135.0], [110.0] * 12, [120.0] * 12])
    assert train(tmp_path, [125.0] * 12).stopped is None
    assert train(tmp_path, [131.0] * 12).stopped == "above the median at epoch 4"


def test_no_trial_is_judged_before_its_rate_has_fallen_for_two_epochs(tmp_path):
    ended_trials(tmp_path, [[100.0] * 12] * 5)
    rates = [1.0] * 7 + [0.5**n for n in range(1, 6)]
    record = train(tmp_path, [200.0 - 5 * epoch for epoch in range(12)], rates)
    assert record.stopped == "above the median at epoch 9"


def test_the_rate_of_a_cycle_has_fallen_after_its_peak(tmp_path):
    ended_trials(tmp_path, [[100.0] * 12] * 5)
    record = train(tmp_path, [200.0 - 5 * epoch for epoch in range(12)], schedule=OneCycle(1.0, 12, 0.25))
    assert record.rates.index(max(record.rates)) == 2
    assert record.stopped == "above the median at epoch 5"


@pytest.mark.parametrize("behind", [1, 4, 5])
def test_a_trial_that_is_taken_up_is_judged_by_all_its_epochs(tmp_path, behind):
    rates = [1.0, 1.0, 1.0, 0.5, 0.25, 0.125, 0.0625]
    curve = [150.0, 140.0, 130.0, 120.0, 110.0, 109.99, 109.98]
    whole = train(tmp_path, curve, rates)
    assert (len(whole.curve), whole.stopped) == (7, "no better for 2 epochs")
    part = Record(curve=curve[:behind], rates=rates[:behind])
    again = train(tmp_path, curve[behind:], rates[behind:], record=part)
    assert (again.curve, again.rates, again.stopped) == (curve, rates, whole.stopped)


def test_epochs_count_from_the_fall_of_the_rate():
    courses = [None, None], [1.0], [1.0, 0.5, 0.25], [1.0, 0.5, 1.0], [0.1, 1.0, 0.9, 0.5]
    assert [decayed_epochs(rates) for rates in courses] == [0, 0, 2, 0, 2]


def test_a_trial_that_has_arrived_stops(tmp_path):
    rates = [1.0, 1.0, 0.5, 0.25, 0.125, 0.06, 0.03, 0.015]
    record = train(tmp_path, [150.0, 140.0, 130.0, 120.0, 119.0, 118.95, 118.93, 118.9], rates)
    assert record.stopped == "no better for 2 epochs"
    assert len(record.curve) == 7


def test_trials_go_on_where_they_are_not_judged(tmp_path):
    ended_trials(tmp_path, [[100.0] * 12] * 5)
    assert train(tmp_path, [200.0] * 12, judge=False).stopped is None


def test_the_time_limit_stops_a_trial_after_its_epoch(tmp_path):
    record = train(tmp_path, [200.0, 190.0, 180.0], judge=False, deadline=time.time() - 1)
    assert (record.curve, record.stopped) == ([200.0], "time limit")


def test_the_last_epoch_is_not_stopped(tmp_path):
    ended_trials(tmp_path, [[100.0] * 3] * 5)
    assert train(tmp_path, [200.0], epochs=1, deadline=time.time() - 1).stopped is None
    # With one epoch more, either rule would stop it.
    assert train(tmp_path, [200.0], epochs=2, deadline=time.time() - 1).stopped == "time limit"


def test_lowest_ignores_what_is_no_number():
    assert lowest([5.0, math.nan, 3.0, 1.0], 3) == 3.0
    assert lowest([math.nan], 1) == math.inf


def test_arrived_needs_a_tenth_of_a_percent():
    assert has_plateaued([100.0, 99.95, 99.91])
    assert not has_plateaued([100.0, 99.95, 99.89])
    assert not has_plateaued([100.0, 99.0])


def test_a_trial_that_failed_is_no_measure(tmp_path):
    ended_trials(tmp_path, [[150.0] * 12] * 5)
    failed = tmp_path / "trials" / "trial_0"
    Record(curve=[150.0] * 12, ended=True, reason="out of memory").save(failed)
    assert train(tmp_path, [200.0] * 12).stopped is None


def test_a_trial_that_runs_is_no_measure(tmp_path):
    ended_trials(tmp_path, [[150.0] * 12] * 5)
    Record(curve=[150.0] * 12).save(tmp_path / "trials" / "trial_0")
    assert train(tmp_path, [200.0] * 12).stopped is None


def test_the_time_of_a_trial_is_that_of_all_its_attempts(tmp_path):
    record = train(tmp_path, FLAT[1:], record=Record(curve=FLAT[:1], rates=[None], seconds=1000.0))
    assert 1000 <= record.seconds < 1060
