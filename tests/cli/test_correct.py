import io
import json
import shutil
import subprocess
import sys

import pytest

import kerasptb
from kerasptb.cli import main

TEXT = "one teo three\r\n\n\tfour thrre one\x1b[2J"
FIXED = TEXT.replace("teo", "two").replace("thrre", "three")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(TEXT.encode())
    return path


def test_a_line_says_where_a_correction_is(run, file, capsys):
    assert main(["correct", run, str(file), "--margin", "1"]) == 0
    output = capsys.readouterr()
    found = kerasptb.load_run(run).correct(TEXT, margin=1)
    assert [line.split("\t") for line in output.out.splitlines()] == [
        ["1:5", "teo", "two", f"{found[0].log_odds:.1f}"],
        ["3:7", "thrre", "three", f"{found[1].log_odds:.1f}"],
    ]
    assert "%" not in output.err
    assert main(["correct", run, str(file), "--margin", "1", "--json"]) == 0
    rows = list(map(json.loads, capsys.readouterr().out.splitlines()))
    assert [(row["line"], row["column"], TEXT[row["start"] : row["end"]], row["word"]) for row in rows] == [
        (1, 5, "teo", "two"),
        (3, 7, "thrre", "three"),
    ]
    assert [row["log_odds"] for row in rows] == pytest.approx([each.log_odds for each in found], abs=1e-3)
    assert main(["correct", run, str(file), "--margin", "1000"]) == 0
    assert capsys.readouterr().out == ""


def test_a_diff_is_what_patch_applies(run, file, tmp_path, capfdbinary):
    assert main(["correct", run, str(file), "--margin", "1", "--diff"]) == 0
    diff = capfdbinary.readouterr().out
    name = str(file).encode()
    assert diff == (
        b"--- %b\n+++ %b\n@@ -1,3 +1,3 @@\n-one teo three\r\n+one two three\r\n \n-\tfour thrre one\x1b[2J\n"
        b"\\ No newline at end of file\n+\tfour three one\x1b[2J\n\\ No newline at end of file\n" % (name, name)
    )
    if shutil.which("patch"):
        subprocess.run(["patch", "--binary", str(file)], input=diff, check=True, stdout=subprocess.DEVNULL)
        assert file.read_bytes() == FIXED.encode()


def test_a_terminal_is_shown_nothing_that_it_obeys(run, file, capsys, monkeypatch):
    for stream in sys.stdout, sys.stderr:
        monkeypatch.setattr(stream, "isatty", lambda: True)
    assert main(["correct", run, str(file), "--margin", "1", "--diff"]) == 0
    output = capsys.readouterr().out
    assert "\x1b" not in output
    assert "+\tfour three one\\x1b[2J\n" in output


def test_standard_input_is_read(run, file, capsys, monkeypatch):
    for name in ([], ["-"]):
        with file.open() as stdin:
            monkeypatch.setattr("sys.stdin", stdin)
            assert main(["correct", run, *name, "--margin", "1"]) == 0
        assert [line.split("\t")[2] for line in capsys.readouterr().out.splitlines()] == ["two", "three"]


def test_an_editor_reads_where_each_is(run, file, capsys):
    assert main(["correct", run, str(file), "--margin", "1", "--brief"]) == 0
    assert capsys.readouterr().out == f"{file}:1:5: `teo` -> `two`\n{file}:3:7: `thrre` -> `three`\n"


@pytest.mark.parametrize(
    ("answers", "written"),
    [
        ("y\nn\n", TEXT.replace("teo", "two")),
        ("what\nNO\nyes\n", TEXT.replace("thrre", "three")),
        ("all\n", FIXED),
        ("quit\n", TEXT),
        ("y\n", TEXT.replace("teo", "two")),  # an end is no yes
    ],
)
def test_each_is_asked_about(run, file, capsys, monkeypatch, answers, written):
    file.chmod(0o640)
    monkeypatch.setattr("sys.stdin", io.StringIO(answers))
    assert main(["correct", run, str(file), "--margin", "1", "--interactive"]) == 0
    assert file.read_bytes() == written.encode()
    assert file.stat().st_mode & 0o777 == 0o640
    output = capsys.readouterr().out
    assert output.startswith("1: one [teo -> two] three\n(y, n, all, quit) ")
    assert ("3: \tfour [thrre -> three] one\\x1b[2J" in output) == (answers not in ("all\n", "quit\n"))


def test_a_text_that_was_changed_meanwhile_is_left_so(run, file, error_of, monkeypatch):
    class Writer:
        def readline(self):
            file.write_text("another text\n")
            return "y\n"

    monkeypatch.setattr("sys.stdin", Writer())
    assert "has changed since: nothing is written" in error_of(["correct", run, str(file), "--interactive"], 1)
    assert file.read_text() == "another text\n"


def test_answers_and_a_text_do_not_come_from_one_place(run, error_of):
    assert "Expected a file, to which --interactive writes" in error_of(["correct", run, "-", "--interactive"], 1)


def test_nothing_has_no_errors(run, file, capsys):
    for content, options in (("", []), ("\x00\x00\n", ["--json"]), ("", ["--diff"]), ("a" * 10_000, [])):
        file.write_text(content)
        assert main(["correct", run, str(file), *options]) == 0
        assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("arguments", "message", "status"),
    [
        (["missing.txt"], "No such file or directory: missing.txt", 1),
        (["TEXT", "--channel", "dvorak"], "Expected a layout, one of azerty", 1),
        (["TEXT", "--channel", "TEXT"], "Expected a layout such as", 1),
        (["BINARY"], "Expected UTF-8. Received: byte 2 of ", 1),
    ],
)
def test_what_cannot_be_read_is_told(run, file, tmp_path, error_of, arguments, message, status):
    binary = tmp_path / "binary"
    binary.write_bytes(b"a\xff\x00")
    names = {"TEXT": str(file), "BINARY": str(binary)}
    assert message in error_of(["correct", run, *(names.get(each, each) for each in arguments)], status)


def test_forms_are_one_at_a_time(run, file, capsys):
    assert main(["correct", run, str(file), "--diff", "--json"]) == 2
    assert "argument --json: not allowed with argument --diff" in capsys.readouterr().err
    assert main(["correct", run, str(file), "--margin", "nan"]) == 2
    assert "expected a number" in capsys.readouterr().err
