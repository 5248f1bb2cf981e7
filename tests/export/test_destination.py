import pytest

from kerasptb.export.destination import atomic_folder
from kerasptb.models.portable import ExportError


def test_what_a_killed_export_left_in_a_folder_is_cleared(tmp_path):
    left = tmp_path / "model" / ".model.ab12" / "export"
    left.mkdir(parents=True)
    (left / "half.pb").write_text("half")
    with atomic_folder(tmp_path / "model") as folder:
        (folder / "whole.pb").write_text("whole")
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["whole.pb"]


def test_a_folder_that_holds_anything_else_is_left_alone(tmp_path):
    (tmp_path / "model" / ".model.ab12").mkdir(parents=True)
    (tmp_path / "model" / "mine.txt").write_text("mine")
    with pytest.raises(ExportError, match="which is taken"), atomic_folder(tmp_path / "model"):
        pass
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [".model.ab12", "mine.txt"]


def test_two_exports_into_one_folder_do_not_meet(tmp_path):
    (tmp_path / "model").mkdir()
    with (
        atomic_folder(tmp_path / "model"),
        pytest.raises(ExportError, match="Another export is at work"),
        atomic_folder(tmp_path / "model"),
    ):
        pass
