import sys
import time

import pytest

from kerasptb.utils import status_line
from kerasptb.utils.status_line import Watching, at_work, clear_status, show_status, tracked


def test_a_line_of_a_terminal_takes_the_place_of_the_one_before(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    show_status("1 of 2 words")
    show_status("2 of 2", is_last=True)
    show_status("next")
    assert capsys.readouterr() == ("", "\r\x1b[K1 of 2 words\r\x1b[K2 of 2\n\r\x1b[Knext")


def test_a_log_has_the_lines_that_are_for_it(capsys):
    show_status("1 of 2")
    show_status("2 of 2", is_last=True, in_logs=True)
    show_status("3 of 2", is_last=True)
    assert capsys.readouterr() == ("", "2 of 2\n")


@pytest.fixture
def watched(capsys, monkeypatch):
    """Returns the lines of standard error once there are some, while a thread watches that waits for nothing."""
    monkeypatch.delenv("KERASPTB_PROGRESS")
    monkeypatch.setattr(status_line, "_FIRST", 0.001)
    monkeypatch.setattr(status_line, "_ON_TERMINAL", 0.001)

    def lines(has="\n"):
        written, deadline = "", time.monotonic() + 60
        while has not in written and time.monotonic() < deadline:
            time.sleep(0.001)
            written += capsys.readouterr().err
        return written

    return lines


def test_a_log_says_what_takes_long_and_how_far_it_is(watched):
    with Watching():
        with at_work("Compiling") as stage:
            assert watched().startswith("Compiling (0 s)\n")
            stage.tell(1, 4)
            assert "Compiling: 25%\n" in watched(": 25%\n")
            with at_work("one of many"):  # which says less than what it is a part of
                assert "many" not in watched(": 25%\n")
            stage.tell(1, None)
            with at_work("another"):
                assert "another (0 s)" in watched("another")
        items = tracked("Reading", "abc")
        assert [next(items), next(items)] == ["a", "b"]
        assert "Reading: 33%" in watched("33%")
    assert list(items) == ["c"]


def test_what_is_short_or_not_wanted_is_not_told(capsys, monkeypatch):
    for wanted in "0", "1":
        monkeypatch.setenv("KERASPTB_PROGRESS", wanted)
        monkeypatch.setattr(status_line, "_FIRST", 60.0 if wanted == "1" else 0.001)
        with Watching(), at_work("Loading"):
            time.sleep(0.02)
    assert capsys.readouterr().err == ""


def test_the_line_of_a_terminal_goes_before_what_follows(watched, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with Watching():
        with at_work("Loading"):
            assert watched("Loading (0 s)").startswith("\r\x1b[KLoading (0 s)")
        assert capsys.readouterr().err.endswith("\r\x1b[K")
        clear_status()
        assert capsys.readouterr().err == ""


def test_a_command_ends_as_ever_where_nobody_reads_its_progress(watched, monkeypatch):
    class Gone:
        def write(self, text):
            raise BrokenPipeError

        def isatty(self):
            return False

    monkeypatch.setattr(sys, "stderr", Gone())
    with Watching() as watching, at_work("Loading"):
        watching._thread.join(60)
        assert not watching._thread.is_alive()
