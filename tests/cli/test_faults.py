"""Whatever is wrong with a run's files or the disk: a line that names the file, and nothing half done."""

import contextlib
import io
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasptb.cli import arguments, main

FILES = (
    "config.json",
    "vocabulary.txt",
    "best.weights.h5",
    "best.copy.weights.h5",
    "last.weights.h5",
    "resume.npz",
    "history.csv",
    "metrics.json",
    "adaptation.json",
)


@pytest.fixture
def copy(run, tmp_path):
    return Path(shutil.copytree(run, tmp_path / "run"))


@pytest.fixture(scope="module")
def sound(run):
    """What evaluation of the sound run says."""
    with contextlib.redirect_stdout(io.StringIO()) as output:
        assert main(["evaluate", run, "--json"]) == 0
    return output.getvalue()


def damage(path, how):
    content = bytearray(path.read_bytes()) if path.exists() else bytearray(b"{}")
    random = np.random.default_rng(0)
    if how == "truncated":
        content = content[: len(content) * 2 // 3]
    elif how == "emptied":
        content = bytearray()
    else:
        places = random.integers(0, len(content), max(len(content) // 50, 20))
        for place in places:
            content[place] = random.integers(256)
    path.write_bytes(content)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", ["truncated", "emptied", "scrambled"])
@pytest.mark.fast_cases(3)
def test_a_damaged_file_is_named_or_does_not_matter(request, copy, sound, error_of, capsys, name, how):
    damage(copy / name, how)
    needed = name in ("config.json", "vocabulary.txt", "best.weights.h5")
    if needed:
        assert f"{copy / name} is damaged" in error_of(["evaluate", copy])
    else:
        assert main(["evaluate", str(copy), "--json"]) == 0
        assert capsys.readouterr().out == sound
    before = {path: path.read_bytes() for path in copy.iterdir() if path.is_file()}
    resume = ["train", "--resume", "--out", str(copy), "--epochs", "3"]
    if name in ("config.json", "vocabulary.txt"):
        assert f"{copy / name} is damaged" in error_of(resume)
        assert {path: path.read_bytes() for path in copy.iterdir() if path.is_file()} == before
        return
    if how == "emptied":
        return
    # All else is written anew; from the checkpoint before, if the latest is damaged.
    request.getfixturevalue("no_steps")
    assert main(resume) == 0
    capsys.readouterr()
    assert main(["evaluate", str(copy)]) == 0
    assert len((copy / "history.csv").read_text().splitlines()) == 4
    assert json.loads((copy / "metrics.json").read_text())["epochs"] == 3


def commands(run, texts, out):
    sizes = ["--batch-size", "6", "--num-steps", "4", "--epochs", "1"]
    return {
        "train": ["train", "--data", str(texts), *sizes, "--out", out],
        "export": ["export", run, "--to", out],
        "litert": ["export", run, "--format", "litert", "--to", f"{out}.tflite"],
    }


@pytest.mark.parametrize(
    ("name", "size"), [("train", 0), ("train", 1000), ("train", 30_000), ("export", 30_000), ("litert", 30_000)]
)
@pytest.mark.fast_cases(1)
def test_a_full_disk_is_told_in_a_line(no_steps, run, texts, tmp_path, error_of, room_for, name, size):
    out = tmp_path / "out"
    command = commands(run, texts, str(out / "new"))[name]
    out.mkdir()
    with room_for(size):
        told = error_of(command)
    assert any(reason in told for reason in ("File too large", "No space", "RESOURCE_EXHAUSTED"))
    assert [path for path in out.rglob("*") if path.is_file()] == []
    assert main(command) == 0  # once there is room


@pytest.mark.parametrize("name", ["train", "export", "litert"])
def test_a_folder_that_cannot_be_written_is_told_in_a_line(run, texts, tmp_path, error_of, name):
    (tmp_path / "file").write_text("this is no folder")
    assert "file" in error_of(commands(run, texts, str(tmp_path / "file" / "new"))[name])
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


NUMBERS = st.one_of(
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from(["", "1e999", "-0", "0x10", "1_0", "٣", " 3", "NaN"]),
    st.text(),
)
TYPES = {
    "port": lambda value: 0 <= value <= 65535,
    "rate": lambda value: 0 <= value < math.inf,
    "positive": lambda value: value >= 1,
}


@given(name=st.sampled_from(sorted(TYPES)), text=NUMBERS)
@settings(max_examples=400)
def test_a_number_of_the_command_line_is_in_range_or_refused(name, text):
    try:
        value = getattr(arguments, name)(text)
    except Exception as error:
        assert type(error).__name__ == "ArgumentTypeError"
        assert str(error).startswith("expected ")
    else:
        assert TYPES[name](value)


@given(
    st.lists(
        st.one_of(NUMBERS, st.sampled_from(["--epochs", "--seed", "--units", "--preset", "--out", "--data"])),
        max_size=6,
    )
)
@settings(max_examples=100)
def test_wrong_arguments_have_status_2_and_touch_nothing(words):
    before = set(Path.cwd().iterdir())
    words = ["--epochs", "-1", *[word for word in words if word not in ("-h", "--help")]]
    with contextlib.redirect_stderr(None), contextlib.redirect_stdout(None):
        assert main(["train", *words]) == 2
    assert set(Path.cwd().iterdir()) == before
