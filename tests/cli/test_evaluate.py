import json
import shutil

from kerasptb.cli import main


def test_evaluate_reports_both_figures_and_labels_them(run, texts, capsys):
    assert main(["evaluate", run, "--data", str(texts), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    strict, streams = result["results"]
    assert (strict["batch_size"], strict["method"], strict["num_words"]) == (1, "every word", 359)
    assert (streams["batch_size"], streams["num_steps"], streams["num_words"]) == (6, 4, 336)
    assert main(["evaluate", run, "--data", str(texts)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"test perplexity {strict['perplexity']:.2f}  (batch size 1: every word; 359 words)")
    assert lines[1].startswith(f"test perplexity {streams['perplexity']:.2f}  (batch size 6:")


def test_evaluate_reads_the_runs_own_text(run, texts, capsys):
    outputs = []
    for data in ([], ["--data", str(texts)], ["--data", "sample"]):
        assert main(["evaluate", run, *data, "--json"]) == 0
        outputs.append(json.loads(capsys.readouterr().out))
    assert outputs[0] == outputs[1]
    assert (outputs[0]["data"], outputs[2]["data"]) == (texts.name, "sample")
    assert outputs[2]["results"] != outputs[0]["results"]


def test_evaluate_reads_no_text_that_has_changed_since(texts, tmp_path, error_of, capsys):
    text = tmp_path / "text"
    shutil.copytree(texts, text)
    arguments = ["--batch-size", "6", "--num-steps", "4", "--epochs", "1", "--out", str(tmp_path / "run")]
    assert main(["train", "--data", str(text), *arguments]) == 0
    with (text / "test.txt").open("a") as file:
        file.write("one two\n")
    capsys.readouterr()
    assert f"{text}, which holds another text now. Name" in error_of(["evaluate", tmp_path / "run"])
    assert main(["evaluate", str(tmp_path / "run"), "--data", str(text)]) == 0


def test_evaluate_takes_a_split_and_sizes(run, texts, capsys):
    arguments = ["--split", "valid", "--batch-size", "3", "--num-steps", "7"]
    assert main(["evaluate", run, "--data", str(texts), *arguments, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["split"] == "valid"
    assert [(r["batch_size"], r["num_steps"], r["num_words"]) for r in result["results"]] == [(3, 7, 3 * 7 * 18)]


def test_evaluate_gives_the_strict_figure_of_a_text_too_short_for_the_runs_streams(run, tmp_path, capsys):
    for split, lines in (("train", 60), ("valid", 60), ("test", 3)):
        (tmp_path / f"{split}.txt").write_text("one two three\n" * lines)
    assert main(["evaluate", run, "--data", str(tmp_path), "--json"]) == 0
    output = capsys.readouterr()
    (result,) = json.loads(output.out)["results"]
    assert (result["method"], result["num_words"]) == ("every word", 11)
    assert "too short for 6 streams" in output.err


def test_evaluate_reads_both_figures_in_rows_of_the_length_asked_for(run, capsys):
    assert main(["evaluate", run, "--num-steps", "7", "--json"]) == 0
    results = json.loads(capsys.readouterr().out)["results"]
    assert [(r["batch_size"], r["num_steps"]) for r in results] == [(1, 7), (6, 7)]
