import errno
import hashlib
import json

import numpy as np
import pytest

from kerasptb.engine import open_network
from kerasptb.evaluation import CacheSettings, adaptation
from kerasptb.evaluation.adaptation import KeptSettings
from kerasptb.models import LanguageModel

WEIGHTS = [np.arange(6, dtype="float32").reshape(2, 3), np.ones(4, "float32")]
TUNED_FOR = {"weights": hashlib.sha256(b"".join(each.tobytes() for each in WEIGHTS)).hexdigest(), "corpus": "b"}


class Kept:
    """Asks for the settings of a run's folder, and counts what had to be tuned."""

    def __init__(self, folder):
        self.path, self.lines, self.tuned = folder / "adaptation.json", [], 0

    def ask(self, method="continuous_cache", weights=WEIGHTS, corpus=TUNED_FOR["corpus"], **others):
        def tune():
            self.tuned += 1
            return CacheSettings(0.5, 0.1 * self.tuned, 30)

        kept = KeptSettings(self.path, weights, corpus, self.lines.append)
        return kept.settings(method, CacheSettings, tune, **others)


@pytest.fixture
def kept(tmp_path):
    return Kept(tmp_path)


def test_settings_are_tuned_once(kept):
    assert [kept.ask(), kept.ask()] == [CacheSettings(0.5, 0.1, 30)] * 2
    assert kept.tuned == 1
    assert kept.lines == [
        f"Tuning the settings of continuous cache on the validation text; {kept.path} will keep them."
    ]
    expected = {"settings": {"theta": 0.5, "weight": 0.1, "window": 30}, "tuned_for": TUNED_FOR}
    assert json.loads(kept.path.read_text()) == {"continuous_cache": expected}


def test_settings_of_other_weights_are_tuned_again_and_those_of_other_methods_stay(kept):
    kept.ask("dynamic")
    kept.ask()
    others = [*WEIGHTS[:-1], np.zeros(4, "float32")]
    assert kept.ask(weights=others) == CacheSettings(0.5, 0.1 * 3, 30)
    assert (kept.ask("dynamic"), kept.tuned) == (CacheSettings(0.5, 0.1, 30), 3)
    assert kept.ask(num_steps=7) != kept.ask(weights=others)
    assert kept.tuned == 5
    assert kept.ask(corpus="c") != kept.ask()
    assert kept.tuned == 7


@pytest.mark.parametrize("damage", [lambda text: "{", lambda text: "[]", lambda text: '{"continuous_cache": 3}'])
def test_a_damaged_file_is_written_anew(kept, damage):
    kept.ask()
    kept.path.write_text(damage(kept.path.read_text()))
    assert (kept.ask(), kept.tuned) == (CacheSettings(0.5, 0.2, 30), 2)
    assert (kept.ask(), kept.tuned) == (CacheSettings(0.5, 0.2, 30), 2)


@pytest.mark.parametrize(("name", "value"), [("thetas", 1.0), ("weight", 2.0), ("weight", "much"), ("window", None)])
def test_settings_that_cannot_be_are_tuned_again(kept, name, value):
    kept.ask()
    content = json.loads(kept.path.read_text())
    content["continuous_cache"]["settings"][name] = value
    kept.path.write_text(json.dumps(content))
    assert (kept.ask(), kept.tuned) == (CacheSettings(0.5, 0.2, 30), 2)


def test_settings_that_cannot_be_kept_are_used(kept, monkeypatch):
    def refuse(path, value):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(adaptation, "write_json", refuse)
    assert kept.ask() == CacheSettings(0.5, 0.1, 30)
    assert kept.lines[1] == f"The settings could not be kept, and will be tuned again: Permission denied: {kept.path}"


@pytest.mark.parametrize("tied", [False, True])
def test_what_settings_depend_on(kept, tied):
    model = LanguageModel(5, 4, (4,), batch_size=1, num_steps=2, seed=0, tie_embeddings=tied)
    same = LanguageModel(5, 4, (4,), batch_size=7, num_steps=3, seed=0, tie_embeddings=tied)
    before = kept.ask(weights=open_network(model).weights)
    assert before == kept.ask(weights=open_network(same).weights)
    weights = model.get_weights()
    for weight in weights:
        flat = weight.reshape(-1)
        flat[-1] = np.nextafter(flat[-1], 1, dtype="float32")
        model.set_weights(weights)
        kept.ask(weights=open_network(model).weights)
    assert kept.tuned == 1 + len(weights)
