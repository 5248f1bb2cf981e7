"""Saved models are loaded by whoever has imported the package, in whatever order."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

import kerasptb
from kerasptb.layers import Embedding, FusedLSTM, StatefulLSTM
from kerasptb.utils import registration

LOAD = """
import sys
import numpy as np
{imports}
for path in sys.argv[1:]:
    model = {load}(path + ".keras")
    found = model.predict(np.load(path + ".x.npy"), batch_size=4, verbose=0)
    assert np.abs(found - np.load(path + ".y.npy")).max() < 1e-6
    model.evaluate(np.load(path + ".x.npy"), np.load(path + ".x.npy"), batch_size=4, verbose=0)
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    x = np.random.default_rng(0).integers(0, 9, (4, 5)).astype("int32")
    ours = kerasptb.LanguageModel(9, 4, 6, batch_size=4, num_steps=5)
    ours.compile(kerasptb.optimizers.ClippedAdamW(kerasptb.optimizers.OneCycle(0.01, 10)))
    regularizer = kerasptb.regularizers.TemporalActivationRegularization(1.0)
    first = FusedLSTM(6, return_sequences=True, activity_regularizer=regularizer)
    layers = [first, StatefulLSTM(6, return_sequences=True), keras.layers.Dense(9)]
    plain = keras.Sequential([keras.Input((5,), batch_size=4, dtype="int32"), Embedding(9, 4), *layers])
    plain.compile("sgd", kerasptb.losses.SequenceCrossEntropy(), metrics=[kerasptb.metrics.Perplexity()])
    paths = []
    for name, model in (("ours", ours), ("plain", plain)):
        model.fit(x, x, batch_size=4, verbose=0)
        paths.append(str(folder / name))
        model.save(paths[-1] + ".keras")
        np.save(paths[-1] + ".x.npy", x)
        np.save(paths[-1] + ".y.npy", model.predict(x, batch_size=4, verbose=0))
    return paths


@pytest.mark.parametrize(
    ("imports", "load"),
    [
        ("import keras, kerasptb", "keras.saving.load_model"),
        pytest.param("import kerasptb\nimport tensorflow as tf", "tf.keras.models.load_model", marks=pytest.mark.slow),
        pytest.param(
            "from kerasptb.layers import FusedLSTM\nimport keras", "keras.saving.load_model", marks=pytest.mark.slow
        ),
    ],
    ids=["keras first", "keras after it", "with a part of it"],
)
@pytest.mark.slow
def test_a_saved_model_is_loaded_in_a_new_process(saved, imports, load):
    script = LOAD.format(imports=imports, load=load)
    result = subprocess.run([sys.executable, "-c", script, *saved], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]


def test_every_class_is_known():
    for name in kerasptb.__all__:
        getattr(kerasptb, name)
    registered = {name for name in keras.saving.get_custom_objects() if name.startswith("kerasptb>")}
    assert registered == {f"kerasptb>{name}" for name in registration._CLASSES}


def test_importing_the_package_imports_no_keras():
    script = "import sys, kerasptb; assert not {'keras', 'tensorflow', 'jax'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize(
    ("installed", "named", "configured", "chosen"),
    [
        (("jax", "torch"), None, None, "jax"),
        (("torch",), None, "tensorflow", "torch"),
        (("jax", "torch"), None, "torch", None),
        (("jax", "torch"), "torch", None, "torch"),
        (("tensorflow", "jax"), None, None, None),
        ((), None, None, None),
    ],
)
def test_a_framework_is_named_where_tensorflow_is_absent(tmp_path, monkeypatch, installed, named, configured, chosen):
    monkeypatch.setattr(registration.importlib.util, "find_spec", lambda name: name if name in installed else None)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setenv("KERAS_BACKEND", named or "")
    if configured:
        (tmp_path / "keras.json").write_text(json.dumps({"backend": configured}))
    registration.choose_backend()
    assert os.environ["KERAS_BACKEND"] == (chosen or "")


@pytest.mark.parametrize("content", ["", '{"backend": "ja', "[]"])
def test_settings_of_keras_that_are_none_are_passed_over_as_by_keras(tmp_path, monkeypatch, content):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    (tmp_path / "keras.json").write_text(content)
    assert registration.keras_backend() == "tensorflow"
