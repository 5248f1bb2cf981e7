import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from kerasptb.cli import main
from kerasptb.run import load_run
from kerasptb.runs.files import COUNTS, lock_run

REMEDY = "`kerasptb count RUN` makes the counts anew; --counts none does without."


@pytest.fixture
def copy(counted_run, tmp_path):
    return Path(shutil.copytree(counted_run, tmp_path / "run"))


def content(folder):
    """The file of a run's counts; b"" if there is none."""
    path = Path(folder, COUNTS)
    return path.read_bytes() if path.exists() else b""


@pytest.fixture
def output_of(capsys):
    """Runs a command, and returns what it prints."""

    def run(*arguments):
        capsys.readouterr()
        assert main([*map(str, arguments)]) == 0
        return capsys.readouterr().out

    return run


def results(output_of, folder, *options):
    return {row["method"]: row for row in json.loads(output_of("evaluate", folder, "--json", *options))["results"]}


def test_counting_again_writes_the_same_and_says_what_it_is_worth(copy, run, capsys):
    assert content(run) == b""
    before = content(copy)
    assert before
    assert main(["count", str(copy)]) == 0
    assert content(copy) == before
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("Counts of the training text: perplexity ")
    assert told.err.count("\n") == 1


@pytest.mark.usefixtures("no_steps", "no_pictures", "no_figures")
def test_a_training_counts_at_its_end_as_the_command_does(texts, sizes, tmp_path, output_of):
    folder = tmp_path / "run"
    said = output_of("train", "--data", texts, *sizes, "--epochs", "1", "--seed", "1", "--out", folder)
    trained = content(folder)
    assert trained
    figures = json.loads((folder / "metrics.json").read_text())
    evaluated = results(output_of, folder)
    for name, way in (("with counts", "with_counts"), ("with counts that go on", "with_counts_going_on")):
        row = evaluated[f"every word, {name}"]
        assert figures[f"test_perplexity_every_word_{way}"] == pytest.approx(row["perplexity"], rel=1e-6)
        assert figures[f"test_word_perplexity_{way}"] == pytest.approx(row["word_perplexity"], rel=1e-6)
        assert figures[f"test_bits_per_byte_{way}"] == pytest.approx(row["bits_per_byte"], rel=1e-6)
        assert f"  {way.replace('_', ' ')}: " in said
    assert main(["count", str(folder)]) == 0
    assert content(folder) == trained


@pytest.mark.slow
def test_a_training_that_goes_on_counts_anew(copy, run, output_of):
    config = json.loads((copy / "config.json").read_text())
    config["training"]["counts"] = "auto"
    (copy / "config.json").write_text(json.dumps(config))
    before = content(copy)
    output_of("train", "--resume", "--out", copy, "--epochs", "3")
    resumed = content(copy)
    assert len(resumed) == len(before)  # of the same text
    assert resumed != before  # but with other weights
    output_of("count", copy)
    assert content(copy) == resumed


@pytest.mark.slow
def test_a_training_without_counts_removes_old_ones(run, no_steps, counted_run, copy, output_of):
    shutil.copy(Path(run) / "config.json", copy)
    assert content(copy)
    (Path(copy) / "words.txt").write_text("mine\n")
    output_of("train", "--resume", "--out", copy, "--epochs", "3")  # the run was trained with --counts none
    assert (Path(copy) / "words.txt").read_text() == "mine\n"
    assert content(copy) == b""
    output_of("train", "--resume", "--out", copy, "--counts", "auto")
    assert content(copy)
    output_of("train", "--resume", "--out", copy, "--counts", "none")
    assert content(copy) == b""
    assert load_run(copy).settings.training.counts == "none"
    assert "test_perplexity_every_word_with_counts" not in json.loads((copy / "metrics.json").read_text())


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("suggest", ["one two", "--json"]),
        ("score", ["TEXT", "--json", "--verbose"]),
        ("evaluate", ["--json", "--batch-size", "1"]),
        ("generate", ["--words", "20", "--seed", "3"]),
        ("score", ["TEXT", "--document"]),
        ("suggest", ["one t", "--complete", "--json"]),
        ("evaluate", ["--keyboard", "--json"]),
    ],
)
@pytest.mark.fast_cases(4)
def test_without_counts_a_run_is_as_if_it_had_none(run, counted_run, tmp_path, output_of, command, options):
    text = tmp_path / "text.txt"
    text.write_text("one two three\nfour one\n")
    options = [str(text) if option == "TEXT" else option for option in options]
    alone, without, with_counts = (
        output_of(command, folder, *options, *added)
        for folder, added in ((run, []), (counted_run, ["--counts", "none"]), (counted_run, []))
    )
    assert without == alone != with_counts


def test_hypotheses_have_the_scores_of_sentences(counted_run, tmp_path, output_of):
    hypotheses = ["one two three", "four four four", "N one <unk>"]
    (tmp_path / "sentences").write_text("".join(f"{text}\n" for text in hypotheses))
    (tmp_path / "lists").write_text("".join(f"a\t{text}\t0\n" for text in hypotheses))
    scores = [
        float(line.split("\t")[0]) for line in output_of("score", counted_run, tmp_path / "sentences").splitlines()
    ]
    ranked = [
        line.split("\t")
        for line in output_of("score", counted_run, tmp_path / "lists", "--nbest", "--all").splitlines()
    ]
    assert [text for _, text, _ in ranked] == [hypotheses[i] for i in np.argsort(-np.array(scores), kind="stable")]
    np.testing.assert_allclose([float(total) for *_, total in ranked], np.sort(scores)[::-1], atol=1e-3)


@pytest.mark.parametrize("how", ["cut", "scrambled"])
def test_damaged_counts_are_told_by_each_command_and_made_anew(copy, error_of, output_of, how):
    sound = content(copy)
    data = bytearray((copy / COUNTS).read_bytes())
    if how == "cut":
        del data[len(data) // 2 :]
    else:
        data[len(data) // 2] ^= 1
    (copy / COUNTS).write_bytes(data)
    for command in (["suggest", copy, "one"], ["evaluate", copy], ["generate", copy], ["serve", copy, "--port", "0"]):
        told = error_of(command)
        assert told.startswith(f"kerasptb: {copy / COUNTS} is damaged (")
        assert REMEDY in told
    output_of("suggest", copy, "one", "--counts", "none")
    output_of("count", copy)
    assert content(copy) == sound


def test_a_run_in_use_is_not_counted(copy, error_of):
    before = content(copy)
    with lock_run(copy):
        assert "Another training is at work in" in error_of(["count", copy])
    assert content(copy) == before


def test_a_text_that_has_moved_is_named(copy, texts, tmp_path, error_of, output_of):
    config = json.loads((copy / "config.json").read_text())
    config["data"]["location"] = str(tmp_path / "gone")
    (copy / "config.json").write_text(json.dumps(config))
    before = content(copy)
    assert "Name the text with --data" in error_of(["count", copy])
    assert content(copy) == before
    output_of("suggest", copy, "one")
    output_of("count", copy, "--data", texts)
    assert content(copy) == before


def test_a_full_disk_is_told_in_a_line(copy, error_of, output_of, room_for):
    before = content(copy)
    with room_for(3000):
        told = error_of(["count", copy])
    assert str(copy / COUNTS) in told
    assert "File too large" in told
    assert content(copy) == before
    output_of("suggest", copy, "one")
    output_of("count", copy)
    assert content(copy) == before


def test_an_exported_run_holds_nothing_of_the_text(counted_run, tmp_path, output_of):
    folder = tmp_path / "exported"
    output_of("export", counted_run, "--format", "run", "--to", folder)
    assert not [path.name for path in folder.iterdir() if "counts" in path.name]
    given = load_run(counted_run).config["data"]["location"]
    assert "every word, with counts" not in results(output_of, folder, "--batch-size", "1", "--data", given)


def test_what_was_exported_is_counted_with_a_text_that_is_named(run, texts, tmp_path, error_of, output_of):
    folder = tmp_path / "exported"
    output_of("export", run, "--format", "run", "--to", folder)
    assert "Name another with --data" in error_of(["count", folder])
    output_of("count", folder, "--data", texts)
    assert content(folder)


def test_the_model_in_the_package_stays_as_it_is(small_english, tmp_path, error_of, output_of):
    text = tmp_path / "text.txt"
    text.write_text("The cat sat on the mat, and the dog sat by it.\n" * 60)
    assert "Count with a copy: kerasptb export english --format run --to FOLDER" in error_of(
        ["count", "english", "--data", text]
    )
    assert content(small_english) == b""
    output_of("export", "english", "--format", "run", "--to", tmp_path / "copy")
    output_of("count", tmp_path / "copy", "--data", text)
    assert content(tmp_path / "copy")
