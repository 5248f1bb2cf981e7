import io
import os
import time

from kerasptb.tuning.progress import Progress, describe_trial, duration, seconds_left
from kerasptb.tuning.records import Record, TrialView


def trial(number, score=None, status=None, **record):
    status = status or ("COMPLETED" if score is not None else "RUNNING")
    return TrialView(str(number), None, status, {}, score, Record(ended=status != "RUNNING", **record))


def test_durations_are_words():
    assert [duration(seconds) for seconds in (3.2, 89, 91, 3600, 5400, 11100)] == [
        "3 s",
        "89 s",
        "2 min",
        "60 min",
        "1 h 30 min",
        "3 h 05 min",
    ]


def test_time_left_is_that_of_the_trials_not_begun_and_the_rest_of_those_that_run():
    trials = [trial(0, 100.0, seconds=60), trial(1, 90.0, seconds=100), trial(2, seconds=30), trial(3, seconds=70)]
    # A trial takes 80 s. Six are to come, and the running ones need 50 s and 10 s more, on two workers.
    assert seconds_left(trials, 10) == (6 * 80 + 50 + 10) / 2


def test_no_time_left_is_below_none():
    # More trials than are asked for now, and one that takes longer than the others have.
    assert seconds_left([trial(0, 100.0, seconds=60), trial(1, 90.0, seconds=60), trial(2, seconds=20)], 2) == 40
    assert seconds_left([trial(0, 100.0, seconds=60), trial(1, seconds=90)], 2) == 0


def test_time_left_ends_with_the_limit():
    trials = [trial(0, 100.0, seconds=1000)]
    assert seconds_left(trials, 100) == 99_000
    assert abs(seconds_left(trials, 100, time.time() + 60) - 60) < 1
    assert seconds_left([], 10) is None


def test_trials_are_described():
    assert describe_trial(trial(3, curve=[200.0, 150.25], planned_epochs=15)) == (
        "trial 3: epoch 3 of 15, perplexity 150.2"
    )
    assert describe_trial(trial(4, 110.5, parameters=3_900_000, seconds=300, stopped="time limit")) == (
        "trial 4: perplexity 110.50, 3,900,000 parameters, 5 min, stopped: time limit"
    )
    assert describe_trial(trial(5, status="FAILED", reason="out of memory: x")) == "trial 5 failed: out of memory: x"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def write_trial(folder, number, status, score, **record):
    path = folder / "trials" / f"trial_{number}"
    path.mkdir(parents=True)
    (path / "trial.json").write_text(
        f'{{"trial_id": "{number}", "status": "{status}", "score": {score}, '
        '"hyperparameters": {"values": {"x": 1, "tuner/epochs": 3}}}'
    )
    Record(ended=status != "RUNNING", **record).save(path)


def test_each_trial_that_ends_is_told_once(tmp_path):
    write_trial(tmp_path, 0, "COMPLETED", 120.0, seconds=10)
    stream = io.StringIO()
    progress = Progress(tmp_path, 4, stream=stream)
    write_trial(tmp_path, 1, "COMPLETED", 110.0, seconds=30)
    write_trial(tmp_path, 2, "RUNNING", "null", seconds=5, curve=[300.0], planned_epochs=2)
    progress.update()
    progress.update()
    # Trial 0 was there before.
    assert stream.getvalue() == ("trial 1: perplexity 110.00, 30 s; 2 of 4 ended, best 110.00 (trial 1), 35 s left\n")


def test_a_terminal_shows_what_runs(tmp_path):
    write_trial(tmp_path, 0, "RUNNING", "null", curve=[300.0], planned_epochs=2)
    stream = Terminal()
    Progress(tmp_path, 4, stream=stream).update()
    assert stream.getvalue() == "\r\x1b[Ktrial 0: epoch 2 of 2, perplexity 300.0; 0 of 4 ended"


def test_a_line_of_a_terminal_does_not_wrap(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((30, 9)))
    write_trial(tmp_path, 0, "RUNNING", "null", curve=[300.0], planned_epochs=2)
    stream = Terminal()
    Progress(tmp_path, 4, stream=stream).update()
    assert stream.getvalue() == "\r\x1b[Ktrial 0: epoch 2 of 2, perple"


def test_what_ends_last_is_told_too_and_the_line_of_what_runs_is_gone(tmp_path):
    stream = Terminal()
    with Progress(tmp_path, 1, stream=stream):
        write_trial(tmp_path, 0, "COMPLETED", 120.0, seconds=10)
    assert "\r\x1b[Ktrial 0: perplexity 120.00, 10 s; 1 of 1 ended" in stream.getvalue()
    assert stream.getvalue().endswith("\r\x1b[K")


def test_what_is_told_is_there_at_once(tmp_path):
    class Buffered(io.StringIO):
        told = ""

        def flush(self):
            self.told = self.getvalue()

    stream = Buffered()
    progress = Progress(tmp_path, 1, stream=stream)
    write_trial(tmp_path, 0, "COMPLETED", 120.0, seconds=10)
    progress.update()
    assert stream.told == stream.getvalue() != ""


def test_a_trial_is_told_when_both_files_say_how_it_ended(tmp_path):
    stream = io.StringIO()
    progress = Progress(tmp_path, 4, stream=stream)
    write_trial(tmp_path, 0, "RUNNING", "null", curve=[300.0])
    Record(ended=True, curve=[300.0]).save(tmp_path / "trials" / "trial_0")  # a moment before KerasTuner's own
    progress.update()
    assert stream.getvalue() == ""


def test_a_reader_that_has_gone_ends_the_telling(tmp_path):
    class Closed(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    with Progress(tmp_path, 4, stream=Closed()) as progress:
        write_trial(tmp_path, 0, "COMPLETED", 120.0, seconds=10)
    assert not progress._thread.is_alive()
