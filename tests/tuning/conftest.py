import sys
from pathlib import Path

import numpy as np
import pytest

# Workers are processes of their own: they import the spaces of the tests by name.
sys.path.insert(0, str(Path(__file__).parent))

WORDS = [f"w{i}" for i in range(20)] + ["<unk>", "N"]


def pytest_collection_modifyitems(items):
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            # KerasTuner 1.4.8 asks for its thread by names that Python has deprecated.
            for name in ("currentThread", "getName"):
                item.add_marker(pytest.mark.filterwarnings(f"ignore:{name}:DeprecationWarning"))


@pytest.fixture(autouse=True)
def _short_trainings(no_pictures, no_figures):
    """The pictures are looked at in test_leaderboard.py, and where a fixture of the module makes a search."""
    no_pictures.setattr("kerasptb.tuning.plots.plot_search", lambda trials, folder: [])
    # Keras and KerasTuner collect garbage for every trial. What is alive in a process of tests takes them longer to
    # look through than the trial takes.
    no_pictures.setattr("gc.collect", lambda *_: 0)


@pytest.fixture(scope="session")
def texts(tmp_path_factory):
    """A folder of three small texts."""
    folder = tmp_path_factory.mktemp("texts")
    random = np.random.default_rng(0)
    for split, lines in (("train", 300), ("valid", 60), ("test", 50)):
        rows = [" ".join(random.choice(WORDS, 6)) for _ in range(lines)]
        (folder / f"{split}.txt").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="session")
def corpus(texts):
    import kerasptb

    return kerasptb.load_corpus(texts)
