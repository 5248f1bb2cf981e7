import json
import os

import numpy as np
import pytest

from kerasptb.data import Vocabulary, load_corpus
from kerasptb.run import load_run
from kerasptb.runs import RunError
from kerasptb.runs.files import lock_run, remove, write_rows

VOCABULARY = Vocabulary(["the", "<unk>"])
MODEL = {"vocabulary_size": 2, "embedding_size": 3, "units": [3], "batch_size": 2, "num_steps": 2}


@pytest.fixture
def create(make_run):
    """Makes a run of a small model."""
    return lambda folder, vocabulary=VOCABULARY, **parts: make_run(folder, vocabulary, MODEL, **parts)


def test_a_run_comes_back_from_its_folder(tmp_path, create):
    made = create(tmp_path / "a" / "run", recipe={"learning_rate": 0.5, "global_clipnorm": None})
    run = load_run(tmp_path / "a" / "run")
    assert run.settings == made.settings
    assert run.settings.model.units == (3,)
    assert run.config["recipe"] == {"learning_rate": 0.5, "global_clipnorm": None}
    assert json.loads((run.folder / "config.json").read_text()) == run.config
    assert run.vocabulary == VOCABULARY
    assert run.history == []
    assert run.metrics == {}


def test_history_keeps_every_bit(tmp_path, create):
    run = create(tmp_path)
    rows = [{"epoch": 1, "perplexity": float(np.float32(1 / 3))}, {"epoch": 2, "perplexity": 1e-17}]
    write_rows(tmp_path / "history.csv", rows)
    assert run.history == rows


def test_a_run_without_a_whole_epoch_has_no_weights(tmp_path, create):
    with pytest.raises(RunError, match="no epoch has ended"):
        create(tmp_path).load_model()


@pytest.mark.parametrize("name", ["config.json", "vocabulary.txt"])
def test_a_folder_that_is_no_run_is_named(tmp_path, name, create):
    create(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(RunError, match=f"has no {name}"):
        load_run(tmp_path)


def test_a_file_is_no_run(tmp_path):
    (tmp_path / "run").write_text("words\n")
    with pytest.raises(RunError, match=r"made by `kerasptb train`\. Received: .*run, a file"):
        load_run(tmp_path / "run")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", "[" * 100_000, '{"model": {}, "training": null, "data": {}}', "\udcff"]
)
def test_damaged_settings_are_named(text, tmp_path, create):
    create(tmp_path)
    (tmp_path / "config.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(RunError, match=r"config\.json is damaged"):
        load_run(tmp_path)


@pytest.mark.parametrize(
    ("part", "name", "value", "text"),
    [
        (
            "model",
            "units",
            "wide",
            r"`units` must be a list, each a whole number .* Received: units='wide'",
        ),
        ("model", "units", [3.5], r"Received: units=\[3.5\]"),
        ("model", "batch_size", True, r"`batch_size` must be a whole number of at least 1\. Received: batch_size=True"),
        ("model", "keep_prob", None, r"Received: keep_prob=None"),
        ("model", "keep_prob", "0.5", r"Received: keep_prob='0.5'"),
        ("model", "dtype", [1], r"`dtype` must be a Keras dtype policy"),
        ("model", "backend", {}, r"`backend` must be one of auto, reference, keras, native"),
        ("model", "norm", 1, r"there is no setting model\.norm"),
        ("batches", "jitter", 1, r"`jitter` must be True or False"),
        ("training", "epochs", 1e400, r"Received: epochs=inf"),
        ("training", "freeze", [[]], r"Received: freeze=\[\[\]\]"),
        ("recipe", "learning_rate", float("nan"), r"`learning_rate` must be a number above 0\. Received: .*=nan"),
        ("recipe", "momentum", 0.9, r"there is no setting recipe\.momentum"),
        ("data", "location", 5, r"`location` must be a text"),
        ("versions", "keras", 3, r"`versions` must be names with texts"),
        ("colour", "red", 1, r"there is no part colour"),
    ],
)
def test_a_setting_of_another_type_or_name_is_one_line_that_names_it(part, name, value, text, tmp_path, create):
    config = create(tmp_path).config
    config.setdefault(part, {})[name] = value
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(RunError, match=rf"config\.json is damaged \(.*{text}") as caught:
        load_run(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["model.units", "training.epochs", "data.digest"])
def test_a_setting_that_is_missing_is_named(name, tmp_path, create):
    config, (part, key) = create(tmp_path).config, name.split(".")
    del config[part][key]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(RunError, match=rf"it lacks {name}"):
        load_run(tmp_path)


def test_a_setting_with_a_default_may_be_missing(tmp_path, create):
    config = create(tmp_path).config
    del config["model"]["word_dropout"], config["batches"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert load_run(tmp_path).settings.model.word_dropout == 0.0
    assert load_run(tmp_path).settings.batches.steps_per_epoch is None


@pytest.mark.parametrize("name", ["config.json", "vocabulary.txt", "history.csv", "metrics.json", "best.weights.h5"])
def test_what_is_no_file_is_not_waited_for(tmp_path, name, create):
    create(tmp_path)
    (tmp_path / name).unlink(missing_ok=True)
    (tmp_path / name).symlink_to(os.devnull)
    with pytest.raises(RunError, match=rf"{name} is damaged \(it is no regular file\)"):
        run = load_run(tmp_path)
        _ = run.history, run.metrics
        run.load_model()


def test_a_vocabulary_that_was_cut_is_named(tmp_path, create):
    create(tmp_path)
    (tmp_path / "vocabulary.txt").write_text("the\n")
    with pytest.raises(RunError, match=r"vocabulary\.txt is damaged \(it has 1 words, of 2\)\. Restore it"):
        load_run(tmp_path)


def test_a_vocabulary_in_another_order_is_named(tmp_path, create):
    create(tmp_path)
    (tmp_path / "vocabulary.txt").write_text("<unk>\nthe\n")
    with pytest.raises(RunError, match=r"vocabulary\.txt is damaged \(its words or their order are not those"):
        load_run(tmp_path)


@pytest.mark.parametrize("content", ["epoch,loss\n1,x\n", "epoch,loss\n\x00\xff\n", "epoch,loss\nnan,2\n"])
def test_a_damaged_history_is_named_with_its_remedy(tmp_path, content, create):
    run = create(tmp_path)
    (tmp_path / "history.csv").write_bytes(content.encode("latin-1"))
    with pytest.raises(RunError, match=r"history\.csv is damaged \(.*\)\. --resume writes it anew"):
        run.history  # noqa: B018


def test_damaged_results_are_named(tmp_path, create):
    run = create(tmp_path)
    (tmp_path / "metrics.json").write_text('{"epochs": ')
    with pytest.raises(RunError, match=r"metrics\.json is damaged \(no JSON, .*\)\. --resume writes it anew"):
        run.metrics  # noqa: B018


@pytest.mark.parametrize("name", ["vocabulary.txt", "tokenizer.json"])
def test_a_folder_whose_making_was_killed_is_made_again(tmp_path, create, name):
    (tmp_path / ".config.json.x7").mkdir()
    (tmp_path / f".{name}.x7").mkdir()
    (tmp_path / name).write_text("the\n")
    assert create(tmp_path).vocabulary == VOCABULARY
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "vocabulary.txt"}


@pytest.mark.parametrize("name", ["vocabulary.txt", "tokenizer.json", "tokenizer.json.bak", "config.json"])
def test_a_folder_with_a_file_of_ones_own_is_left_alone(tmp_path, create, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(RunError, match="is not empty"):
        create(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_the_sample_of_another_python_is_told(tmp_path, create):
    data = {"name": "sample", "location": "sample", "digest": "another"}
    run = create(tmp_path, data=data, versions={"python": "3.9.1"})
    with pytest.raises(RunError, match=r"the built-in sample of Python 3\.9\.1, .*Name the text with --data"):
        run.load_corpus()


def test_a_run_on_the_sample_reads_it_again(tmp_path, create):
    corpus = load_corpus("sample")
    data = {"name": "sample", "location": "sample", "digest": corpus.digest}
    run = create(tmp_path, corpus.vocabulary, data=data)
    assert run.load_corpus().is_sample


def test_a_folder_is_held_by_one_training(tmp_path):
    with (
        lock_run(tmp_path),
        pytest.raises(RunError, match=f"Another training is at work in {tmp_path}"),
        lock_run(tmp_path),
    ):
        pass
    with lock_run(tmp_path):
        assert list(tmp_path.iterdir()) == []


def test_what_a_killed_training_left_half_written_is_cleared(tmp_path):
    kept = [".best.weights.h5", ".notes.txt.abc", "config.json.x", ".config.json"]
    for name in [*kept, ".best.weights.h5.k3_x9", ".config.json.abcd"]:
        (tmp_path / name).mkdir()
    with lock_run(tmp_path):
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)


def test_there_are_two_weights(tmp_path, create):
    with pytest.raises(ValueError, match=r'"best" or "last"\. Received: weights=.final.'):
        create(tmp_path).load_model(weights="final")


def test_epochs_may_have_values_of_their_own(tmp_path, create):
    history = [{"epoch": 1, "loss": 2.5}, {"epoch": 2, "loss": 2.0, "extra": 7.0}, {"epoch": 3, "loss": 1.5}]
    run = create(tmp_path / "run")
    write_rows(run.folder / "history.csv", history)
    assert run.history == history


def test_a_run_on_ptb_finds_it_where_it_is_now(tmp_path, monkeypatch, create):
    for split in ("train", "valid", "test"):
        (tmp_path / f"{split}.txt").write_text("one two <unk>\n")
    monkeypatch.setenv("KERASPTB_DATA", str(tmp_path))
    corpus = load_corpus("ptb")
    data = {"name": "ptb", "location": str(tmp_path / "gone"), "digest": corpus.digest}
    run = create(tmp_path / "run", corpus.vocabulary, data=data)
    assert run.load_corpus().location == str(tmp_path)


def test_a_folder_that_is_being_filled_is_no_empty_one(tmp_path, create):
    with lock_run(tmp_path), pytest.raises(RunError, match="Another training is at work"):
        create(tmp_path)


def test_a_folder_that_was_there_stays(tmp_path, create):
    for folder, made in ((tmp_path / "new", True), (tmp_path, False)):
        run = create(folder)
        assert run.made == made
        remove(run.folder, itself=run.made)
        assert folder.exists() != made
