import csv
import json
import math
import os
import pty
import subprocess
import sys

import pytest

import kerasptb
from kerasptb.cli import main
from kerasptb.cli.lines import read_lines
from kerasptb.data import DataError


@pytest.fixture
def typed(monkeypatch, tmp_path):
    def give(text):
        file = tmp_path / "typed"
        file.write_text(text)
        opened.append(file.open())
        monkeypatch.setattr(sys, "stdin", opened[-1])

    opened = []
    yield give
    for file in opened:
        file.close()


def test_a_perplexity_of_words_is_null_where_there_are_none(run, tmp_path, capsys):
    (tmp_path / "text").write_text("one two\n吾輩は猫である。\n", encoding="utf-8")
    assert main(["score", run, str(tmp_path / "text"), "--json"]) == 0
    one, other, totals = map(json.loads, capsys.readouterr().out.splitlines())
    assert one["perplexity"] > 1
    assert other["perplexity"] is totals["totals"]["perplexity"] is totals["totals"]["perplexity_of_words"] is None


def test_sentences_are_scored_from_a_file_and_from_standard_input(run, tmp_path, capsys, typed):
    text = "one two\nnobody four <unk>\n\n"
    (tmp_path / "text").write_text(text)
    assert main(["score", run, str(tmp_path / "text")]) == 0
    output = capsys.readouterr()
    rows = [line.split("\t") for line in output.out.splitlines()]
    assert [row[1:3] + row[4:] for row in rows] == [
        ["2", "0", "one two"],
        ["3", "2", "nobody four <unk>"],
        [],  # an empty line is no sentence
    ]
    total = sum(float(row[0]) for row in rows[:2])
    scored = kerasptb.load_run(run).score(text.splitlines()[:2])
    assert total == pytest.approx(sum(each.log10_probability for each in scored), abs=2e-4)
    ppl, ppl1 = 10 ** (-total / 7), 10 ** (-total / 5)
    assert "2 sentences, 5 words, 2 unknown\n" in output.err
    found = dict(zip(("logprob=", "ppl=", "ppl1="), output.err.splitlines()[-1].split()[1::2], strict=True))
    assert [float(value) for value in found.values()] == pytest.approx([total, ppl, ppl1], rel=1e-4)
    typed(text)
    assert main(["score", run, "-"]) == 0
    assert capsys.readouterr().out == output.out


def test_verbose_has_each_token(run, typed, capsys):
    typed("one two\n")
    assert main(["score", run, "--verbose"]) == 0
    first, *tokens = capsys.readouterr().out.splitlines()
    assert [line.split("\t")[2] for line in tokens] == ["one", "two", "<eos>"]
    assert sum(float(line.split("\t")[1]) for line in tokens) == pytest.approx(float(first.split("\t")[0]), abs=2e-4)
    typed("one two\n")
    assert main(["score", run, "--verbose", "--json"]) == 0
    row, totals = map(json.loads, capsys.readouterr().out.splitlines())
    assert math.fsum(token["log10_probability"] for token in row["tokens"]) == pytest.approx(row["log10_probability"])
    assert totals["totals"]["log10_probability"] == row["log10_probability"]
    assert totals["totals"]["perplexity"] == row["perplexity"]


def test_surprisals_and_entropies_are_told_of_tokens_and_words(run, typed, capsys):
    typed("one nobody\n")
    assert main(["score", run, "--verbose", "--json"]) == 0
    row = json.loads(capsys.readouterr().out.splitlines()[0])
    (scored,) = kerasptb.load_run(run).score("one nobody", entropy=True)
    assert [token["token"] for token in row["tokens"]] == ["one", "<unk>", "<eos>"]
    assert [word["word"] for word in row["by_word"]] == ["one", "nobody", "<eos>"]
    for rows in row["tokens"], row["by_word"]:
        assert [each["surprisal"] for each in rows] == pytest.approx(scored.surprisals.tolist())
        assert [each["entropy"] for each in rows] == pytest.approx(scored.entropies.tolist())
        assert [each["surprisal"] for each in rows] == pytest.approx(
            [-each["log10_probability"] / math.log10(2) for each in rows]
        )
    assert 0 < scored.entropies.max() < math.log2(7)


def test_a_table_has_a_row_for_each_token(run, tmp_path, capsys):
    (tmp_path / "text").write_text('one two\n\nthree, "four\n')
    assert main(["score", run, str(tmp_path / "text")]) == 0
    plain = capsys.readouterr()
    assert main(["score", run, str(tmp_path / "text"), "--csv", str(tmp_path / "out.csv")]) == 0
    assert capsys.readouterr() == plain
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [[row[name] for name in ("sentence", "word_number", "word", "token")] for row in rows] == [
        ["1", "1", "one", "one"],
        ["1", "2", "two", "two"],
        ["1", "3", "<eos>", "<eos>"],
        ["2", "1", "three,", "<unk>"],
        ["2", "2", '"four', "<unk>"],
        ["2", "3", "<eos>", "<eos>"],
    ]
    scored = kerasptb.load_run(run).score(["one two", 'three, "four'], entropy=True)
    expected = [row for each in scored for row in each.by_token()]
    for row, wanted in zip(rows, expected, strict=True):
        for name in "log10_probability", "surprisal", "entropy", "counts":
            assert float(row[name]) == pytest.approx(wanted[name])
    assert main(["score", run, str(tmp_path / "text"), "--csv", "-"]) == 0
    output = capsys.readouterr()
    assert (output.out, output.err) == ((tmp_path / "out.csv").read_text(), plain.err)
    (tmp_path / "text").write_text("\x1b[2J\n")  # which would clear a terminal
    assert main(["score", run, str(tmp_path / "text"), "--csv", "-"]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith(r"1,1,\x1b[2J,<unk>,")


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_table_of_words_has_the_counts_alone_beside_the_network(counted_run, tmp_path, capsys):
    (tmp_path / "text").write_text("one two\n\nthree, nobody\n")
    out = tmp_path / "out.csv"
    assert main(["score", counted_run, str(tmp_path / "text"), "--words", "--csv", str(out)]) == 0
    scored = kerasptb.load_run(counted_run).score(["one two", "three, nobody"], entropy=True)
    expected = [{"sentence": i, **row} for i, each in enumerate(scored, start=1) for row in each.by_word()]
    rows = rows_of(out)
    assert [row["word"] for row in rows] == ["one", "two", "<eos>", "three,", "nobody", "<eos>"]
    for row, wanted in zip(rows, expected, strict=True):
        assert row.keys() == wanted.keys()
        assert {name: str(value) for name, value in wanted.items()} == row
    assert all(len({value for name, value in row.items() if "surprisal" in name}) > 2 for row in rows)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_table_of_reading_times_gets_its_words_back(run, tmp_path, capsys, end):
    table = ["word\tzone\tstory", '"one\t1\ta', "two - three\t2\ta", "four\t1\tb", "one\t1\ta"]
    (tmp_path / "words.tsv").write_bytes((end.join(table) + end).encode())
    assert main(["score", run, str(tmp_path / "words.tsv"), "--items", "story"]) == 0
    output = capsys.readouterr()
    (tmp_path / "out.csv").write_text(output.out)
    rows = rows_of(tmp_path / "out.csv")
    assert [(row["word"], row["zone"], row["story"]) for row in rows] == [
        ('"one', "1", "a"),
        ("two - three", "2", "a"),
        ("four", "1", "b"),
        ("one", "1", "a"),  # another text of the same name
    ]
    first, *others = (
        each.by_word() for each in kerasptb.load_run(run).score(['"one two - three', "four", "one"], True)
    )
    for name in "surprisal", "word_surprisal", "network_surprisal", "log10_probability":
        wanted = [first[0][name], sum(word[name] for word in first[1:4]), *(words[0][name] for words in others)]
        assert [float(row[name]) for row in rows] == pytest.approx(wanted)
    assert float(rows[1]["entropy"]) == pytest.approx(first[1]["entropy"])
    assert {row["counts_surprisal"] for row in rows} == {""}
    assert output.err.startswith("3 sentences, 6 words")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "word,zone\none,1\n",
        "word,story,surprisal\none,a,1\n",
        "word,story\n ,a\n",
        "word,story\none\n",
        "word,story\none,a,b\n",
        f"word,story\n{'a' * 200_000},a\n",
    ],
    ids=range(7),
)
def test_tables_without_words_are_told(run, tmp_path, error_of, text):
    (tmp_path / "table").write_text(text)
    assert "Expected " in error_of(["score", run, tmp_path / "table", "--items", "story"])


def test_a_document_is_one_text(run, tmp_path, capsys):
    text = "one two\n\nthree four\n"
    (tmp_path / "text").write_text(text)
    out = tmp_path / "out.csv"
    assert main(["score", run, str(tmp_path / "text"), "--document", "--json", "--csv", str(out)]) == 0
    *lines, totals = map(json.loads, capsys.readouterr().out.splitlines())
    scored = kerasptb.load_run(run).score_document(text)
    assert [line["sentence"] for line in lines] == ["one two", "", "three four"]
    assert [line["log10_probability"] for line in lines] == pytest.approx([each.log10_probability for each in scored])
    assert totals["totals"]["log10_probability"] == pytest.approx(sum(each.log10_probability for each in scored))
    (alone,) = kerasptb.load_run(run).score("three four")
    assert lines[2]["log10_probability"] != pytest.approx(alone.log10_probability, abs=1e-4)
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["sentence"] for row in rows] == list("1112333")
    assert math.fsum(float(row["surprisal"]) for row in rows) == pytest.approx(
        -totals["totals"]["log10_probability"] / math.log10(2)
    )


HYPOTHESES = "u1\tone two\t-3\nu1\tone two three four one\t-1\nu2\tfour\t-2\nu3\tone\t-5\n"


def test_the_best_of_hypotheses_is_printed(run, typed, capsys):
    score = kerasptb.load_run(run).score
    logs = [each.log10_probability for each in score(["one two", "one two three four one", "four", "one"])]
    typed(HYPOTHESES)
    assert main(["score", run, "--nbest", "--all", "--weight", "0.5", "--bonus", "0.1"]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    totals = [-3 + 0.5 * logs[0] + 0.2, -1 + 0.5 * logs[1] + 0.5, -2 + 0.5 * logs[2] + 0.1, -5 + 0.5 * logs[3] + 0.1]
    assert [row[0] for row in rows] == ["u1", "u1", "u2", "u3"]
    assert [float(row[2]) for row in rows] == pytest.approx([*sorted(totals[:2], reverse=True), *totals[2:]], abs=1e-4)
    typed(HYPOTHESES)
    assert main(["score", run, "--nbest", "--weight", "0"]) == 0
    assert [line.split("\t")[1] for line in capsys.readouterr().out.splitlines()] == [
        "one two three four one",
        "four",
        "one",
    ]


def test_weights_are_tuned_against_references(run, typed, capsys, tmp_path):
    (tmp_path / "references").write_text("u1\tone two\nu2\tfour\n")
    typed("u1\tone two\t-3\nu1\tone two three four one\t-1\nu2\tfour\t-2\n")
    assert main(["score", run, "--nbest", "--tune", str(tmp_path / "references")]) == 0
    output = capsys.readouterr()
    assert [line.split("\t")[1] for line in output.out.splitlines()] == ["one two", "four"]
    assert "0 word errors in 3 words (0.00%), 3 by the first score" in output.err


def test_lists_that_would_mislead_are_refused(run, typed, error_of, tmp_path):
    (tmp_path / "references").write_text("u1\t\nu2\t \n")
    typed("u1\tone two\t-3\nu2\tfour\t-2\n")
    assert "Expected references, ID<TAB>text, with words" in error_of(
        ["score", run, "--nbest", "--tune", tmp_path / "references"]
    )
    typed("u1\tone two\t-3\nu2\tfour\t-2\nu1\tone\t-1\n")
    assert "Received: 'u1' again, after others. Sort the lines by ID." in error_of(["score", run, "--nbest"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--weight", 1], "--weight: these are of --nbest"),
        (["--all", "--tune", "x"], "--all, --tune: these are of --nbest"),
        (["--nbest", "--tune", "x", "--bonus", 1], "leave --weight and --bonus out"),
        (["--nbest", "--json"], "not of --nbest"),
        (["--nbest", "--document"], "not of --nbest"),
        (["--nbest", "--csv", "x"], "not of --nbest"),
        (["--csv", "-", "--json"], "--csv - takes the place of lines: leave --verbose and --json out, or name a file."),
        (["--words"], "--words is of --csv"),
        (["--items", "item", "--json"], "leave out --nbest, --document, --verbose and --json"),
        (["--csv", "nowhere/out.csv"], "No such file or directory: nowhere/out.csv"),
        (["missing.txt"], "No such file"),
    ],
)
def test_what_does_not_go_together_is_told(run, error_of, typed, arguments, message):
    typed("one\n")
    assert message in error_of(["score", run, *arguments])


def test_a_line_that_is_no_utf8_is_named(run, error_of, tmp_path):
    (tmp_path / "text").write_bytes(b"one\ntwo \xff\n")
    assert f"Received: line 2 of {tmp_path / 'text'}" in error_of(["score", run, tmp_path / "text"])
    lines = read_lines(str(tmp_path / "text"))
    assert next(lines) == ["one"]  # what came before is answered
    with pytest.raises(DataError, match="line 2 of"):
        next(lines)


def test_a_byte_order_mark_is_no_part_of_the_first_word(run, tmp_path, capsys):
    for name, mark in (("plain", b""), ("marked", b"\xef\xbb\xbf")):
        (tmp_path / name).write_bytes(mark + b"u1\tone two\n")
        assert main(["score", run, str(tmp_path / name), "--nbest", "--tune", str(tmp_path / name)]) == 0
    plain, marked = capsys.readouterr().out.splitlines()
    assert marked == plain


def test_lines_are_there_as_soon_as_they_come(monkeypatch):
    read, write = os.pipe()
    with os.fdopen(read) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        lines = read_lines(None)
        for text in ("one\n", "two\r\n"):
            os.write(write, text.encode())
            assert next(lines) == [text.strip()]
        os.write(write, b"three\nfour")
        os.close(write)
        assert [line for some in lines for line in some] == ["three", "four"]


def test_nothing_has_no_perplexity(run, typed, capsys):
    typed("\n")
    assert main(["score", run, "--json"]) == 0
    blank, totals = capsys.readouterr().out.splitlines()
    assert blank == "null"
    assert json.loads(totals)["totals"]["perplexity"] is None


@pytest.mark.slow
def test_an_error_ends_it_while_the_other_program_waits(run):
    command = [sys.executable, "-m", "kerasptb", "score", run]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdin.write(b"\xff\n")
        process.stdin.flush()
        assert process.wait(timeout=60) == 1
        assert process.stderr.read().decode().splitlines()[-1].endswith("Received: line 1 of standard input")


@pytest.mark.slow
def test_another_program_talks_to_it(run):
    command = [sys.executable, "-m", "kerasptb", "score", run]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        for words in ("one two", "three"):
            process.stdin.write(f"{words}\n".encode())
            process.stdin.flush()
            assert process.stdout.readline().decode().endswith(f"\t{words}\n")
        process.communicate(timeout=60)
    assert process.returncode == 0


def test_a_terminal_is_told_how_a_text_ends(monkeypatch, capsys):
    leader, follower = pty.openpty()
    os.write(leader, b"one two\n\x04")
    with os.fdopen(follower) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert list(read_lines("-")) == [["one two"]]
    os.close(leader)
    assert capsys.readouterr().err == "Type a text; Ctrl-D at the beginning of a line ends it.\n"
