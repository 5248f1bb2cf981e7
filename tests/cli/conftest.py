import shutil

import numpy as np
import pytest

from kerasptb.cli import main

WORDS = ["one", "two", "three", "four", "<unk>", "N"]


@pytest.fixture(scope="session")
def texts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    random = np.random.default_rng(0)
    for split, lines in (("train", 400), ("valid", 100), ("test", 90)):
        (folder / f"{split}.txt").write_text("".join(" ".join(random.choice(WORDS, 3)) + "\n" for _ in range(lines)))
    return folder


@pytest.fixture(scope="session")
def sizes():
    """Options of a training: a model that is quick, and yet of files that do not fit where a test limits their size."""
    return ["--batch-size", "6", "--num-steps", "4", "--embedding-size", "16", "--units", "32", "24"]


@pytest.fixture(scope="session")
def run(texts, sizes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    asked = [*sizes, "--epochs", "2", "--seed", "1", "--counts", "none", "--out", str(folder)]
    assert main(["train", "--data", str(texts), *asked]) == 0
    return str(folder)


@pytest.fixture(scope="session")
def counted_run(run, tmp_path_factory):
    """The same run, with the counts of its training text."""
    folder = tmp_path_factory.mktemp("counted") / "run"
    shutil.copytree(run, folder)
    assert main(["count", str(folder)]) == 0
    return str(folder)


@pytest.fixture
def error_of(capsys):
    """Runs a command that fails, and returns its message."""

    def error(arguments, status=1):
        assert main(list(map(str, arguments))) == status
        output = capsys.readouterr()
        lines = output.err.strip().split("\n")
        assert len(lines) <= 2, output.err
        assert lines[0].startswith("kerasptb: ")
        assert "Traceback" not in output.err
        return output.err

    return error
