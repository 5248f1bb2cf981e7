"""A search whose disk is full, or that is killed: a line, nothing half done, and it goes on."""

from pathlib import Path

import pytest
import toy_spaces

from kerasptb import tuning
from kerasptb.cli import main


@pytest.mark.parametrize("size", [1000, 30_000])
@pytest.mark.slow
def test_a_full_disk_is_told_in_a_line(no_steps, texts, tmp_path, room_for, capsys, size):
    command = ["tune", "--data", str(texts), "--trials", "1", "--epochs", "1", "--out", str(tmp_path / "search")]
    with room_for(size):
        assert main(command) == 1
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) <= 2
    assert "File too large" in told[-1]
    if (tmp_path / "search" / "search.json").exists():  # the trial has failed; another one may succeed
        command = ["tune", "--resume", "--trials", "2", "--out", str(tmp_path / "search")]
    assert main(command) == 0


class Killed(BaseException):
    """A process does not see it coming, and cannot act on it."""


@pytest.mark.slow
def test_a_search_killed_at_every_write_goes_on_to_what_it_would_have_found(texts, tmp_path, monkeypatch):
    replace, writes = Path.replace, []

    def dying(at):
        def replace_or_die(path, target):
            writes.append(Path(target).name)
            if len(writes) == at:
                raise Killed
            return replace(path, target)

        return replace_or_die

    def search(number, at=0, **arguments):
        folder = tmp_path / str(number)
        space = toy_spaces.ToySpace(tmp_path / "journal")
        writes.clear()
        monkeypatch.setattr(Path, "replace", dying(at))
        options = {} if "resume" in arguments else {"tuner": "random", "trials": 2, "epochs": 2, "seed": 1}
        found = tuning.tune(texts, space, out=folder, verbose=False, **options, **arguments).trials
        return {trial.trial_id: (trial.status, trial.values, trial.score, trial.record.curve) for trial in found}

    whole = search(0)
    every = list(writes)
    assert {"search.json", "oracle.json", "trial.json", "record.json"} <= set(every)
    for number in range(1, len(every) + 1):
        with pytest.raises(Killed):
            search(number, number)
        begun = (tmp_path / str(number) / "search.json").exists()
        assert search(number, **({"resume": True} if begun else {})) == whole, every[number - 1]
