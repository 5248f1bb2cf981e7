import sys

from kerasptb.utils.status_line import show_status


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
