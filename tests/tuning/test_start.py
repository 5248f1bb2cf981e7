"""What the trials of a search around a recipe begin with, and how long they are: as a training's."""

import runpy

import pytest
from toy_spaces import SMALL

import kerasptb
from kerasptb import tuning
from kerasptb.cli import main
from kerasptb.runs.request import Request
from kerasptb.training.budget import Speed
from kerasptb.training.draft import draft_training
from kerasptb.tuning.begun import lay_out
from kerasptb.tuning.records import SEARCH
from kerasptb.utils.files import read_json

TEXT = "The cat sat on the mat, and the dog sat by it.\n" * 150


@pytest.fixture(autouse=True)
def in_a_folder(small_english, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "english.txt").write_text(TEXT)


def search(*options):
    return main(["tune", "--tuner", "random", "--seed", "1", "--trials", "1", "--out", "search", *options])


def test_trials_on_a_small_text_in_english_begin_with_english(no_steps, capsys):
    assert search("--data", "english.txt", "--steps-per-epoch", "2") == 0
    told = capsys.readouterr().out
    begins = (
        "Each trial begins with the weights of the model of English in the package (--from none begins with nothing)."
    )
    assert f"{begins}\nLength of a trial: 6 epochs of the text\n" in told
    assert "\nSearched around auto: " in told
    assert ", learning_rate 0.000333 to 0.003, weight_decay 0.0333 to 0.3, " in " ".join(told.split())
    record, run = read_json(f"search/{SEARCH}"), kerasptb.load_run("search/best")
    assert [record[name] for name in ("preset", "start_from", "tokens", "epochs")] == ["auto", "english", None, 6]
    assert (run.settings.training.start_from, run.settings.model.units) == ("english", (6,))
    assert run.vocabulary == kerasptb.load_run("english").vocabulary
    assert 0.000333 <= run.settings.recipe["learning_rate"] <= 0.003
    # A search that is taken up begins as before, and its leaderboard has the bits a byte of each.
    assert main(["tune", "--out", "search", "--resume", "--trials", "2", "--preset", "auto"]) == 0
    valid = run.load_corpus().count("valid")
    trials = tuning.records.read_trials("search")
    assert len(trials) == 2
    table = capsys.readouterr().out
    for trial in trials:
        assert kerasptb.load_run(trial.folder / "run").settings.training.start_from == "english"
        assert trial.record.bits_per_byte == pytest.approx(valid.bits_per_byte(trial.score))
        assert f"{trial.score:.2f}" in table
        assert f"  {trial.record.bits_per_byte:.3f}  " in table
    assert main(["tune", "--out", "search", "--resume", "--from", "none"]) == 1
    assert "has start_from='english'. Received: start_from='none'" in capsys.readouterr().err
    assert main(["tune", "--out", "search", "--resume", "--preset", "small"]) == 1
    assert "keeps its space" in capsys.readouterr().err


@pytest.mark.slow
def test_the_minutes_of_a_trial_are_laid_out_once(no_steps, monkeypatch, capsys):
    timed = []

    def time_training(corpus, settings, recipe, callbacks):
        timed.append(settings)
        return Speed(step=1.0, validation=1.0, begin=2.0)

    monkeypatch.setattr("kerasptb.training.budget.time_training", time_training)
    assert search("--data", "english.txt", "--minutes", "1", "--trials", "2") == 0
    (settings,) = timed
    assert (settings.training.start_from, settings.model.units) == ("english", (6,))
    record, run = read_json(f"search/{SEARCH}"), kerasptb.load_run("search/best")
    epochs, parts = record["epochs"], record["parts"]
    assert parts > 1
    assert (
        f"Length of a trial: about 1 minute: {epochs} epochs of 1/{parts} of the text each\n" in capsys.readouterr().out
    )
    for trial in tuning.records.read_trials("search"):
        of_trial = kerasptb.load_run(trial.folder / "run").settings
        assert (of_trial.training.epochs, of_trial.batches.parts, of_trial.training.minutes) == (epochs, parts, None)
    # The script trains the same.
    runpy.run_path("search/best_model.py", run_name="__main__")
    again = kerasptb.load_run("retrained")
    assert again.vocabulary == run.vocabulary
    for part in ("training", "batches", "recipe", "model"):
        assert again.config[part] == run.config[part]


@pytest.mark.parametrize(("minutes", "noise"), [("0.5", True), ("4", False)])
def test_trials_that_read_less_than_the_text_say_so(fake_trials, monkeypatch, capsys, minutes, noise):
    speed = Speed(step=1.6, validation=0.1, begin=2.0)
    monkeypatch.setattr("kerasptb.training.budget.time_training", lambda *_: speed)
    assert search("--data", "english.txt", "--minutes", minutes) == 0
    record, told = read_json(f"search/{SEARCH}"), capsys.readouterr().out
    assert (record["epochs"] < record["parts"]) == noise
    assert (f"A trial reads {record['epochs']}/{record['parts']} of the text: ranks so early" in told) == noise


@pytest.mark.parametrize("preset", ["small", "notebook"])
def test_models_around_a_run_keep_its_sizes(fake_trials, preset):
    assert search("--data", "english.txt", "--from", "english", "--preset", preset, "--epochs", "1") == 0
    run = kerasptb.load_run("search/best")
    assert (run.settings.model.units, run.settings.model.tie_embeddings) == ((6,), True)
    assert (run.settings.training.preset, run.settings.training.start_from) == (preset, "english")


def test_a_search_from_nothing_is_around_the_recipes_sizes(monkeypatch):
    begun = []
    monkeypatch.setattr("kerasptb.tuning.search._search", lambda search, *_: begun.append(search))
    assert search("--data", "english.txt", "--from", "none") == 0
    ((settings, bounds),) = ((each.settings, each.space.bounds) for each in begun)
    assert (settings.start_from, bounds["units"], settings.epochs) == ("none", 256, 15)


@pytest.mark.parametrize(
    ("space", "arguments", "message"),
    [
        (None, {"minutes": 1, "epochs": 2}, "Expected epochs or minutes"),
        (None, {"start_from": "two"}, r"one size, as those of a search are, .*start_from='.*two' with units=\(8, 6\)"),
        ("notebook", {"minutes": 1}, "which counts epochs"),
        (tuning.LanguageModelSpace(**SMALL), {"minutes": 1}, r"Received: minutes=1\.0 with space=<"),
        (tuning.LanguageModelSpace(**SMALL), {"start_from": "english"}, "Received: start_from='english' with space=<"),
    ],
    ids=["both", "two sizes", "epochs", "minutes of a space", "start of a space"],
)
def test_what_cannot_begin_is_refused_before_there_is_a_folder(make_run, tmp_path, space, arguments, message):
    vocabulary = kerasptb.load_run("english").vocabulary
    config = kerasptb.LanguageModel(len(vocabulary), 6, (8, 6), batch_size=4, num_steps=5).get_config()
    make_run(tmp_path / "two", vocabulary, config, data={"tokens": "subwords"})
    (tmp_path / "long.txt").write_text(TEXT * 15)
    with pytest.raises(ValueError, match=message):
        tuning.tune("long.txt", space, out="search", **arguments)
    assert not (tmp_path / "search").exists()


@pytest.mark.slow
def test_minutes_are_laid_out_by_the_steps_of_all_workers():
    training = {"minutes": 0.2, "start_from": "english"}
    draft = draft_training(Request("english.txt", training=training, model={"seed": 1, "precision": "float32"}), 1)
    settings = lay_out(draft, workers=2)
    assert (settings.training.minutes, settings.training.start_from) == (0.2, "english")
    assert "ms a step" in settings.reasons["parts"]
