import math

from kerasptb.tuning.records import Record, best_trial, read_trials, reset_attempts
from kerasptb.utils.files import write_json


def write_trial(folder, number, status, score, record):
    path = folder / "trials" / f"trial_{number}"
    path.mkdir(parents=True)
    values = {"x": number, "tuner/epochs": 9}
    write_json(
        path / "trial.json",
        {"trial_id": str(number), "status": status, "score": score, "hyperparameters": {"values": values}},
    )
    record.save(path)
    return path


def test_trials_are_read_in_order_without_the_tuners_own_settings(tmp_path):
    write_trial(tmp_path, 1, "COMPLETED", 7.5, Record(curve=[8.0, 7.5], ended=True))
    write_trial(tmp_path, 0, "RUNNING", None, Record(attempts=1))
    running, completed = read_trials(tmp_path)
    assert (running.trial_id, running.score, running.record.attempts) == ("0", None, 1)
    assert (completed.score, completed.values, completed.record.curve) == (7.5, {"x": 1}, [8.0, 7.5])
    assert best_trial([running, completed]) is completed
    assert best_trial([running]) is None


def test_a_trial_cut_off_while_written_is_not_there_yet(tmp_path):
    path = write_trial(tmp_path, 0, "RUNNING", None, Record())
    (path / "trial.json").write_text('{"trial_id": "0", "st')
    assert read_trials(tmp_path) == []


def test_attempts_are_forgotten_and_nothing_else(tmp_path):
    path = write_trial(tmp_path, 0, "RUNNING", None, Record(attempts=3, curve=[9.0], seconds=4.5))
    reset_attempts(tmp_path)
    assert Record.load(path) == Record(attempts=0, curve=[9.0], seconds=4.5)
    Record(curve=[9.0, float("inf"), 8.0]).save(path)  # of a training that is not ours
    first, second, third = Record.load(path).curve
    assert (first, math.isnan(second), third) == (9.0, True, 8.0)
