import itertools
import sys
import types
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


@pytest.fixture
def fake_trials(monkeypatch):
    """Lets trials plan their trainings and write results without one: perplexities that fall from epoch to epoch.

    For what is around the trainings; some of the searches train in earnest.
    """
    import kerasptb
    from kerasptb.run import Run
    from kerasptb.runs import files
    from kerasptb.training.asked import read_request
    from kerasptb.training.planning import plan_training

    epochs_of_all = itertools.count(1)

    def result_of(run):
        best = min(row["val_perplexity"] for row in run.history)
        metrics = {"words_per_second": 1.0, "train_perplexity": best, "epochs": len(run.history), "interrupted": False}
        return types.SimpleNamespace(folder=run.folder, history=run.history, metrics=metrics, load_model=lambda: best)

    def train(data=None, *, epochs, out, resume=False, callbacks=(), verbose=0, **asked):
        if resume:
            run = Run.open_resumed(out)
        else:
            plan = plan_training(read_request({"data": data, "epochs": epochs, **asked}), workers=1, begin=0.0)
            run = Run.create(out, plan.settings, plan.corpus.vocabulary)
        model, history = types.SimpleNamespace(stop_training=False), run.history
        for epoch in range(len(history), epochs):
            perplexity = 1.0 + 1.0 / next(epochs_of_all)
            history.append({"epoch": epoch + 1, "val_perplexity": perplexity, "learning_rate": 1.0})
            for callback in callbacks:
                callback.set_model(model)
                callback.on_epoch_end(epoch, history[-1])
            if model.stop_training:
                break
        files.write_rows(run.folder / files.HISTORY, history)
        return result_of(run)

    monkeypatch.setattr(kerasptb, "train", train)
    monkeypatch.setattr(kerasptb, "evaluate_perplexity", lambda perplexity, *_: perplexity)


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
