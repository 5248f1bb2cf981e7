import concurrent.futures
import csv
import dataclasses
import errno
import functools
import json
import os
import shutil
import signal
from pathlib import Path

import keras
import numpy as np
import pytest

import kerasptb
from kerasptb.callbacks import TrainingDivergedError
from kerasptb.data import Corpus, Vocabulary, make_dataset
from kerasptb.evaluation import evaluate_perplexity
from kerasptb.ops import plan
from kerasptb.ops import platform as platforms
from kerasptb.ops.native import lstm as native_lstm
from kerasptb.ops.plan import default_precision
from kerasptb.runs import RunError

SMALL = {"units": (9, 7), "embedding_size": 6}


def small_corpus(seed=0):
    """A text in which a word is followed by one of two: perplexity 2 is there to be learned."""
    random = np.random.default_rng(seed)
    steps = random.integers(1, 3, 700)
    ids = (np.cumsum(steps) % 12).astype("int32")
    vocabulary = Vocabulary([f"w{i}" for i in range(10)] + ["<eos>", "<unk>"])
    return Corpus(ids[:450], ids[450:570], ids[570:], vocabulary, name="small", source="made up")


def train(out, **kwargs):
    arguments = {"epochs": 3, "batch_size": 4, "num_steps": 5, "seed": 1, "verbose": 0, "model_arguments": SMALL}
    return kerasptb.train(small_corpus(), out=out, **{**arguments, **kwargs})


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """`train` of as many epochs and no other settings, made once and copied: for tests of what comes afterwards."""
    made = {}

    def copy(out, epochs=3):
        if epochs not in made:
            made[epochs] = train(tmp_path_factory.mktemp("trained") / "run", epochs=epochs).folder
        return kerasptb.load_run(shutil.copytree(made[epochs], out))

    return copy


@pytest.fixture(autouse=True)
def _no_pictures(request, no_pictures):
    """One test looks at the picture of the curves."""
    if request.node.name == "test_leaves_a_run_folder":
        no_pictures.undo()


@pytest.fixture(autouse=True)
def _no_figures(no_figures):
    """Tests of `figures` measure the test text."""


@pytest.fixture
def figures(no_figures):
    no_figures.undo()


@pytest.fixture
def begin(tmp_path, monkeypatch):
    """`train` to where the model would be fitted; returns the model, and the run's settings."""

    def begun(**kwargs):
        seen = []

        def fit(model, *_, **__):
            seen.extend([model, json.loads((tmp_path / "begun" / "config.json").read_text())])
            raise InterruptedError

        with monkeypatch.context() as patch, pytest.raises(InterruptedError):
            patch.setattr(kerasptb.LanguageModel, "fit", fit)
            train(tmp_path / "begun", **kwargs)
        return seen

    return begun


class Diverging(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        raise TrainingDivergedError("it diverged")


def test_leaves_a_run_folder(figures, tmp_path):
    run = train(tmp_path / "run", training_arguments={"learning_rate": 0.5})
    assert {path.name for path in run.folder.iterdir()} == {
        "config.json", "vocabulary.txt", "best.weights.h5", "last.weights.h5", "resume.npz", "resume.before.npz",
        "history.csv", "metrics.json", "curves.png", "explain.txt", "logs",
    }  # fmt: skip
    assert (run.folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert list(run.folder.glob("logs/*/events*"))
    metrics = json.loads((run.folder / "metrics.json").read_text())
    assert {key: metrics[key] for key in ("epochs", "preset", "backend", "precision", "seed", "parameters")} == {
        "epochs": 3,
        "preset": "notebook",
        "backend": "native" if platforms.why_not_native() is None else "keras",
        "precision": "float32",
        "seed": 1,
        # 12 x 6, (6 + 9 + 1) x 36, (9 + 7 + 1) x 28, (7 + 1) x 12
        "parameters": 72 + 576 + 476 + 96,
    }
    with (run.folder / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert {row["learning_rate"] for row in rows} == {"0.5"}
    best = min(run.history, key=lambda row: row["val_perplexity"])
    assert metrics["valid_perplexity"] == best["val_perplexity"]
    assert metrics["train_perplexity"] == best["perplexity"]
    assert 1 < metrics["test_perplexity_every_word"] < 14
    assert metrics["words_per_second"] > 0


def test_the_step_is_compiled_where_that_is_faster(begin, native_library):
    assert begin()[0].jit_compile
    assert begin(model_arguments={**SMALL, "keep_prob": 0.5})[0].jit_compile
    assert not begin(backend="keras")[0].jit_compile


def test_learns_what_there_is_to_learn(figures, tmp_path):
    run = train(
        tmp_path / "run",
        epochs=20,
        model_arguments={**SMALL, "init_scale": 0.5},
        training_arguments={"constant_epochs": 20},
    )
    # The text's own perplexity is 2; that of 12 words equally likely is 12.
    assert 1.8 < run.metrics["test_perplexity_every_word"] < 3.5


def test_results_are_of_the_best_weights_on_the_test_text(figures, tmp_path):
    corpus = small_corpus()

    class Spoiling(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                bias = self.model.get_layer("logits").bias
                bias.assign(bias + 3.0 * np.arange(12))

    run = train(tmp_path / "run", callbacks=[Spoiling()], training_arguments={"learning_rate": 0.1})
    assert run.metrics["best_epoch"] < 3
    best, last = (run.load_model(weights=weights) for weights in ("best", "last"))
    figures = [
        (evaluate_perplexity(model, corpus.test, 4, 5), evaluate_perplexity(model, corpus.test, every_word=True))
        for model in (best, last)
    ]
    assert figures[0] == (run.metrics["test_perplexity"], run.metrics["test_perplexity_every_word"])
    assert figures[0] != figures[1]


def test_gradients_are_clipped_at_the_norm_of_the_settings(tmp_path):
    still, moved = (
        train(tmp_path / str(clip), epochs=1, training_arguments={"global_clipnorm": clip, "learning_rate": 1.0})
        for clip in (1e-6, 5.0)
    )
    # 22 steps of a length of 1e-6 change nothing that is seen; an untrained model finds 12 words equally likely.
    assert still.metrics["valid_perplexity"] == pytest.approx(12, rel=0.01)
    assert abs(moved.metrics["valid_perplexity"] - 12) > 0.2


def test_a_resumed_run_has_the_learning_rates_of_its_epochs(tmp_path):
    arguments = {"training_arguments": {"learning_rate": 1.0, "constant_epochs": 1, "decay": 0.5}}
    run = train(tmp_path / "run", epochs=2, **arguments)
    train(run.folder, resume=True, epochs=4)
    assert [row["learning_rate"] for row in run.history] == [1.0, 0.5, 0.25, 0.125]


def test_same_seed_repeats_the_run_to_the_bit(tmp_path):
    arguments = {"model_arguments": {**SMALL, "keep_prob": 0.6}}
    runs = [train(tmp_path / name, **arguments) for name in ("one", "two")]
    other = train(tmp_path / "other", seed=2, **arguments)
    for key in ("perplexity", "val_perplexity"):
        assert [row[key] for row in runs[0].history] == [row[key] for row in runs[1].history]
        assert [row[key] for row in runs[0].history] != [row[key] for row in other.history]


def test_resumed_run_is_the_uninterrupted_one_to_the_bit(tmp_path):
    arguments = {"model_arguments": {**SMALL, "keep_prob": 0.6}, "training_arguments": {"constant_epochs": 2}}
    whole = train(tmp_path / "whole", epochs=5, **arguments)
    train(tmp_path / "parts", epochs=2, **arguments)
    parts = kerasptb.train(small_corpus(), out=tmp_path / "parts", resume=True, epochs=5, verbose=0)
    assert [row["epoch"] for row in parts.history] == [1, 2, 3, 4, 5]
    for key in ("perplexity", "val_perplexity", "learning_rate"):
        assert [row[key] for row in parts.history] == [row[key] for row in whole.history]
    _assert_equal_weights(parts, whole)


def _assert_equal_weights(run, expected, weights="best"):
    pairs = zip(*(each.load_model(weights=weights).get_weights() for each in (run, expected)), strict=True)
    for found, wanted in pairs:
        np.testing.assert_array_equal(found, wanted)


TINY = {"model_arguments": {"units": (9, 6), "embedding_size": 6}}
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


@pytest.mark.parametrize("preset", RECIPES)
def test_a_recipe_with_a_memory_resumes_to_the_bit(of_recipe, tmp_path, preset):
    whole, arguments = of_recipe(preset), {**RECIPES[preset], "preset": preset}
    with pytest.raises(RuntimeError, match="out of luck"):
        train(tmp_path / "parts", epochs=6, callbacks=[_Fail(3, 3)], checkpoint_minutes=0, **arguments)
    assert len(kerasptb.load_run(tmp_path / "parts").history) == 3
    parts = kerasptb.train(small_corpus(), out=tmp_path / "parts", resume=True, verbose=0)
    for name in ("perplexity", "val_perplexity", "learning_rate"):
        assert [row[name] for row in parts.history] == [row[name] for row in whole.history]
    with np.load(whole.folder / "resume.npz") as one, np.load(parts.folder / "resume.npz") as other:
        for name in set(one.files) - {"history"}:
            np.testing.assert_array_equal(one[name], other[name])


class _Fail(keras.callbacks.Callback):
    """Fails after a batch of an epoch."""

    def __init__(self, epoch, batch):
        super().__init__()
        self.at, self.epoch = (epoch, batch), 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == self.at:
            raise RuntimeError("out of luck")


def test_a_failure_in_the_first_epoch_keeps_its_checkpoint(tmp_path):
    with pytest.raises(RuntimeError, match="out of luck"):
        train(tmp_path / "run", callbacks=[_Fail(0, 9)], checkpoint_minutes=0)
    with np.load(tmp_path / "run" / "resume.npz") as saved:
        assert json.loads(str(saved["place"]))["batch"] == 9
    assert len(train(tmp_path / "run", resume=True).history) == 3


class _Killed(BaseException):
    pass


def test_a_training_killed_at_every_write_goes_on_to_the_bit(tmp_path, monkeypatch):
    whole = train(tmp_path / "whole", epochs=2)
    replace, killed = Path.replace, []

    def kill(path, target):
        if (name := Path(target).name) not in killed:
            killed.append(name)
            raise _Killed
        return replace(path, target)

    monkeypatch.setattr("kerasptb.runs.run.remove", lambda folder, itself=True: None)  # who is killed removes nothing
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
    _assert_equal_weights(run, whole)


def test_a_run_keeps_the_averages_of_its_weights(of_recipe):
    run = of_recipe("awd-lstm")
    best = min(run.history, key=lambda row: row["val_perplexity"])
    found = evaluate_perplexity(run.load_model(), small_corpus().valid, 16, 5)
    assert found == pytest.approx(best["val_perplexity"], rel=1e-5)
    last = run.load_model(weights="last").get_weights()
    with np.load(run.folder / "resume.npz") as saved:  # it holds the weights that train on
        assert any(np.abs(saved[f"v{i}"] - weights).max() > 1e-3 for i, weights in enumerate(last[:2]))


def test_what_people_change_has_arguments(tmp_path):
    sizes = {"units": 8, "embedding_size": 5, "keep_prob": 0.7}
    run = train(tmp_path / "run", epochs=2, model_arguments=None, learning_rate=0.02, optimizer="adamw", **sizes)
    model = run.load_model()
    assert (model.units, model.embedding_size, model.keep_prob) == ((8,), 5, 0.7)
    assert [row["learning_rate"] for row in run.history] == pytest.approx([0.02, 0.02])
    assert run.config["training"]["optimizer"] == "adamw"
    assert len(kerasptb.train(small_corpus(), out=run.folder, resume=True, epochs=3, verbose=0).history) == 3
    with pytest.raises(RunError, match=r"has optimizer='adamw'\. Received: optimizer='sgd'"):
        kerasptb.train(small_corpus(), out=run.folder, resume=True, optimizer="sgd", verbose=0)


def test_an_optimizer_without_a_rate_has_its_own(tmp_path):
    run = train(tmp_path / "run", epochs=1, optimizer="rmsprop")
    assert run.config["training"]["learning_rate"] == pytest.approx(0.001)
    with pytest.raises(ValueError, match="the name of another Keras optimizer"):
        train(tmp_path / "other", epochs=1, optimizer="best")
    assert not (tmp_path / "other").exists()


def test_keep_prob_replaces_the_rates_of_a_recipe(tmp_path):
    run = train(tmp_path / "run", epochs=1, preset="small", keep_prob=0.9, **TINY)
    model = run.load_model()
    rates = [model.get_layer(name).rate for name in ("embedding_dropout", "lstm_0_dropout", "lstm_1_dropout")]
    assert rates == pytest.approx([0.1] * 3)


def test_early_stopping_ends_a_training(tmp_path):
    run = train(tmp_path / "run", epochs=9, early_stopping=2, learning_rate=1e-9)
    best = min(range(len(run.history)), key=lambda i: run.history[i]["val_perplexity"])
    assert len(run.history) == best + 3 < 9


def test_a_run_killed_in_its_first_epoch_resumes_from_the_beginning(trained, tmp_path):
    whole = trained(tmp_path / "whole")
    killed = tmp_path / "killed"
    killed.mkdir()
    for name in ("config.json", "vocabulary.txt"):
        shutil.copy(whole.folder / name, killed)
    resumed = kerasptb.train(small_corpus(), out=killed, resume=True, verbose=0)
    assert [row["perplexity"] for row in resumed.history] == [row["perplexity"] for row in whole.history]


def test_a_run_cannot_be_resumed_while_it_trains(tmp_path):
    class Resume(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            with pytest.raises(RunError, match="Another training is at work"):
                kerasptb.train(small_corpus(), out=tmp_path / "run", resume=True, epochs=9, verbose=0)

    run = train(tmp_path / "run", epochs=2, callbacks=[Resume()])
    assert (len(run.history), run.config["training"]["epochs"]) == (2, 2)
    assert kerasptb.load_run(run.folder).config == run.config


def test_a_failure_before_the_first_epoch_ends_leaves_nothing(tmp_path):
    class Fail(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise RuntimeError("out of luck")

    with pytest.raises(RuntimeError, match="out of luck"):
        train(tmp_path / "run", callbacks=[Fail()])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["epochs", "steps_per_epoch"])
def test_a_training_of_nothing_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match=f"Expected {name} to be a positive integer. Received: {name}=0"):
        train(tmp_path / "run", **{name: 0})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        {"learning_rate": 0},
        {"learning_rate": float("inf")},
        {"training_arguments": {"global_clipnorm": 0.0}},
        {"training_arguments": {"global_clipnorm": float("nan")}},
        {"preset": "small", "training_arguments": {"weight_decay": -0.1}},
        {"seed": 1.5},
        {"seed": -1},
        {"keep_prob": 1e-9},
        {"batch_size": 10**9},
    ],
)
def test_absurd_settings_are_refused_before_anything_is_made(tmp_path, arguments):
    name = list(arguments.get("training_arguments", arguments))[-1]
    with pytest.raises(ValueError, match=name):
        train(tmp_path / "run", **arguments)
    assert not (tmp_path / "run").exists()


def test_settings_are_compared_as_they_are_meant(tmp_path):
    arguments = {"batch_size": np.int64(4), "model_arguments": {**SMALL, "units": np.int64(8)}}
    run = train(tmp_path / "run", epochs=1, **arguments)
    train(run.folder, epochs=2, resume=True, **arguments)
    assert len(run.history) == 2


@pytest.mark.filterwarnings("error:Slower than it could be")
def test_a_training_without_the_native_kernels_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(plan, "_told", set())
    monkeypatch.setattr(platforms, "why_not_native", lambda precision="float32": "They are not built.")
    run = train(tmp_path / "run", epochs=1, verbose=2)
    told = (run.folder / "explain.txt").read_text()
    assert told in capsys.readouterr().out
    assert [line.split(None, 2) for line in told.splitlines()[1:5]] == [
        ["lstm_0", "StatefulLSTM", "keras  They are not built."],
        ["lstm_1", "StatefulLSTM", "keras  They are not built."],
        ["logits", "Dense", "keras  They are not built."],
        ["cost", "SequenceCrossEntropy", "keras  They are not built."],
    ]
    assert run.metrics["backend"] == "keras"
    monkeypatch.setattr(plan, "_told", set())
    with pytest.raises(UserWarning, match="without the native kernels: They are not built"):
        train(tmp_path / "silent", epochs=1, verbose=0)


def test_a_full_disk_is_told_and_leaves_what_was_whole(tmp_path, monkeypatch):
    class Fill(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                monkeypatch.setattr(os, "posix_fallocate", refuse, raising=False)

    def refuse(*_):
        raise OSError(errno.ENOSPC, "")

    with pytest.raises(OSError, match=r"No space left on device: .*weights\.h5"):
        train(tmp_path / "run", callbacks=[Fill()])
    names = {"config.json", "vocabulary.txt", "best.weights.h5", "last.weights.h5", "resume.npz", "history.csv"}
    assert {path.name for path in (tmp_path / "run").iterdir()} == names | {"curves.png", "explain.txt", "logs"}
    monkeypatch.undo()
    assert len(train(tmp_path / "run", resume=True).history) == 3


def test_room_is_asked_for_all_of_a_file_of_weights(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(os, "posix_fallocate", lambda file, begin, size: asked.append(size), raising=False)
    run = train(tmp_path / "run", epochs=1, model_arguments={"units": 300, "embedding_size": 300})
    sizes = [run.weights_path(weights).stat().st_size for weights in ("best", "last")]
    assert all(room >= size > 2**21 for room, size in zip(asked, sizes, strict=True))


def test_what_a_run_goes_on_from_is_replaced_not_emptied(trained, tmp_path):
    run = trained(tmp_path / "run", epochs=1)
    path = run.folder / "resume.npz"
    before = path.read_bytes()
    with path.open("rb") as file:  # a reader that opened it before sees the old content
        train(run.folder, epochs=2, resume=True)
        assert file.read() == before != path.read_bytes()


def test_what_a_callback_adds_to_the_logs_is_in_the_history(tmp_path):
    class Add(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["extra"] = 7.0

    assert train(tmp_path / "run", epochs=1, callbacks=[Add()]).history[0]["extra"] == 7.0


def test_a_test_text_of_a_word_is_told_before_the_training(tmp_path):
    corpus = dataclasses.replace(small_corpus(), test=np.zeros(1, "int32"))
    with pytest.raises(ValueError, match=r"a test text of at least two words\. Received: 1"):
        kerasptb.train(corpus, out=tmp_path / "run", batch_size=4, num_steps=5, verbose=0, model_arguments=SMALL)
    assert not (tmp_path / "run").exists()


def test_what_cannot_be_written_makes_no_folder(tmp_path):
    with pytest.raises(TypeError, match="JSON"):
        train(tmp_path / "run", training_arguments={"decay": np.float32(0.5)})
    assert not (tmp_path / "run").exists()


def test_a_history_that_was_cut_off_is_whole_again_when_resumed(trained, tmp_path):
    run = trained(tmp_path / "run", epochs=2)
    history = (run.folder / "history.csv").read_text()
    (run.folder / "history.csv").write_text("".join(history.splitlines(keepends=True)[:2]))
    train(run.folder, resume=True, epochs=2)
    assert (run.folder / "history.csv").read_text() == history


def test_resuming_keeps_the_runs_settings(trained, tmp_path):
    trained(tmp_path / "run", epochs=1)
    with pytest.raises(RunError, match=r"batch_size=4\. Received: batch_size=8"):
        kerasptb.train(small_corpus(), out=tmp_path / "run", resume=True, batch_size=8, verbose=0)
    with pytest.raises(RunError, match="--out"):
        kerasptb.train(small_corpus(), resume=True, verbose=0)


def test_a_resumed_run_keeps_its_text(trained, tmp_path, monkeypatch):
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
    kerasptb.train(out=run.folder, resume=True, epochs=3, verbose=0)
    nowhere = dataclasses.replace(run.load_corpus(tmp_path / "elsewhere"), location=None)
    kerasptb.train(nowhere, out=run.folder, resume=True, epochs=3, verbose=0)
    kerasptb.train(out=run.folder, resume=True, epochs=3, verbose=0)
    # An old run, which has not recorded its text, goes on with the one that it is given.
    config = json.loads((run.folder / "config.json").read_text())
    config["data"] = {name: config["data"][name] for name in ("name", "is_sample")}
    (run.folder / "config.json").write_text(json.dumps(config))
    kerasptb.train(tmp_path / "elsewhere", out=run.folder, resume=True, epochs=4, verbose=0)
    assert len(run.history) == 4
    assert json.loads((run.folder / "config.json").read_text())["data"]["digest"]
    made_up = trained(tmp_path / "made up", epochs=1)
    with pytest.raises(RunError, match=r"a text that came from no file\. Name the text"):
        kerasptb.train(out=made_up.folder, resume=True, epochs=2, verbose=0)


def test_rare_words_of_a_text_become_unknown(tmp_path):
    for split, lines in (("train", 200), ("valid", 60), ("test", 60)):
        text = "".join(f"one two three {split}{i}\n" for i in range(lines))
        (tmp_path / f"{split}.txt").write_text(text)
    arguments = {"batch_size": 4, "num_steps": 5, "verbose": 0, "model_arguments": SMALL}
    run = kerasptb.train(tmp_path, out=tmp_path / "run", vocabulary_size=5, epochs=1, **arguments)
    assert run.vocabulary.words == ("<eos>", "<unk>", "one", "three", "two")
    assert run.config["model"]["vocabulary_size"] == 5
    assert evaluate_perplexity(run.load_model(), run.load_corpus().test, every_word=True) < 6
    # The run reads the text again with its own vocabulary, without being told, and accepts no other limit.
    assert run.load_corpus().test.tolist()[:5] == [2, 4, 3, 1, 0]
    kerasptb.train(out=run.folder, resume=True, epochs=2, vocabulary_size=5, verbose=0)
    assert len(run.history) == 2
    with pytest.raises(RunError, match=r"vocabulary_size=5\. Received: vocabulary_size=6"):
        kerasptb.train(out=run.folder, resume=True, epochs=3, vocabulary_size=6, verbose=0)
    # A limit above the number of words is kept as it was asked for.
    run = kerasptb.train(tmp_path, out=tmp_path / "all", vocabulary_size=900, epochs=1, **arguments)
    assert len(run.vocabulary) == 205
    kerasptb.train(out=run.folder, resume=True, epochs=2, vocabulary_size=900, verbose=0)
    with pytest.raises(RunError, match=r"vocabulary_size=900\. Received: vocabulary_size=205"):
        kerasptb.train(out=run.folder, resume=True, epochs=3, vocabulary_size=205, verbose=0)
    with pytest.raises(ValueError, match=r"model of the text's 205 words\. Received: vocabulary_size=5"):
        kerasptb.train(
            run.load_corpus(),
            out=tmp_path / "other",
            epochs=1,
            **arguments | {"model_arguments": {**SMALL, "vocabulary_size": 5}},
        )
    with pytest.raises(ValueError, match=r"A Corpus keeps its vocabulary of 5 words"):
        kerasptb.train(
            kerasptb.load_run(tmp_path / "run").load_corpus(), out=tmp_path / "other", vocabulary_size=4, **arguments
        )
    assert not (tmp_path / "other").exists()


def test_callbacks_of_the_user_run_and_see_the_logs(tmp_path):
    seen = []

    class See(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append((epoch, sorted(logs)))

    train(tmp_path / "run", epochs=2, callbacks=[See()])
    names = ["learning_rate", "loss", "perplexity", "val_loss", "val_perplexity", "words_per_second"]
    assert seen == [(0, names), (1, names)]


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


def test_interrupt_keeps_the_whole_epochs(tmp_path):
    class Interrupt(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == self.at:
                raise KeyboardInterrupt

    callback = Interrupt()
    callback.at = 2
    run = train(tmp_path / "run", callbacks=[callback])
    assert [row["epoch"] for row in run.history] == [1, 2]
    assert run.metrics["interrupted"]
    assert run.metrics["epochs"] == 2
    callback.at = 0
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "other", callbacks=[callback])


def test_an_interrupt_while_an_epoch_is_written_comes_after_it(tmp_path, monkeypatch):
    save_weights, saved = keras.Model.save_weights, []

    def interrupted(self, *args, **kwargs):
        saved.append(args)
        if len(saved) == 3:  # the first file of the second epoch
            signal.raise_signal(signal.SIGINT)
        return save_weights(self, *args, **kwargs)

    monkeypatch.setattr(keras.Model, "save_weights", interrupted)
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


def test_a_first_epoch_that_fails_in_a_linked_folder_says_why(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    with pytest.raises(TrainingDivergedError):
        train(tmp_path / "link", callbacks=[Diverging()])
    train(tmp_path / "link", epochs=1)


def test_results_of_fewer_epochs_are_gone_while_a_run_goes_on(trained, tmp_path):
    run = trained(tmp_path / "run", epochs=1)
    with pytest.raises(TrainingDivergedError):
        train(run.folder, resume=True, epochs=2, callbacks=[Diverging()])
    assert run.metrics == {}
    assert train(run.folder, resume=True, epochs=2).metrics["epochs"] == 2


def test_a_resumed_run_keeps_its_preset(trained, tmp_path):
    run = trained(tmp_path / "run", epochs=1)
    with pytest.raises(RunError, match=r"preset='notebook'\. Received: preset='tuned'"):
        train(run.folder, resume=True, preset="tuned")
    train(run.folder, resume=True, preset="notebook")


def test_a_lambda_that_looks_at_batches_sees_each(tmp_path):
    seen = []
    look = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(batch))
    train(tmp_path / "run", epochs=1, callbacks=[look])
    assert seen == list(range(len(seen)))
    assert len(seen) == 450 // 4 // 5


def test_steps_per_epoch_shortens_every_epoch(tmp_path):
    batches = []

    class Count(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            batches.append(batch)

    run = train(tmp_path / "run", epochs=2, steps_per_epoch=3, callbacks=[Count()])
    assert batches == [0, 1, 2, 0, 1, 2]
    # The validation is not shortened.
    expected = evaluate_perplexity(run.load_model(batch_size=2), small_corpus().valid, 4, 5)
    assert run.metrics["valid_perplexity"] == pytest.approx(expected, rel=1e-6)
    assert run.load_model(batch_size=2).batch_size == 2


def test_a_folder_that_holds_anything_is_refused_and_left_alone(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("do not lose this")
    with pytest.raises(RunError, match="is not empty"):
        train(tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.txt"]


def test_a_text_too_short_for_one_batch_says_the_numbers_and_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="The training text is too short for one batch: it has 450 words"):
        train(tmp_path / "run", batch_size=80)
    with pytest.raises(ValueError, match="The validation text is too short for one batch: it has 120 words"):
        train(tmp_path / "run", batch_size=60)
    assert not (tmp_path / "run").exists()


def test_a_test_text_too_short_for_a_batch_leaves_out_that_figure_alone(figures, tmp_path, capsys):
    corpus = small_corpus()
    corpus = dataclasses.replace(corpus, test=corpus.test[:20])  # a batch takes 4 x 6
    run = kerasptb.train(
        corpus, out=tmp_path / "run", epochs=1, batch_size=4, num_steps=5, verbose=2, model_arguments=SMALL
    )
    assert run.metrics["test_perplexity"] is None
    assert run.metrics["test_perplexity_every_word"] > 1
    assert "test (too short for 4 streams) (in 4 streams; every word:" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [{"epochs": 0}, {"steps_per_epoch": -3}])
def test_what_has_an_argument_of_its_own_is_no_training_argument(tmp_path, arguments):
    with pytest.raises(ValueError, match=rf"among .*'decay'.* Received: \['{next(iter(arguments))}'\]"):
        train(tmp_path / "run", training_arguments=arguments)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("policy", "native"), [("float32", True), ("float64", False), ("bfloat16", False), ("mixed_bfloat16", True)]
)
def test_the_backend_recorded_is_the_one_that_ran(tmp_path, monkeypatch, native_library, capsys, policy, native):
    if policy == "mixed_bfloat16" and platforms.why_not_native("bfloat16") is not None:
        pytest.skip("this processor multiplies no bfloat16")
    calls, call = [], native_lstm.call
    monkeypatch.setattr(native_lstm, "call", lambda *args, **kwargs: (calls.append(1), call(*args, **kwargs))[1])
    run = train(tmp_path / "run", epochs=1, model_arguments={**SMALL, "dtype": policy}, verbose=2)
    slower = f"keras  The native backend takes float32. Received: dtype policy {policy}."
    assert (slower in capsys.readouterr().out) == (not native and not platforms.visible_gpus())
    assert (run.metrics["backend"], bool(calls)) == (("native", True) if native else ("keras", False))


def test_unknown_training_argument_is_named(tmp_path):
    with pytest.raises(ValueError, match="momentum"):
        train(tmp_path / "run", training_arguments={"momentum": 0.9})


class _Batches(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(batch)


class _Epochs(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        self.steps_per_execution = self.model.steps_per_execution


def test_several_batches_a_call_train_as_one_does(tmp_path):
    batches, epochs = _Batches(), _Epochs()
    model = {**SMALL, "keep_prob": 0.7}
    one = train(tmp_path / "one", callbacks=[batches], model_arguments=model)
    several = train(tmp_path / "several", callbacks=[epochs], model_arguments=model)
    assert batches.seen == list(range(22)) * 3  # (450 / 4 - 1) / 5 batches an epoch
    assert epochs.steps_per_execution == 16
    for rows in zip(one.history, several.history, strict=True):
        kept = [{name: value for name, value in row.items() if name != "words_per_second"} for row in rows]
        assert kept[0] == kept[1]


def test_a_run_names_the_precision_of_a_global_policy(figures, tmp_path, native_library):
    if (reason := platforms.why_not_native("bfloat16")) is not None:
        pytest.skip(reason)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        run = train(tmp_path / "run", epochs=1)
    finally:
        keras.config.set_dtype_policy("float32")
    assert run.metrics["precision"] == "bfloat16"
    model = run.load_model()
    assert (model.precision, model.dtype_policy.name) == ("bfloat16", "mixed_bfloat16")
    corpus = small_corpus()
    assert evaluate_perplexity(model, corpus.test, 4, 5) == pytest.approx(run.metrics["test_perplexity"], rel=1e-6)


def test_an_epoch_leaves_its_results_on_a_line(tmp_path, capsys):
    run = train(tmp_path / "run", epochs=1, verbose=1)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Epoch 1/1")]
    row = run.history[0]
    assert f"perplexity {row['perplexity']:.2f}  valid {row['val_perplexity']:.2f}" in line


def test_numpy_numbers_are_welcome(tmp_path):
    run = train(tmp_path / "run", epochs=np.int64(2), steps_per_epoch=np.int32(3), seed=np.int64(4))
    assert (run.metrics["epochs"], run.config["training"]["steps_per_epoch"], run.metrics["seed"]) == (2, 3, 4)
    run = kerasptb.train(small_corpus(), out=run.folder, resume=True, epochs=np.int64(3), verbose=0)
    assert run.metrics["epochs"] == 3


@pytest.mark.parametrize(("policy", "own"), [("mixed_bfloat16", "float32"), ("float32", "mixed_bfloat16")])
def test_the_models_own_dtype_policy_says_its_precision(begin, policy, own):
    keras.config.set_dtype_policy(policy)
    try:
        model, config = begin(model_arguments={**SMALL, "dtype": own})
    finally:
        keras.config.set_dtype_policy("float32")
    expected = default_precision("auto", keras.dtype_policies.get(own))
    assert (config["model"]["dtype"], config["model"]["precision"]) == (own, expected)
    assert (model.dtype_policy.name, model.precision) == (own, expected)


def test_trains_in_a_thread_of_its_own(tmp_path):
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        run = pool.submit(train, tmp_path / "run", epochs=1).result()
    assert run.metrics["epochs"] == 1


def test_a_seed_that_was_drawn_repeats_the_run(tmp_path):
    drawn = train(tmp_path / "drawn", epochs=1, seed=None)
    again = train(tmp_path / "again", epochs=1, seed=drawn.config["model"]["seed"])
    assert drawn.history[0]["perplexity"] == again.history[0]["perplexity"]
    assert train(tmp_path / "other", epochs=1, seed=None).config["model"]["seed"] != drawn.metrics["seed"]


@pytest.mark.parametrize("hook", ["on_batch_begin", "on_batch_end", "on_train_batch_begin", "on_train_batch_end"])
def test_a_callback_that_looks_at_batches_sees_each_by_whatever_name(begin, hook):
    look = type("Look", (keras.callbacks.Callback,), {hook: lambda self, batch, logs=None: None})
    assert begin(callbacks=[look()])[0].steps_per_execution == 1


def test_a_backend_without_bfloat16_is_trained_in_float32_under_a_global_policy(tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        run = train(tmp_path / "run", epochs=1, backend="keras")
    finally:
        keras.config.set_dtype_policy("float32")
    assert (run.metrics["backend"], run.metrics["precision"]) == ("keras", "float32")


@pytest.mark.parametrize("is_sample", [False, True])
def test_results_on_the_sample_are_said_to_compare_with_nothing(tmp_path, capsys, is_sample):
    corpus = dataclasses.replace(small_corpus(), is_sample=is_sample)
    kerasptb.train(corpus, out=tmp_path / "run", epochs=1, batch_size=4, num_steps=5, verbose=2, model_arguments=SMALL)
    assert ("they compare with nothing published" in capsys.readouterr().out) == is_sample


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"training_arguments": {"decay": 0.9}}, r"decay=0\.5\. Received: decay=0\.9"),
        ({"steps_per_epoch": 3}, r"steps_per_epoch=None\. Received: steps_per_epoch=3"),
    ],
)
def test_resuming_keeps_the_settings_of_the_training_too(trained, tmp_path, arguments, message):
    trained(tmp_path / "run", epochs=1)
    with pytest.raises(RunError, match=message):
        train(tmp_path / "run", epochs=2, resume=True, **arguments)


def test_the_speed_is_the_median_of_the_epochs(trained, tmp_path):
    run = trained(tmp_path / "run")
    assert run.metrics["words_per_second"] == sorted(row["words_per_second"] for row in run.history)[1]


def test_an_interrupt_that_is_ignored_stays_ignored(tmp_path, monkeypatch):
    save_weights = keras.Model.save_weights

    def interrupted(self, *args, **kwargs):
        signal.raise_signal(signal.SIGINT)
        return save_weights(self, *args, **kwargs)

    monkeypatch.setattr(keras.Model, "save_weights", interrupted)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell starts a background job
    try:
        run = train(tmp_path / "run", epochs=2)
    finally:
        signal.signal(signal.SIGINT, before)
    assert (len(run.history), run.metrics["interrupted"]) == (2, False)


def test_a_run_that_has_more_epochs_than_asked_for_says_so_and_keeps_them(trained, tmp_path, capsys):
    trained(tmp_path / "run", epochs=2)
    run = kerasptb.train(small_corpus(), out=tmp_path / "run", resume=True, epochs=1, verbose=1)
    assert "2 epochs are done already" in capsys.readouterr().out
    assert len(run.history) == run.config["training"]["epochs"] == run.metrics["epochs"] == 2


def other_corpus():
    """The small corpus in another order of the words, without two of them, and with one that is new."""
    corpus = small_corpus(seed=1)
    words = [*reversed(corpus.vocabulary.words[2:]), "new"]
    vocabulary = Vocabulary(words)
    texts = [
        np.array([vocabulary.word_to_id.get(corpus.vocabulary.words[i], len(words) - 1) for i in ids], "int32")
        for ids in (corpus.train, corpus.valid, corpus.test)
    ]
    return Corpus(*texts, vocabulary, name="other", source="made up")


def test_a_training_begins_with_the_weights_of_another_run(trained, tmp_path, capsys):
    source = trained(tmp_path / "source")
    corpus = other_corpus()
    options = {"epochs": 2, "seed": 2, "start_from": source.folder, "freeze": ["embedding", "lstm_0"]}
    run = kerasptb.train(corpus, learning_rate=0.1, out=tmp_path / "tuned", **options)
    assert "10 of 11 words are known to it" in capsys.readouterr().out
    assert run.config["model"]["units"] == [9, 7]  # the source's sizes
    assert run.config["model"]["batch_size"] == 4
    old, new = source.load_model(), run.load_model(weights="last")
    for weight, expected in zip(
        new.get_layer("lstm_0").get_weights(), old.get_layer("lstm_0").get_weights(), strict=True
    ):
        np.testing.assert_array_equal(weight, expected)
    for word in ("w3", "<eos>"):
        np.testing.assert_array_equal(
            new.get_layer("embedding").get_weights()[0][run.vocabulary.word_to_id[word]],
            old.get_layer("embedding").get_weights()[0][source.vocabulary.word_to_id[word]],
        )
    changed = np.abs(new.get_layer("lstm_1").get_weights()[0] - old.get_layer("lstm_1").get_weights()[0]).max()
    assert 0 < changed < 0.5


def test_a_tuned_run_resumes_to_the_bit(trained, tmp_path):
    options = {"start_from": trained(tmp_path / "source").folder, "freeze": ["lstm_0"], "seed": 2, "verbose": 0}
    whole = kerasptb.train(other_corpus(), epochs=2, out=tmp_path / "whole", **options)
    kerasptb.train(other_corpus(), epochs=1, out=tmp_path / "part", **options)
    part = kerasptb.train(other_corpus(), epochs=2, out=tmp_path / "part", resume=True, verbose=0)
    _assert_equal_weights(part, whole)


@pytest.mark.parametrize(
    ("changes", "text"),
    [({"freeze": ["lstm_9"]}, "Received: 'lstm_9'"), ({"units": [9, 8]}, "Expected a model of the same layers")],
)
def test_what_does_not_fit_another_run_is_told_and_leaves_nothing(trained, tmp_path, changes, text):
    source = trained(tmp_path / "source")
    with pytest.raises(ValueError, match=text):
        kerasptb.train(other_corpus(), start_from=source.folder, out=tmp_path / "run", verbose=0, **changes)
    assert not (tmp_path / "run").exists()
