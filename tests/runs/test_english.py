"""The model of English in the package: that it is the one that its card describes, and serves everywhere."""

import json
import re
from pathlib import Path

import keras
import numpy as np
import pytest

import kerasptb
from kerasptb import cli
from kerasptb.runs import RunError, RunFolder

# The Adventures of Sherlock Holmes (1892), of which no word was trained on.
HELD_OUT = (
    "One night\u2014it was on the twentieth of March, 1888\u2014I was returning from a journey to a patient (for I had "
    "now returned to civil practice), when my way led me through Baker Street. As I passed the well-remembered door, "
    "which must always be associated in my mind with my wooing, and with the dark incidents of the Study in Scarlet, I "
    "was seized with a keen desire to see Holmes again, and to know how he was employing his extraordinary powers."
)


@pytest.fixture(scope="module")
def english():
    return kerasptb.load_run("english")


def test_it_is_small(english):
    assert len(english.vocabulary) == 8000
    assert english.model.count_params() <= 6_000_000
    assert sum(path.stat().st_size for path in english.folder.iterdir()) < 6_000_000
    assert (english.folder / "weights.int8.npz").stat().st_size < 5_000_000
    assert english.settings.data.location is None


def test_it_is_a_preset_with_weights(english, tmp_path):
    model = kerasptb.LanguageModel.from_preset("english", batch_size=2)
    assert (model.batch_size, model.tokenizer.digest) == (2, english.vocabulary.digest)
    for found, expected in zip(model.get_weights(), english.model.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)
    with pytest.raises(ValueError, match=r"Received: vocabulary_size\. To go on with another: kerasptb train --from"):
        kerasptb.LanguageModel.from_preset(english.folder, vocabulary_size=9)
    with pytest.raises(RunError, match=r"has no config\.json"):
        kerasptb.LanguageModel.from_preset(tmp_path)


def test_it_knows_english(english):
    assert [suggestion.word for suggestion in english.suggest("I would like", 1)] == ["to"]
    assert "the" in [suggestion.word for suggestion in english.suggest("He was one of", 3)]
    ids = english.vocabulary.encode(HELD_OUT)
    log10 = english.score(HELD_OUT)[0].log10_probability
    bits_per_byte = -log10 / np.log10(2) / (len(HELD_OUT.encode()) + 1)
    assert len(ids) / len(HELD_OUT.split()) < 1.7
    assert bits_per_byte == pytest.approx(1.596, abs=0.005)  # of this text, in float32
    right, wrong = english.score(["She has never been there.", "She have never been there."])
    assert right.log10_probability > wrong.log10_probability + 0.5


@pytest.mark.parametrize(
    ("typed", "straight"),
    [
        ("I don’t think so.", "I don't think so."),
        ("“Good morning,” he said.", '"Good morning," he said.'),
        ("He\u00a0waited… “Well‑known,” I said.", 'He waited... "Well-known," I said.'),
    ],
)
def test_typographic_signs_are_read_as_its_text_has_them(english, typed, straight):
    of_typed, of_straight = english.score([typed, straight])
    assert of_typed.tokens == of_straight.tokens
    assert of_typed.log10_probability == pytest.approx(of_straight.log10_probability, rel=1e-6)  # rows of one batch
    assert of_typed.sentence == typed
    assert english.suggest(typed, 3) == english.suggest(straight, 3)
    assert english.suggest(typed[:-3], 3, complete=True) == english.suggest(straight[:-3], 3, complete=True)
    assert (
        english.generate(typed, 3, temperature=0)
        == typed + english.generate(straight, 3, temperature=0)[len(straight) :]
    )
    keyboards = [english.evaluate_keyboard(text=text) for text in (typed, straight)]
    assert keyboards[0] == keyboards[1]


@pytest.mark.parametrize("text", ['He said, "', "He said, “", 'He saw it. ("', '"Yes," he said. "'])
@pytest.mark.parametrize("complete", [False, True])
def test_a_word_follows_an_opening_quote(english, text, complete):
    words = [suggestion.word for suggestion in english.suggest(text, 5, complete=complete)]
    assert "I" in words
    assert not {",", ".", "to"} & set(words)


def test_after_a_closing_quote_anything_may_come(english):
    assert [each.word for each in english.suggest('"I know nothing of it,"', 2)] == ["said", "he"]


def test_its_signs_travel_with_its_exports(english, tmp_path):
    english.model.save(tmp_path / "english.keras")
    assert (
        keras.saving.load_model(tmp_path / "english.keras").text_format.absent_signs == english.text_format.absent_signs
    )
    packed = kerasptb.load_run(kerasptb.export_run(english, tmp_path / "packed"))
    assert packed.text_format.signs.readings == english.text_format.signs.readings
    assert packed.text_format.signs.read("“don’t…”") == '"don\'t..."'


def test_it_writes_sentences(english):
    text = english.generate(words=60, seed=1)
    assert 40 < len(text.split()) <= 61
    assert text[0].isupper() or text[0] == '"'


def test_a_folder_of_that_name_goes_first(tmp_path, monkeypatch, make_run, english):
    assert english.folder.parent.name == "runs"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "english").mkdir()
    assert kerasptb.load_run("english").folder == english.folder  # that one is no run
    settings = english.config["model"]
    make_run(tmp_path / "english", english.vocabulary, settings, data={"tokens": "subwords"})
    assert kerasptb.load_run("english").folder.absolute() == tmp_path / "english"


def test_what_needs_its_text_says_so(english, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        RunError, match=r"was exported without the text that it was trained on. Name another with --data"
    ):
        english.load_corpus()
    with pytest.raises(RunError, match=r"english, which does not exist\.$"):
        RunFolder.open_resumed("english")


def test_commands_take_its_name(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["suggest", "english", "I would like", "-k", "1", "--json"]) == 0
    (suggestion,) = json.loads(capsys.readouterr().out)["suggestions"]
    assert suggestion["word"] == "to"
    assert suggestion["probability"] > 0.5
    assert not list(tmp_path.iterdir())
    assert cli.main(["train", "--resume", "--out", "english"]) == 1
    assert "english, which does not exist." in capsys.readouterr().err


def test_the_server_says_its_name(english):
    pytest.importorskip("fastapi", reason="fastapi is not installed")
    from fastapi.testclient import TestClient

    from kerasptb.serving.app import create_app
    from kerasptb.serving.server import load_reader

    with TestClient(create_app(load_reader("english"), "english", rate=None)) as client:
        assert client.get("/version").json()["name"] == "english"
        answer = client.post("/v1/suggest", json={"text": "I would li", "k": 3}).json()
        typed = client.post("/v1/suggest", json={"text": "He wouldn’t… “I don’", "learn": True}).json()
        text = "“I don’t… know,” he said—\n“Yes”"
        scored = client.post("/v1/score", json={"text": text}).json()
        straight = client.post("/v1/score", json={"text": '"I don\'t... know," he said—\n"Yes"'}).json()
        state = client.post("/v1/stream", json={"text": "He said, “"}).json()["state"]
        streamed = client.post("/v1/stream", json={"text": "I don’t", "state": state}).json()
        whole = client.post("/v1/suggest", json={"text": "He said, \"I don't", "complete": False}).json()
    assert answer["prefix"] == "li"
    assert answer["suggestions"][0]["word"] == "like"
    assert (typed["prefix"], typed["suggestions"][0]["word"]) == ("don’", "don't")
    assert [text[word["start"] : word["end"]] for word in scored["words"]] == [word["text"] for word in scored["words"]]
    assert [word["text"] for word in scored["words"]] == ["“I", "don’t…", "know,”", "he", "said—", "\n", "“Yes”"]
    assert scored["log_probability"] == pytest.approx(straight["log_probability"], rel=1e-5)
    words = [[each["word"] for each in found["suggestions"]] for found in (streamed, whole)]
    assert words[0] == words[1]


def test_a_training_begins_with_it(tmp_path, monkeypatch, capsys, no_steps, no_figures):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "letters.txt").write_text(f"{HELD_OUT}\n" * 40)
    run = kerasptb.train("letters.txt", start_from="english", epochs=1, num_steps=5, out="run")
    assert run.vocabulary == kerasptb.load_run("english").vocabulary
    assert run.config["training"]["start_from"] == "english"
    assert (
        "begins with the weights of the model of English in the package (--from none begins with nothing).\n"
        in capsys.readouterr().out
    )


def test_the_table_of_the_page_on_scoring_is_what_it_says(english):
    page = (Path(__file__).parents[2] / "docs" / "scoring.md").read_text(encoding="utf-8")
    table = [
        [cell.strip() for cell in row.split("|")[1:-1]] for row in re.findall(r"^\| 1 \|.*\|$", page, re.MULTILINE)
    ]
    (scored,) = english.score("The old man the boat.", entropy=True)
    assert len(table) == 4
    for row, (_, number, word, *figures, of_counts) in zip(scored.by_word()[-4:], table, strict=True):
        assert (str(row["word_number"]), row["word"]) == (number, word.strip("`"))  # GitHub strips no code in a cell
        names = "log10_probability", "surprisal", "word_surprisal", "entropy", "counts", "network_surprisal"
        assert [row[name] for name in names] == pytest.approx([float(figure) for figure in figures], abs=0.0051)
        assert (row["counts_surprisal"], of_counts) == (None, "")


def test_a_token_is_told_as_it_is_written(english):
    (scored,) = english.score("é!")
    assert scored.tokens == (" ", "\\xc3", "\\xa9", "!", "<eos>")
