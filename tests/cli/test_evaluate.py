import dataclasses
import json
import shutil

import numpy as np
import pytest

import kerasptb
from kerasptb.cli import main
from kerasptb.evaluation import CacheSettings
from kerasptb.keyboard import Keyboard, evaluate_keyboard, evaluate_typos
from kerasptb.models.weights import save_weights


def test_evaluate_reports_both_figures_and_labels_them(run, texts, capsys):
    assert main(["evaluate", run, "--data", str(texts), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    strict, streams = result["results"]
    assert (strict["batch_size"], strict["method"], strict["num_words"]) == (1, "every word", 359)
    assert (streams["batch_size"], streams["num_steps"], streams["num_words"]) == (6, 4, 336)
    assert main(["evaluate", run, "--data", str(texts)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"test perplexity {strict['perplexity']:.2f}  (batch size 1: every word; 359 words)")
    assert f"perplexity of a word {strict['perplexity']:.2f}, {strict['bits_per_byte']:.3f} bits a byte" in lines[1]
    assert lines[2].startswith(f"test perplexity {streams['perplexity']:.2f}  (batch size 6:")


def test_evaluate_reads_the_runs_own_text(run, texts, capsys):
    outputs = []
    for data in ([], ["--data", str(texts)], ["--data", "sample"]):
        assert main(["evaluate", run, *data, "--json"]) == 0
        outputs.append(json.loads(capsys.readouterr().out))
    assert outputs[0] == outputs[1]
    assert (outputs[0]["data"], outputs[2]["data"]) == (texts.name, "sample")
    assert outputs[2]["results"] != outputs[0]["results"]


def test_evaluate_reads_no_text_that_has_changed_since(no_steps, texts, sizes, tmp_path, error_of, capsys):
    text = tmp_path / "text"
    shutil.copytree(texts, text)
    arguments = [*sizes, "--epochs", "1", "--out", str(tmp_path / "run")]
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
    corpus = kerasptb.load_run(run).load_corpus(texts)
    assert main(["evaluate", run, "--data", str(texts), "--split", "all", "--json"]) == 0
    every_word, _ = json.loads(capsys.readouterr().out)["results"]
    assert every_word["num_words"] == len(corpus.train) + len(corpus.valid) + len(corpus.test) - 1


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


def copy_of(run, tmp_path):
    """A copy of the run, in which settings may be kept."""
    return shutil.copytree(run, tmp_path / "run")


@pytest.mark.parametrize(
    ("option", "key", "names"),
    [
        pytest.param("--dynamic", "dynamic", {"learning_rate", "decay", "num_steps"}, marks=pytest.mark.slow),
        ("--continuous-cache", "continuous_cache", {"theta", "weight", "window"}),
    ],
)
def test_evaluate_adapts_with_settings_that_are_tuned_once(run, tmp_path, capsys, option, key, names):
    copy = copy_of(run, tmp_path)
    (copy / "adaptation.json").write_text('{"other": 1}')
    outputs = []
    for _ in range(2):
        assert main(["evaluate", str(copy), option, "--json"]) == 0
        outputs.append(capsys.readouterr())
    assert len(outputs[0].err.splitlines()) == 1
    assert outputs[0].err.startswith(f"Tuning the settings of {key.replace('_', ' ')} on the validation text; ")
    assert outputs[1].err == ""
    assert outputs[0].out == outputs[1].out
    (result,) = json.loads(outputs[0].out)["results"]
    assert (result["num_words"], result["batch_size"]) == (359, 1)
    assert result["method"] == f"every word, {key.replace('_', ' ')}"
    kept = json.loads((copy / "adaptation.json").read_text())
    assert set(kept) == {"other", key}
    assert kept[key]["settings"] == result["settings"]
    assert set(result["settings"]) == names
    # What is kept is used, not only written.
    changed = {"dynamic": {"learning_rate": 0.0}, "continuous_cache": {"weight": 0.0}}[key]
    kept[key]["settings"].update(changed)
    (copy / "adaptation.json").write_text(json.dumps(kept))
    assert main(["evaluate", str(copy), option, "--json"]) == 0
    (static,) = json.loads(capsys.readouterr().out)["results"]
    assert main(["evaluate", str(copy), "--batch-size", "1", "--json"]) == 0
    (expected,) = json.loads(capsys.readouterr().out)["results"]
    assert static["perplexity"] == pytest.approx(expected["perplexity"], rel=1e-6)
    assert static["perplexity"] != result["perplexity"]


def test_settings_are_tuned_again_for_other_weights(run, tmp_path, capsys):
    copy = copy_of(run, tmp_path)
    tuned = []
    for change in (0.0, 0.01):
        model = kerasptb.load_run(copy).load_model()
        model.set_weights([weight + change for weight in model.get_weights()])
        save_weights(model, copy / "best.weights.h5")
        assert main(["evaluate", str(copy), "--continuous-cache"]) == 0
        tuned.append("Tuning" in capsys.readouterr().err)
    assert tuned == [True, True]


@pytest.mark.slow
def test_dynamic_evaluation_takes_the_words_of_a_segment(run, tmp_path, capsys):
    copy = copy_of(run, tmp_path)
    for num_steps, tuned in (("7", True), ("5", True)):
        assert main(["evaluate", str(copy), "--dynamic", "--num-steps", num_steps]) == 0
        output = capsys.readouterr()
        assert ("Tuning" in output.err) is tuned
        assert output.out.count("\n") == 2  # the second line has the figures a word and a byte
        assert "(batch size 1: every word, dynamic, learning rate " in output.out
        assert f", num steps {num_steps}; 359 words)" in output.out


def test_adapting_to_another_text_uses_settings_of_the_runs_own(run, tmp_path, texts, capsys):
    copy = copy_of(run, tmp_path)
    for data, tuned in (("sample", True), (str(texts), False)):
        assert main(["evaluate", str(copy), "--continuous-cache", "--data", data]) == 0
        assert ("Tuning" in capsys.readouterr().err) is tuned


@pytest.mark.parametrize("other", ["--batch-size=1", "--continuous-cache"])
def test_ways_to_evaluate_exclude_one_another(run, other, capsys):
    assert main(["evaluate", run, "--dynamic", other]) == 2
    assert "not allowed with argument" in capsys.readouterr().err


def test_evaluate_types_as_on_a_keyboard(run, tmp_path, capsys):
    shutil.copytree(run, tmp_path / "run")  # it keeps the settings of the cache
    results = {}
    for option in ((), ("--keys=1",), ("--continuous-cache",)):
        assert main(["evaluate", str(tmp_path / "run"), "--keyboard", "--json", *option]) == 0
        results[option] = json.loads(capsys.readouterr().out)["keyboard"]
    loaded = kerasptb.load_run(run)
    corpus = loaded.load_corpus()
    expected = evaluate_keyboard(loaded.load_model(), corpus.test)
    assert results[()] == dataclasses.asdict(expected)
    assert expected.num_words == np.count_nonzero(corpus.test[1:] != corpus.vocabulary.eos_id)
    assert results["--keys=1",]["keystroke_savings"] < expected.keystroke_savings < expected.savings_ceiling
    kept = json.loads((tmp_path / "run" / "adaptation.json").read_text())["continuous_cache"]["settings"]
    cached = evaluate_keyboard(loaded.load_model(), corpus.test, cache=CacheSettings(**kept))
    assert results["--continuous-cache",] == dataclasses.asdict(cached)
    assert main(["evaluate", run, "--keyboard"]) == 0
    assert capsys.readouterr().out.startswith(f"test typed with 3 suggestions: {expected.keystroke_savings:.1%} of")


def test_a_keyboard_has_no_streams(run, error_of):
    assert "it takes --continuous-cache alone" in error_of(["evaluate", run, "--keyboard", "--batch-size", "2"])


def test_evaluate_types_a_text_of_ones_own(run, tmp_path, capsys, error_of):
    text = "zebra the\nthe zebra the Zebra.\n"
    path = tmp_path / "own.txt"
    path.write_text(text)
    results = {}
    for option in ((), ("--learn",)):
        assert main(["evaluate", run, "--keyboard", "--text", str(path), "--json", *option]) == 0
        answer = json.loads(capsys.readouterr().out)
        assert answer["text"] == str(path)
        results[option] = answer["keyboard"]
    loaded = kerasptb.load_run(run)
    for learn in (False, True):
        expected = evaluate_keyboard(loaded.load_model(), text, learn=learn)
        assert results[("--learn",) if learn else ()] == dataclasses.asdict(expected)
    assert results["--learn",]["savings_ceiling"] > results[()]["savings_ceiling"]
    assert main(["evaluate", run, "--keyboard", "--text", str(path)]) == 0
    assert f"{path} typed with 3 suggestions" in capsys.readouterr().out
    path.write_bytes(b"the caf\xe9")
    assert "own.txt is not, from byte 7 on" in error_of(["evaluate", run, "--keyboard", "--text", str(path)])
    assert "own.txt" in error_of(["evaluate", run, "--keyboard", "--text", str(tmp_path / "no" / "own.txt")])
    assert "Expected a file, not a folder, a pipe" in error_of(["evaluate", run, "--keyboard", "--text", "/dev/zero"])
    for option in (["--learn"], ["--keys", "3"], ["--text", "a.txt"]):
        assert "are of --keyboard" in error_of(["evaluate", run, *option])
    for option in (["--split", "valid"], ["--encoding", "cp1252"], ["--column", "text"], ["--author", "Ana"]):
        assert "leave out --split" in error_of(["evaluate", run, "--keyboard", "--text", str(path), *option])
    assert "in its own way" in error_of(["evaluate", run, "--keyboard", "--learn", "--continuous-cache"])


def test_evaluate_types_with_errors(run, tmp_path, capsys, error_of):
    text = "one two three four zebra\nthree two one.\n"
    path = tmp_path / "own.txt"
    path.write_text(text)
    typos = ["evaluate", run, "--keyboard", "--text", str(path), "--typos", "0.2"]
    assert main([*typos, "--layout", "qwertz", "--letters", "--learn", "--keys", "2", "--words", "6", "--json"]) == 0
    output = capsys.readouterr()
    options = {"points": False, "keys": 2, "learn": True, "num_words": 6}
    reader = kerasptb.load_run(run).reader
    expected = evaluate_typos(reader, text, 0.2, Keyboard("qwertz"), **options)
    assert json.loads(output.out) == {"text": str(path), "typos": dataclasses.asdict(expected)}
    assert (expected.num_words, output.err) == (6, "")
    assert main(typos) == 0
    printed, expected = capsys.readouterr().out, evaluate_typos(reader, text, 0.2)
    assert f"{path} typed with 3 suggestions: {expected.keystroke_savings:.1%} of the keystrokes saved" in printed
    right = expected.right
    assert f"{right.value:.1%} ({right.low:.1%} to {right.high:.1%}) of the words are right" in printed
    assert main(["evaluate", run, "--keyboard", "--typos", "0", "--words", "9"]) == 0
    assert "(95 % intervals; 9 words, 0.0% of the taps on wrong keys)" in capsys.readouterr().out
    assert "wrong keys in [0, 0.5]. Received: 0.7" in error_of([*typos[:-1], "0.7"])
    assert "Expected a layout, one of azerty" in error_of([*typos, "--layout", "none"])
    assert "are of --typos" in error_of(["evaluate", run, "--keyboard", "--letters"])
    assert "--typos is of --keyboard" in error_of(["evaluate", run, "--typos", "0.1"])


@pytest.mark.usefixtures("no_steps", "no_pictures", "no_figures")
def test_evaluate_types_by_subwords(tmp_path, capsys, error_of):
    text, run = tmp_path / "own.txt", tmp_path / "run"
    text.write_text("The cat (a zebra) sat.\n" * 40)
    sizes = ["--batch-size", "2", "--num-steps", "4", "--epochs", "1"]
    assert main(["train", "--data", str(text), *sizes, "--out", str(run)]) == 0
    capsys.readouterr()
    assert main(["evaluate", str(run), "--keyboard", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)["keyboard"]
    loaded = kerasptb.load_run(run)
    expected = evaluate_keyboard(loaded.reader, loaded.load_corpus().test)
    assert result == dataclasses.asdict(expected)
    (tmp_path / "typed.txt").write_text("The cat (a zebra) sat.\n" * 8)
    assert main(["evaluate", str(run), "--keyboard", "--learn", "--text", str(tmp_path / "typed.txt"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)["keyboard"]
    assert (result["num_words"], result["num_characters"]) == (5 * 8, 23 * 8)
    assert "for a model of words. Received: one of subwords" in error_of(
        ["evaluate", run, "--keyboard", "--continuous-cache"]
    )


def test_pairs_of_sentences_are_judged(run, tmp_path, capsys):
    (tmp_path / "numbers.csv").write_text("one two,one two three four one\nnobody,somebody\n")
    (tmp_path / "judged.csv").write_text("good,bad,linguistics_term\none,one one one one one,counting\n")
    files = [str(tmp_path / name) for name in ("numbers.csv", "judged.csv")]
    assert main(["evaluate", run, "--pairs", *files, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads(json.dumps(dataclasses.asdict(kerasptb.load_run(run).evaluate_pairs(files))))
    assert [(each["name"], each["num_pairs"], each["num_alike"]) for each in found["sets"]] == [
        ("numbers", 2, 1),
        ("judged", 1, 0),
    ]
    assert [each["name"] for each in found["phenomena"]] == ["counting"]
    assert main(["evaluate", run, "--pairs", *files]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:5] == ["numbers", "2", "75.0%", "(19.8%", "to"]
    assert lines[1].endswith("  read alike: 1")
    assert lines[-3].split()[:3] == ["overall", "3", f"{found['overall']['accuracy']['value']:.1%}"]


def test_pairs_are_no_text(run, tmp_path, error_of):
    (tmp_path / "pairs.csv").write_text("one,two,three\n")
    assert "row 1 of" in error_of(["evaluate", run, "--pairs", tmp_path / "pairs.csv"])
    for other in ["--keyboard"], ["--split", "test"], ["--batch-size", 2]:
        assert "--pairs are sentences" in error_of(["evaluate", run, "--pairs", "x", *other])
