import contextlib
import json
import sys

from kerasptb.cli import main
from kerasptb.data import Vocabulary
from kerasptb.models import LanguageModel
from kerasptb.models.weights import save_weights


def test_suggest_prints_words_with_probabilities(run, capsys):
    assert main(["suggest", run, "one two", "-k", "3", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["suggestions"]
    assert len(rows) == 3
    assert "<unk>" not in {row["word"] for row in rows}
    assert main(["suggest", run, "one two", "-k", "3"]) == 0
    assert capsys.readouterr().out.split() == [
        text for row in rows for text in (f"{row['probability']:.2%}", row["word"])
    ]


def test_suggest_gives_what_there_is_of_a_small_vocabulary(no_steps, tmp_path, capsys):
    for split in ("train", "valid", "test"):
        (tmp_path / f"{split}.txt").write_text("a b <unk>\n" * 20)
    arguments = ["--data", tmp_path, "--batch-size", 2, "--num-steps", 3, "--epochs", 1, "--out", tmp_path / "run"]
    assert main(list(map(str, ["train", *arguments]))) == 0
    capsys.readouterr()
    assert main(["suggest", str(tmp_path / "run"), "a"]) == 0
    assert sorted(line.split()[1] for line in capsys.readouterr().out.splitlines()) == ["<eos>", "a", "b"]


def test_what_a_terminal_would_obey_is_escaped(make_run, tmp_path, capsys):
    words = ["<unk>", "<eos>", "\x1b]0;title\x07", "\u202eabc", "می\u200cخواهم", "\x9b2J"]
    sizes = {"embedding_size": 3, "units": [3], "batch_size": 2, "num_steps": 4, "vocabulary_size": len(words)}
    run = make_run(tmp_path / "run", Vocabulary(words), sizes)
    save_weights(LanguageModel(**sizes), run.folder / "best.weights.h5")
    assert main(["suggest", str(run.folder), "", "-k", "5"]) == 0
    found = {line.split()[1] for line in capsys.readouterr().out.splitlines()}
    assert found == {"<eos>", "\\x1b]0;title\\x07", "\\u202eabc", "می\u200cخواهم", "\\x9b2J"}
    assert main(["generate", str(run.folder), "--prompt", "\x1b[2J", "--words", "9", "--seed", "1"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("\\x1b[2J ")
    assert not set(text) & set("\x1b\x07\x9b\u202e")


def test_suggest_gives_five_words_where_no_number_is_named(run, capsys):
    assert main(["suggest", run, "one two"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 5


def test_each_line_of_standard_input_is_answered(run, capsys, monkeypatch, tmp_path):
    def give(text):
        (tmp_path / "typed").write_text(text)
        monkeypatch.setattr(sys, "stdin", stack.enter_context((tmp_path / "typed").open()))

    stack = contextlib.ExitStack()

    texts, alone = ["one two", "", "three"], []
    for text in texts:
        assert main(["suggest", run, text, "-k", "2", "--json"]) == 0
        alone.append(capsys.readouterr().out)
    give("one two\n\nthree")
    assert main(["suggest", run, "-", "-k", "2", "--json"]) == 0
    assert capsys.readouterr().out == "".join(alone)
    give("one two\nthree\n")
    assert main(["suggest", run, "-", "-k", "2"]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [[each.split()[0] for each in row] for row in rows] == [
        [each["word"] for each in json.loads(answer)["suggestions"]] for answer in (alone[0], alone[2])
    ]
    give("one\ntwo\n")
    assert main(["generate", run, "--prompt", "-", "--words", "3", "--seed", "1"]) == 0
    assert next(line.split()[0] for line in capsys.readouterr().out.splitlines() if line) == "one"
    stack.close()


def test_a_last_word_may_be_typed_with_errors(run, capsys):
    assert main(["suggest", run, "one twi", "-k", "1", "--typos", "qwerty"]) == 0
    assert capsys.readouterr().out.split()[1] == "two"
    assert main(["suggest", run, "one twi", "--typos", "dvorak"]) != 0
    assert "Expected a layout, one of azerty" in capsys.readouterr().err
