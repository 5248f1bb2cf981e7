import json
import os

import numpy as np
import pytest

import kerasptb
from kerasptb.arguments import ModelArguments
from kerasptb.cli import main
from kerasptb.data import Subwords
from kerasptb.data.text_format import TextFormat
from kerasptb.runs import RunError
from kerasptb.runs.request import Request
from kerasptb.runs.settings import RunSettings
from kerasptb.training.asked import read_request

SUBWORDS = Subwords.train(["The cat sat on the mat."] * 2, 260)
WORDS = [f"w{i}" for i in range(12)] + ["<unk>"]


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    folder, random = tmp_path_factory.mktemp("texts"), np.random.default_rng(0)
    for split, lines in (("train", 120), ("valid", 40), ("test", 30)):
        (folder / f"{split}.txt").write_text("".join(" ".join(random.choice(WORDS, 4)) + "\n" for _ in range(lines)))
    return folder


@pytest.fixture(scope="module")
def run(texts, tmp_path_factory):
    return kerasptb.train(
        texts,
        "small",
        epochs=2,
        units=[8, 6],
        embedding_size=6,
        batch_size=4,
        num_steps=5,
        vocabulary_size=10,
        seed=5,
        optimizer="adamw",
        model_arguments={"output_dropout": 0.1},
        training_arguments={"weight_decay": 0.02},
        out=tmp_path_factory.mktemp("runs") / "run",
        verbose=0,
    )


def asked(config, **named):
    return read_request({"config": config, **named})


def curve(run):
    return [(row["perplexity"], row["val_perplexity"]) for row in run.history]


def test_a_run_s_settings_train_the_same_run(run, tmp_path):
    again = kerasptb.train(config=run.folder, out=tmp_path / "again", verbose=0)
    assert curve(again) == curve(run)
    for part in ("model", "batches", "training", "recipe", "data"):
        assert again.config[part] == run.config[part]


def test_what_the_command_line_names_replaces_the_file_s(run, tmp_path):
    options = ["--config", str(run.folder / "config.json"), "--epochs", "1", "--units", "7", "6", "--keep-prob", "0.9"]
    options += ["--learning-rate", "0.01", "--out", str(tmp_path / "other")]
    assert main(["train", *options]) == 0
    other = kerasptb.load_run(tmp_path / "other").config
    assert other["model"]["units"] == [7, 6]
    assert other["model"]["keep_prob"] == 0.9
    assert not any(other["model"][f"{place}_dropout"] for place in ("input", "hidden", "output"))
    assert other["model"]["word_dropout"] == run.config["model"]["word_dropout"]
    assert (other["training"]["epochs"], other["recipe"]["learning_rate"]) == (1, 0.01)
    assert other["recipe"]["weight_decay"] == 0.02


def test_a_file_may_name_few_settings(texts, tmp_path):
    (tmp_path / "mine.json").write_text(json.dumps({"model": {"units": [5]}, "training": {"preset": "notebook"}}))
    options = {"batch_size": 4, "num_steps": 5, "epochs": 1, "verbose": 0}
    run = kerasptb.train(texts, config=tmp_path / "mine.json", out=tmp_path / "run", **options)
    assert run.config["model"]["units"] == [5]
    assert run.config["model"]["embedding_size"] == 200
    assert run.config["training"]["preset"] == "notebook"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("{", "Expected a JSON file"),
        ("[1]", "Expected a JSON file"),
        ('{"model": 3}', "Expected a JSON file"),
        ('{"model": {"unit": [3]}}', r"there is no setting model\.unit"),
        ('{"model": {"units": "3"}}', r"`units` must be a list"),
        ('{"recipe": {"learning_rate": -1}}', r"`learning_rate` must be a number above 0\. Received: learning_rate=-1"),
        ('{"modle": {}}', "there is no part modle"),
        (None, "Expected a JSON file"),
    ],
)
def test_a_file_of_another_form_is_told(tmp_path, content, text):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(RunError, match=text):
        asked(tmp_path / "config.json")


def test_the_settings_of_a_folder_are_a_file(tmp_path):
    (tmp_path / "config.json").symlink_to(os.devnull)
    with pytest.raises(RunError, match=r"Received: .*config\.json \(it is no regular file\)"):
        asked(tmp_path)


@pytest.mark.parametrize(
    ("text", "named", "read"),
    [
        ({"tokens": "characters", "keep_lines": True}, {}, {"tokens": "characters", "keep_lines": True}),
        ({"tokens": "words", "vocabulary_limit": 9}, {}, {"tokens": "words", "vocabulary_size": 9}),
        ({"tokens": "words"}, {"tokens": "subwords"}, {"tokens": "subwords"}),
        ({"tokens": "subwords", "vocabulary_limit": 300}, {}, {"tokenizer": SUBWORDS}),
        ({"tokens": "words"}, {"vocabulary_size": 280}, {"tokens": "words", "vocabulary_size": 280}),
        (
            {"tokens": "subwords", "vocabulary_limit": 300},
            {"data": "sample"},
            {"tokens": "subwords", "vocabulary_size": 300},
        ),
    ],
)
def test_a_text_is_read_as_the_run_has_read_it(tmp_path, text, named, read):
    SUBWORDS.save(tmp_path / "tokenizer.json")
    (tmp_path / "config.json").write_text(json.dumps({"data": {"name": "sample", **text}}))
    assert asked(tmp_path, **named).format == TextFormat(**read)


def test_a_run_of_several_texts_finds_them(tmp_path):
    paths = [tmp_path / f"{i}{'x' * 200}.txt" for i in range(30)]  # together longer than a path can be
    for path in paths:
        path.touch()
    place = os.pathsep.join(map(str, paths))
    (tmp_path / "config.json").write_text(json.dumps({"data": {"name": "texts", "location": place}}))
    assert asked(tmp_path).data == place
    paths[0].unlink()
    with pytest.raises(RunError, match="is no longer at"):
        asked(tmp_path)


def test_settings_of_another_preset_or_of_a_text_that_is_gone_are_told(run, tmp_path):
    with pytest.raises(RunError, match=r"settings of another preset, small\. Received: preset=phone"):
        asked(run.folder, preset="phone")
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"model": {"output_dropout": 0.3}, "training": {"epochs": 2}}))
    assert asked(path, preset="phone").training["preset"] == "phone"  # the file names none
    path.write_text(json.dumps({"data": {"location": str(tmp_path / "gone"), "name": "gone"}}))
    with pytest.raises(RunError, match=r"is no longer at .*gone. Name it with --data"):
        asked(path)
    assert asked(path, data="sample").data == "sample"
    path.write_text(json.dumps({"data": {"name": "-"}}))
    with pytest.raises(RunError, match=r"cannot be read again: it came from no file\. Name it with --data"):
        asked(path)
    path.write_text(json.dumps({"data": {"location": 5, "name": "x"}}))
    with pytest.raises(RunError, match=r"`location` must be a text\. Received: location=5"):
        asked(path)


def test_another_optimizer_has_a_rate_and_a_weight_decay_of_its_own(run):
    assert "beta_1" not in run.settings.recipe  # which it would not use
    with pytest.raises(ValueError, match=r"Expected training arguments among .*Received: \['beta_1'\]"):
        kerasptb.train("sample", "small", optimizer="adamw", training_arguments={"beta_1": 0.5}, verbose=0)
    rate_and_decay = {"learning_rate", "weight_decay"}
    assert rate_and_decay <= set(asked(run.folder, optimizer="adamw").recipe)
    assert not rate_and_decay & set(asked(run.folder, optimizer="sgd").recipe)


def test_what_is_named_twice_is_refused():
    assert ModelArguments.asked({"keep_prob": np.float32(0.5)}, keep_prob=0.5, seed=None) == {"keep_prob": 0.5}
    with pytest.raises(ValueError, match=r"keep_prob is named twice.* Received: keep_prob=0.5 and keep_prob=0.7"):
        ModelArguments.asked({"keep_prob": 0.7}, keep_prob=0.5)


def test_settings_are_what_their_config_says(run):
    assert RunSettings.from_config(json.loads(json.dumps(run.config))) == run.settings
    assert run.settings.recipe["weight_decay"] == 0.02
    assert run.settings.model.output_dropout == 0.1


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"model": {"units": (8, 7)}}, r"units=\[8, 6\]\. Received: units=\[8, 7\]"),
        ({"batches": {"jitter": True}}, r"jitter=False\. Received: jitter=True"),
        ({"recipe": {"weight_decay": 0.1}}, r"weight_decay=0\.02\. Received: weight_decay=0\.1"),
        ({"training": {"early_stopping": 3}}, r"early_stopping=None\. Received: early_stopping=3"),
        ({"format": TextFormat(tokens="subwords")}, r"tokens='words'\. Received: tokens='subwords'"),
        ({"format": TextFormat(vocabulary_size=9)}, r"vocabulary_size=10\. Received: vocabulary_size=9"),
    ],
)
def test_what_contradicts_a_run_is_told(run, asked, text):
    same = Request(training={"epochs": 99, "preset": "small"}, model={"units": (8, 6)})
    run.settings.check_asked(same, run.vocabulary)
    run.settings.check_asked(Request(format=TextFormat(tokenizer=run.vocabulary)), run.vocabulary)
    with pytest.raises(ValueError, match=text):
        run.settings.check_asked(Request(**asked), run.vocabulary)
