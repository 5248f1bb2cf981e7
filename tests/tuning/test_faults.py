"""A search whose disk is full, or that is killed: a line, nothing half done, and it goes on."""

import pytest

from kerasptb.cli import main


@pytest.mark.parametrize("size", [1000, 30_000])
def test_a_full_disk_is_told_in_a_line(texts, tmp_path, room_for, capsys, size):
    command = ["tune", "--data", str(texts), "--trials", "1", "--epochs", "1", "--out", str(tmp_path / "search")]
    with room_for(size):
        assert main(command) == 1
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) <= 2
    assert "File too large" in told[-1]
    if (tmp_path / "search" / "search.json").exists():  # the trial has failed; another one may succeed
        command = ["tune", "--resume", "--trials", "2", "--out", str(tmp_path / "search")]
    assert main(command) == 0
