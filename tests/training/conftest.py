import json
import shutil

import pytest
from small_trainings import train

import kerasptb


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """`train` of as many epochs and no other settings, made once and copied: for tests of what comes afterwards."""
    made = {}

    def copy(out, epochs=3):
        key = epochs, kerasptb.LanguageModel.make_train_function  # another one with `no_steps`
        if key not in made:
            made[key] = train(tmp_path_factory.mktemp("trained") / "run", epochs=epochs).folder
        return kerasptb.load_run(shutil.copytree(made[key], out))

    return copy


@pytest.fixture(autouse=True)
def _no_pictures(request, no_pictures):
    """One test looks at the picture of the curves."""
    if request.node.name == "test_leaves_a_run_folder":
        no_pictures.undo()


@pytest.fixture(autouse=True)
def _no_figures(no_figures):
    """Tests of `figures` measure the test text."""


@pytest.fixture
def figures(no_figures):
    no_figures.undo()


@pytest.fixture
def begin(tmp_path, monkeypatch):
    """`train` to where the model would be fitted; returns the model, and the run's settings."""

    def begun(**kwargs):
        seen = []

        def fit(model, *_, **__):
            seen.extend([model, json.loads((tmp_path / "begun" / "config.json").read_text())])
            raise InterruptedError

        with monkeypatch.context() as patch, pytest.raises(InterruptedError):
            patch.setattr(kerasptb.LanguageModel, "fit", fit)
            train(tmp_path / "begun", **kwargs)
        return seen

    return begun
