"""The walks of the pages: their commands and scripts run as they stand, one after another, in an empty folder."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
import pytest

import kerasptb

ROOT = Path(__file__).parents[1]


@pytest.fixture
def walk(tmp_path, monkeypatch):
    """A function that runs each block of a page, and returns what each printed; `kerasptb` is on the path."""
    script = tmp_path / "bin" / "kerasptb"
    script.parent.mkdir()
    script.write_text(f"#!{sys.executable}\nimport sys\n\nfrom kerasptb.cli import main\n\nsys.exit(main())\n")
    script.chmod(0o755)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    paths = {"PATH": f"{script.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}

    def run(page):
        printed = []
        for language, block in re.findall(r"^```(sh|python|c)\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
            if language == "c":
                Path("main.c").write_text(block)
                continue
            command = ["sh", "-ec", block] if language == "sh" else [sys.executable, "-c", block]
            done = subprocess.run(command, env={**os.environ, **paths}, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
            printed.append(done.stdout)
        return printed

    return run


def page(name):
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_novel_to_a_keyboard(walk):
    Path("novel.txt").write_text("\n".join(topics.values())[:30_000], encoding="utf-8")  # Python's manual
    trained, more = walk(page("walk-novel.md"))
    assert "begins with the weights of the model of English" in trained
    assert len(re.findall(r"^ +\d+\.\d\d%  \S+$", trained, re.MULTILINE)) == 5
    assert more.startswith("She was ")
    assert len(more.split()) > 30
    assert 4e6 < Path("keyboard.html").stat().st_size < 8e6
    assert "<title>novel" in Path("keyboard.html").read_text(encoding="utf-8")
    assert Path("novel-c/model.c").is_file()


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("cc"), reason="there is no C compiler")
def test_a_forecaster_to_c(walk):
    *_, without_keras, in_c = walk(page("walk-forecaster.md"))
    assert float(without_keras) == pytest.approx(np.sin(4), abs=0.5)  # three epochs: the sign and the size
    frozen, state, expected = kerasptb.load_frozen("forecaster.frozen"), None, []
    for value in (0.0, 0.0666, 0.1329):
        forecast, state = frozen.step(np.array([[value]], "float32"), state)
        expected.append(forecast.item())
    np.testing.assert_allclose([float(line) for line in in_c.split()], expected, atol=1e-4)


@pytest.mark.slow
def test_the_penn_treebank_as_in_the_tutorial(walk, monkeypatch, tmp_path):
    """A text in its form, of a grammar of four words, takes its place."""
    draw = np.random.default_rng(1)
    for part, lines in (("train", 1800), ("valid", 300), ("test", 300)):
        text = "".join(f" the price of {'oil' if x else '<unk>'} rose N % \n" for x in draw.random(lines) < 0.9)
        (tmp_path / f"ptb.{part}.txt").write_text(text)
    monkeypatch.setenv("KERASPTB_DATA", str(tmp_path))
    (printed,) = walk(page("original.md"))
    assert "oil" in printed
