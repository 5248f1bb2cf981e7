import tempfile
from pathlib import Path

import pytest

from kerasptb.data import Vocabulary
from kerasptb.export.destination import atomic_file, atomic_folder
from kerasptb.utils.errors import ExportError


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


def test_a_file_that_another_export_wrote_meanwhile_stays(tmp_path):
    path, words = tmp_path / "model.onnx", Vocabulary(["a", "<unk>"])
    with pytest.raises(ExportError, match="which exists"), atomic_file(path, ".onnx", vocabulary=words) as temporary:
        temporary.write_text("second")
        path.write_text("first")
    assert [child.name for child in tmp_path.iterdir()] == ["model.onnx"]
    assert path.read_text() == "first"


@pytest.mark.parametrize("kind", ["empty folder", "link", "working directory"])
def test_a_folder_that_is_there_takes_the_export_and_stays_what_it_is(tmp_path, monkeypatch, kind):
    (tmp_path / "other").mkdir()
    folder = path = tmp_path / "folder"
    folder.mkdir()
    before = folder.stat()
    if kind == "link":
        path = tmp_path / "link"
        path.symlink_to(folder)
    elif kind == "working directory":
        monkeypatch.chdir(folder)
        path = "."
    export(path)
    assert {child.name for child in folder.iterdir()} == {"saved_model.pb", "variables", "assets", "fingerprint.pb"}
    assert (folder.stat().st_ino, folder.stat().st_mode) == (before.st_ino, (tmp_path / "other").stat().st_mode)


class Killed(BaseException):
    """A process does not see it coming, and cannot act on it."""


@pytest.fixture
def dying(monkeypatch):
    """A function that has the n-th renaming kill the process, which then tidies up nothing; 0 for none."""

    def dies(at):
        renamed = []
        monkeypatch.undo()
        for name in ("rename", "replace"):
            do = getattr(Path, name)

            def rename(path, target, do=do):
                renamed.append(path.name)
                if len(renamed) == at:
                    raise Killed
                return do(path, target)

            monkeypatch.setattr(Path, name, rename)
        if at:
            monkeypatch.setattr(tempfile.TemporaryDirectory, "_rmtree", lambda *args, **kwargs: None)
        return renamed

    return dies


def contents(folder):
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def export(path):
    with atomic_folder(path) as folder:
        for name in ("variables", "assets"):
            (folder / name).mkdir()
            (folder / name / "all").write_text(name)
        for name in ("fingerprint.pb", "saved_model.pb"):
            (folder / name).write_text(name)


@pytest.mark.parametrize("there", [True, False])
def test_a_folder_whose_export_was_killed_at_any_renaming_is_exported_to_again(tmp_path, dying, there):
    renamed = dying(0)
    (tmp_path / "0").mkdir() if there else None
    export(tmp_path / "0")
    assert len(renamed) == (4 if there else 1)
    whole = contents(tmp_path / "0")
    for number in range(1, len(renamed) + 1):
        path = tmp_path / f"killed-{number}"
        path.mkdir() if there else None
        dying(number)
        with pytest.raises(Killed):
            export(path)
        assert not (path / "saved_model.pb").exists()  # what tells an export from a folder comes last
        dying(0)
        export(path)
        assert contents(path) == whole


def test_a_file_whose_export_was_killed_at_any_renaming_is_exported_again(tmp_path, dying):
    def export(path):
        with atomic_file(path, ".tflite", vocabulary=Vocabulary(["a", "b"])) as temporary:
            temporary.write_text("model")

    renamed = dying(0)
    export(tmp_path / "model.tflite")
    assert len(renamed) == 2
    for number in (1, 2):
        dying(number)
        with pytest.raises(Killed):
            export(tmp_path / f"{number}.tflite")
        assert not (tmp_path / f"{number}.tflite").exists()
        dying(0)
        export(tmp_path / f"{number}.tflite")
        assert (tmp_path / f"{number}.tflite").read_text() == "model"
