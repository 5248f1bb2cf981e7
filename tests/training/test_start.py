import pytest
from small_trainings import begun, resumed

import kerasptb
from kerasptb.arguments import ModelArguments, TrainingArguments
from kerasptb.data import Subwords, Vocabulary
from kerasptb.data.corpus import open_text
from kerasptb.data.text_format import TextFormat
from kerasptb.runs.request import Request
from kerasptb.training.start import choose_start, recorded_start

ENGLISH = "The cat sat on the mat, and the dog sat by it.\n" * 50


@pytest.fixture
def package(small_english):
    return small_english


@pytest.fixture(autouse=True)
def in_a_folder(package, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "english.txt").write_text(ENGLISH)
    (tmp_path / "long.txt").write_text(ENGLISH * 6)
    (tmp_path / "german.txt").write_text("Vögel zwitschern frühmorgens über Dächern.\n" * 50)
    (tmp_path / "words.txt").write_text("the cat <unk> on the mat\n" * 50)


def start_of(data, named, **format):
    """The `Start` of a training of a text, read in a format, of which something is named."""
    named = {**named, "start_from": recorded_start(named.get("start_from"))}
    request = Request(
        model=ModelArguments.asked(units=named.pop("units", None), cell=named.pop("cell", None)),
        training=TrainingArguments.asked(**named),
        format=TextFormat(**format),
    )
    return choose_start(open_text(data), request)


@pytest.mark.parametrize(
    ("data", "named", "format", "begins"),
    [
        ("english.txt", {}, {}, True),
        ("english.txt", {"preset": "auto", "epochs": 3}, {"keep_lines": True}, True),
        ("english.txt", {"preset": "small"}, {}, False),
        ("english.txt", {"units": [8, 6]}, {}, False),
        ("english.txt", {"cell": "gru"}, {}, False),
        ("english.txt", {"cell": "lstm"}, {}, True),
        ("english.txt", {"start_from": "none"}, {}, False),
        ("english.txt", {}, {"tokens": "subwords"}, False),
        ("english.txt", {}, {"vocabulary_size": 290}, False),
        ("german.txt", {}, {}, False),
        ("words.txt", {}, {}, False),
        ("long.txt", {}, {}, False),
        ("sample", {}, {}, False),
    ],
)
def test_a_small_text_in_english_begins_with_english(package, data, named, format, begins):
    start = start_of(data, named, **format)
    assert (start.source is not None) == begins
    assert start.name == ("english" if begins else None)
    assert ("start_from" in start.reasons) == begins
    tokenizer = start.source.vocabulary if begins else None
    assert start.format == TextFormat(**format, tokenizer=tokenizer)
    if begins:
        assert (start.source.folder, start.preset) == (package, "auto")


def test_a_run_that_is_named_goes_first(package):
    start = start_of("long.txt", {"start_from": "english"})
    assert (start.name, start.format.tokenizer) == ("english", start.source.vocabulary)
    start = start_of("english.txt", {"start_from": "english"}, tokens="characters")
    assert start.source.folder == package
    assert start.format == TextFormat(tokens="characters")
    assert recorded_start(package) == str(package)
    assert recorded_start("none") == "none"


def test_a_text_is_cut_as_the_run_that_it_begins_with_if_that_spells_any_text(make_run, tmp_path):
    for name, vocabulary in (("characters", Subwords.characters()), ("words", Vocabulary(["the", "<unk>", "<eos>"]))):
        config = kerasptb.LanguageModel(len(vocabulary), 6, (6,), batch_size=4, num_steps=5).get_config()
        run = make_run(tmp_path / name, vocabulary, config, data={"tokens": name})
        start = start_of("english.txt", {"start_from": run.folder})
        assert start.format.tokenizer == (vocabulary if name == "characters" else None)


def test_what_was_chosen_is_recorded_and_trained_again(capsys, no_steps, no_figures, no_pictures):
    run = kerasptb.train("english.txt", epochs=1, num_steps=5, seed=1, out="run")
    told = capsys.readouterr().out
    begins = (
        "Training begins with the weights of the model of English in the package (--from none begins with nothing)."
    )
    assert f"{begins}\n" in told
    assert "Length: 1 epoch of the text\n" in told
    assert "Next words after a text: kerasptb suggest run 'The cat sat'\n" in told
    assert "Chosen: start_from english, since the text is small, and in English\n" in told
    assert run.config["reasons"]["start_from"] == "the text is small, and in English"
    assert run.config["training"]["start_from"] == "english"
    assert run.config["model"]["units"] == [6]
    again = begun("again", config=run.folder)
    without = begun("without", "english.txt", epochs=1, num_steps=5, seed=1, start_from="none")
    assert without.config["model"]["units"] == [256, 256]
    assert without.config["training"]["start_from"] is None
    assert (run.config["recipe"]["learning_rate"], without.config["recipe"]["learning_rate"]) == (0.001, 0.005)
    also = begun("also", config=without.folder, units=[256, 256])
    for ours, theirs in ((again, run), (also, without)):
        for part in ("model", "training", "batches", "recipe"):
            assert ours.config[part] == theirs.config[part]
        assert ours.vocabulary == theirs.vocabulary
    assert resumed("without", "english.txt", epochs=2, start_from="none").settings.training.epochs == 2
