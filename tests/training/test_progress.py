import re

import pytest

from kerasptb.training.progress import ProgressBar

LOGS = {"loss": 83.4466, "perplexity": 138.6234, "words_per_second": 12345.6}
ENDS = {**LOGS, "val_loss": 90.0, "val_perplexity": 155.0912, "learning_rate": 0.0125}


@pytest.fixture
def shown(monkeypatch, capsys):
    """What a terminal of some columns shows of an epoch: each state of the line, and colours as they are written."""

    def show(columns, terminal=True, steps=774, verbose=1, **variables):
        for name, value in {"COLUMNS": columns, "NO_COLOR": "", "TERM": "xterm", **variables}.items():
            monkeypatch.setenv(name, str(value))
        monkeypatch.setattr("kerasptb.training.progress.is_terminal", lambda: terminal)
        monkeypatch.setattr("kerasptb.training.progress._SECONDS", 0)
        bar = ProgressBar()
        bar.set_params({"verbose": verbose, "epochs": 15, "steps": steps})
        bar.on_train_begin()
        bar.on_epoch_begin(2)
        for batch in (15, 400, 783):  # the last of calls of 16 steps, counted past the end
            bar.on_train_batch_end(batch, dict(LOGS))
        bar.on_epoch_end(2, dict(ENDS))
        return capsys.readouterr().out

    return show


@pytest.mark.parametrize("columns", [200, 80, 40, 20])
def test_the_line_fits_the_terminal(shown, columns):
    out = shown(columns)
    assert out.count("\n") == 1
    lines = re.sub("\x1b\\[[0-9]+m", "", out).rstrip("\n").split("\r")
    assert max(map(len, lines)) < columns
    states = [line for line in lines if line.strip()]
    assert len(states) == 4
    assert states[0].startswith("Epoch  3/15")
    if columns == 80:
        assert re.fullmatch(r"Epoch  3/15  ━{10} 401/774  \S+ s left  perplexity 138.62  12,346 words/s", states[1])
        assert "774/774" in states[2]  # and no step more
        assert states[3] == "Epoch  3/15  0 s  perplexity 138.62  valid 155.09  12,346 words/s  rate 0.0125"
    if columns == 20:
        assert states[0] == "Epoch  3/15"
    # Each state leaves nothing of the one before.
    for before, blank in zip(lines[0::2], lines[1::2], strict=False):
        assert blank == " " * len(before)


def test_colours_are_turned_off(shown):
    assert "\x1b[32m" in shown(80)
    for off in ({"NO_COLOR": 1}, {"TERM": "dumb"}):
        out = shown(80, **off)
        assert "\x1b" not in out
        assert "━" * 5 + "─" * 5 in out


@pytest.mark.parametrize("where", [{"terminal": False}, {"terminal": False, "verbose": 2}, {"verbose": 2}], ids=str)
def test_a_file_gets_the_results_alone_and_so_does_who_asks_for_no_bar(shown, where):
    assert shown(80, **where) == "Epoch  3/15  0 s  perplexity 138.62  valid 155.09  12,346 words/s  rate 0.0125\n"


def test_an_unknown_number_of_steps_is_counted(shown):
    assert "  step 401  perplexity" in shown(80, steps=None)


def test_the_time_left_is_that_of_all_epochs(monkeypatch, capsys):
    now = 1000.0
    monkeypatch.setattr("kerasptb.training.progress.time.monotonic", lambda: now)
    monkeypatch.setattr("kerasptb.training.progress.is_terminal", lambda: True)
    bar = ProgressBar()
    bar.set_params({"verbose": 1, "epochs": 4, "steps": 100})
    bar.on_train_begin()
    shown = []
    for epoch in range(4):
        bar.on_epoch_begin(epoch)
        now += 30
        bar.on_train_batch_end(49, dict(LOGS))
        shown.append(capsys.readouterr().out)
        now += 30
        bar.on_test_begin()
        now += 10
        bar.on_test_end()
        bar.on_epoch_end(epoch, dict(ENDS))
    # 30 s of the epoch and 60 of each other, and 10 s of each validation once one was timed.
    for text, left in zip(shown, ["3:30", "3:00", "1:50", "40 s"], strict=True):
        assert f" {left} left " in text
