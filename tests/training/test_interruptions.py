import errno
import json
import os
import shutil
import signal
import tempfile
from pathlib import Path

import keras
import numpy as np
import pytest
from small_trainings import Diverging, FailAt, assert_equal_weights, small_corpus, train

import kerasptb
from kerasptb.callbacks import TrainingDivergedError
from kerasptb.models.weights import save_weights
from kerasptb.pipeline import make_dataset
from kerasptb.runs import RunError
from kerasptb.training.recorder import Recorder
from kerasptb.utils import files


def test_a_failure_in_the_first_epoch_keeps_its_checkpoint(no_steps, tmp_path):
    with pytest.raises(RuntimeError, match="out of luck"):
        train(tmp_path / "run", callbacks=[FailAt(0, 9)], checkpoint_minutes=0)
    with np.load(tmp_path / "run" / "resume.npz") as saved:
        assert json.loads(str(saved["place"]))["batch"] == 9
    assert len(train(tmp_path / "run", resume=True).history) == 3


def test_a_file_in_the_place_of_a_run_is_told_before_a_text_is_read(tmp_path):
    (tmp_path / "run").write_text("mine")
    with pytest.raises(FileExistsError, match="Expected a folder for the run"):
        kerasptb.train(tmp_path / "no text", out=tmp_path / "run")
    assert (tmp_path / "run").read_text() == "mine"


class _Killed(BaseException):
    pass


@pytest.mark.slow
def test_a_training_killed_at_every_write_goes_on_to_the_bit(tmp_path, monkeypatch):
    whole = train(tmp_path / "whole", epochs=2)
    replace, killed = Path.replace, []

    def kill(path, target):
        if (name := Path(target).name) not in killed:
            killed.append(name)
            raise _Killed
        return replace(path, target)

    tidy = tempfile.TemporaryDirectory.__exit__

    def leave(folder, kind, *error):
        if kind is _Killed:
            folder._finalizer.detach()
        else:
            tidy(folder, kind, *error)

    # Who is killed removes nothing.
    monkeypatch.setattr("kerasptb.runs.files.remove", lambda folder, itself=True: None)
    monkeypatch.setattr(tempfile.TemporaryDirectory, "__exit__", leave)
    monkeypatch.setattr(Path, "replace", kill)
    for _ in range(20):
        resume = (tmp_path / "run" / "config.json").exists()  # else it has not begun
        try:
            run = train(tmp_path / "run", epochs=2, resume=resume, checkpoint_minutes=0)
            break
        except _Killed:
            pass
    assert set(killed) == {path.name for path in whole.folder.iterdir()} - {"logs"}
    for name in ("perplexity", "val_perplexity", "learning_rate"):
        assert [row[name] for row in run.history] == [row[name] for row in whole.history]
    assert_equal_weights(run, whole)


def test_a_run_killed_in_its_first_epoch_resumes_from_the_beginning(trained, tmp_path):
    whole = trained(tmp_path / "whole")
    killed = tmp_path / "killed"
    killed.mkdir()
    for name in ("config.json", "vocabulary.txt"):
        shutil.copy(whole.folder / name, killed)
    resumed = kerasptb.train(small_corpus(), out=killed, resume=True, verbose=0)
    assert [row["perplexity"] for row in resumed.history] == [row["perplexity"] for row in whole.history]


@pytest.mark.parametrize("names", [(), ("notes.txt", "logs/notes.txt", "plots/best.weights.h5")])
def test_a_failure_before_the_first_epoch_ends_leaves_nothing_but_what_others_wrote(no_steps, tmp_path, names):
    class Fail(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            for name in names:
                (tmp_path / "run" / name).parent.mkdir(exist_ok=True)
                (tmp_path / "run" / name).write_text("mine")
            raise RuntimeError("out of luck")

    with pytest.raises(RuntimeError, match="out of luck"):
        train(tmp_path / "run", callbacks=[Fail()])
    left = [path.relative_to(tmp_path / "run") for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(map(str, left)) == sorted(names)
    assert (tmp_path / "run").exists() == bool(names)


def at_epoch(number, do):
    """A callback that does something at the begin of an epoch."""
    return keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: do() if epoch == number else None)


@pytest.mark.parametrize(("hook", "place"), [("on_epoch_begin", (0, 32)), ("on_test_end", (1, 0))])
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="only Linux tells the new name of an open folder")
def test_a_run_that_is_renamed_while_it_trains_is_kept_where_it_is(no_steps, tmp_path, hook, place):
    run, moved = tmp_path / "run", tmp_path / "moved"

    def move(*_):
        run.rename(moved)
        run.mkdir()
        (run / "config.json").write_text("of another run")

    told = f"{run} has been moved to {moved} .*To go on: kerasptb train --resume --out {moved}"
    with pytest.raises(RunError, match=told):
        train(run, callbacks=[keras.callbacks.LambdaCallback(**{hook: move})])
    # TensorBoard opens its file at the end of the first validation.
    left = [path for path in run.rglob("*") if path.is_file() and "tfevents" not in path.name]
    assert [(path.name, path.read_text()) for path in left] == [("config.json", "of another run")]
    recorder = Recorder(kerasptb.load_run(moved))  # in the first epoch after all its batches, two calls of 16
    assert (recorder.epoch, recorder.batch) == place
    assert len(train(moved, resume=True).history) == 3


def test_a_run_that_is_ended_in_its_first_validation_is_kept(no_steps, tmp_path, capsys):
    ends = keras.callbacks.LambdaCallback(on_test_begin=lambda logs: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(SystemExit):
        train(tmp_path / "run", callbacks=[ends])
    told = f"has a checkpoint after batch 32 of epoch 1. To go on: kerasptb train --resume --out {tmp_path / 'run'}\n"
    assert told in capsys.readouterr().err
    recorder = Recorder(kerasptb.load_run(tmp_path / "run"))
    assert (recorder.epoch, recorder.batch) == (0, 32)
    assert len(train(tmp_path / "run", resume=True).history) == 3


def test_a_run_that_is_removed_while_it_trains_is_not_made_again(no_steps, tmp_path):
    with pytest.raises(RunError, match="run has been removed"):
        train(tmp_path / "run", callbacks=[at_epoch(1, lambda: shutil.rmtree(tmp_path / "run"))])
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_and_leaves_what_was_whole(no_steps, tmp_path, monkeypatch):
    def refuse(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match=r"No space left on device: .*best\.weights\.h5"):
        train(tmp_path / "run", callbacks=[at_epoch(1, lambda: monkeypatch.setattr(os, "fsync", refuse))])
    names = {"config.json", "vocabulary.txt", "resume.npz", "history.csv", "curves.png", "explain.txt", "logs"}
    weights = {"best.weights.h5", "best.copy.weights.h5", "last.weights.h5"}
    assert {path.name for path in (tmp_path / "run").iterdir()} == names | weights
    monkeypatch.undo()
    assert len(train(tmp_path / "run", resume=True).history) == 3


def test_a_disk_that_is_full_at_a_later_checkpoint_leaves_the_one_before(no_steps, tmp_path, monkeypatch):
    sync, written = files._sync, []

    def refuse(path):
        written.extend([path] * (path.name == "resume.npz"))
        if len(written) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        sync(path)

    monkeypatch.setattr(files, "_sync", refuse)
    with pytest.raises(OSError, match=r"No space left on device: .*resume\.npz"):
        train(tmp_path / "run", checkpoint_minutes=0)
    assert {"resume.before.npz", "config.json"} <= {path.name for path in (tmp_path / "run").iterdir()}
    monkeypatch.undo()
    assert len(train(tmp_path / "run", resume=True).history) == 3


def test_a_history_that_was_cut_off_is_whole_again_when_resumed(no_steps, trained, tmp_path):
    run = trained(tmp_path / "run", epochs=2)
    history = (run.folder / "history.csv").read_text()
    (run.folder / "history.csv").write_text("".join(history.splitlines(keepends=True)[:2]))
    train(run.folder, resume=True, epochs=2)
    assert (run.folder / "history.csv").read_text() == history


def test_divergence_stops_with_a_line_and_keeps_the_last_good_weights(tmp_path):
    class Poison(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                variable = self.model.trainable_variables[-1]
                variable.assign(np.full(variable.shape, np.nan))

    with pytest.raises(TrainingDivergedError, match="nan in epoch 3, step 16"):
        train(tmp_path / "run", callbacks=[Poison()])
    run = kerasptb.load_run(tmp_path / "run")
    assert [row["epoch"] for row in run.history] == [1, 2]
    assert all(np.isfinite(weights).all() for weights in run.load_model(weights="last").get_weights())


def test_interrupt_keeps_the_whole_epochs(no_steps, tmp_path, capsys):
    class Interrupt(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == self.at:
                raise KeyboardInterrupt

    callback = Interrupt()
    callback.at = 2
    run = train(tmp_path / "run", callbacks=[callback], verbose=2)
    assert capsys.readouterr().out.endswith(f"\nTo go on: kerasptb train --resume --out {tmp_path / 'run'}\n")
    assert [row["epoch"] for row in run.history] == [1, 2]
    assert run.metrics["interrupted"]
    assert run.metrics["epochs"] == 2
    callback.at = 0
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "other", callbacks=[callback])


def test_an_interrupt_while_an_epoch_is_written_comes_after_it(tmp_path, monkeypatch):
    saved = []

    def interrupted(*args):
        saved.append(args)
        if len(saved) == 2:  # of the second epoch
            signal.raise_signal(signal.SIGINT)
        save_weights(*args)

    monkeypatch.setattr("kerasptb.training.recorder.save_weights", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    try:
        run = train(tmp_path / "run", training_arguments={"learning_rate": 0.1})
    finally:
        signal.signal(signal.SIGINT, before)
    assert run.metrics["interrupted"]
    assert run.metrics["epochs"] == len(run.history) == 2
    _, perplexity = run.load_model().evaluate(make_dataset(small_corpus().valid, 4, 5), verbose=0)
    assert run.metrics["valid_perplexity"] == pytest.approx(perplexity, rel=1e-6)


def test_what_cannot_be_resumed_is_told_and_left_alone(trained, tmp_path):
    run = trained(tmp_path / "run", epochs=1)
    (run.folder / "resume.npz").unlink()
    before = sorted(run.folder.rglob("*"))
    with pytest.raises(RunError, match=r"cannot be resumed: .* no resume\.npz"):
        train(run.folder, resume=True, epochs=2)
    assert sorted(run.folder.rglob("*")) == before


@pytest.mark.parametrize("whole", [{"best.weights.h5"}, {"best.weights.h5", "last.weights.h5"}])
def test_a_run_that_failed_while_it_kept_its_first_epoch_begins_anew(trained, tmp_path, whole):
    undisturbed = trained(tmp_path / "undisturbed", epochs=2)
    run = trained(tmp_path / "run", epochs=1)
    for file in {"best.weights.h5", "last.weights.h5", "resume.npz", "history.csv", "curves.png"} - whole:
        (run.folder / file).unlink()
    run = train(run.folder, resume=True, epochs=2)
    assert [row["val_perplexity"] for row in run.history] == [row["val_perplexity"] for row in undisturbed.history]


def test_a_damaged_resume_file_is_named(trained, tmp_path):
    run = trained(tmp_path / "run", epochs=1)
    path = run.folder / "resume.npz"
    for content in (path.read_bytes()[:-100], b""):
        path.write_bytes(content)
        with pytest.raises(RunError, match=r"resume\.npz is damaged"):
            train(run.folder, resume=True, epochs=2)


def test_a_resumed_training_that_fails_deletes_nothing(trained, tmp_path):
    run = trained(tmp_path / "run", epochs=1)
    for file in ("resume.npz", "last.weights.h5", "best.weights.h5"):  # as a run killed in its first epoch
        (run.folder / file).unlink()
    with pytest.raises(TrainingDivergedError):
        train(run.folder, resume=True, callbacks=[Diverging()])
    assert (run.folder / "config.json").exists()


def test_a_first_epoch_that_fails_in_a_linked_folder_says_why(no_steps, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    with pytest.raises(TrainingDivergedError):
        train(tmp_path / "link", callbacks=[Diverging()])
    train(tmp_path / "link", epochs=1)


def test_an_interrupt_that_is_ignored_stays_ignored(no_steps, tmp_path, monkeypatch):
    def interrupted(*args):
        signal.raise_signal(signal.SIGINT)
        save_weights(*args)

    monkeypatch.setattr("kerasptb.training.recorder.save_weights", interrupted)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell starts a background job
    try:
        run = train(tmp_path / "run", epochs=2)
    finally:
        signal.signal(signal.SIGINT, before)
    assert (len(run.history), run.metrics["interrupted"]) == (2, False)
