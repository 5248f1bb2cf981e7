import dataclasses
import json
import re

import numpy as np
import pytest

import kerasptb
from kerasptb.data import Vocabulary
from kerasptb.export import export_run
from kerasptb.models.weights import save_weights
from kerasptb.runs import RunError, RunFolder
from kerasptb.utils.errors import ExportError
from kerasptb.utils.files import write_json


@pytest.fixture(scope="module")
def run(subword_model, subwords, make_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    text = {
        "tokens": "subwords",
        "location": str(folder),
        "source": f"{folder}, of which the last tenth",
        "keep_lines": True,
    }
    run = make_run(folder, subwords, subword_model.get_config(), data=text)
    save_weights(subword_model, run.weights_path("best"))
    return run


@pytest.fixture
def exported(run, tmp_path):
    return export_run(run, tmp_path / "exported")


def test_weights_are_as_near_as_eight_bits_are(run, exported):
    model = kerasptb.load_run(exported).load_model()
    assert model.vocabulary_size == len(run.vocabulary)
    for found, weight in zip(model.get_weights(), run.load_model().get_weights(), strict=True):
        if weight.ndim == 1:
            np.testing.assert_array_equal(found, weight)
        else:
            step = np.abs(weight).max(axis=1, keepdims=True) / 127
            assert (np.abs(found - weight) <= step / 2 + 1e-7).all()
            assert np.abs(found - weight).max() > 0


def test_a_row_of_zeros_stays_one(run, subword_model, tmp_path):
    model = run.load_model()
    table = model.get_layer("embedding").get_weights()[0]
    table[3] = 0
    model.get_layer("embedding").set_weights([table])
    save_weights(model, run.weights_path("best"))
    exported = export_run(run.folder, tmp_path / "exported")
    save_weights(subword_model, run.weights_path("best"))
    assert not kerasptb.load_run(exported).load_model().get_layer("embedding").get_weights()[0][3].any()


def test_a_quarter_of_the_bytes_does_the_same_work(run, exported):
    assert sorted(path.name for path in exported.iterdir()) == ["config.json", "tokenizer.json", "weights.int8.npz"]
    assert (exported / "weights.int8.npz").stat().st_size < run.weights_path("best").stat().st_size / 2
    there = kerasptb.load_run(exported)
    (ours, *_), (theirs, *_) = there.suggest("Once upon a", 3), run.suggest("Once upon a", 3)
    assert ours.word == theirs.word
    assert ours.probability == pytest.approx(theirs.probability, rel=0.05)
    assert export_run(there, exported.with_name("again")).is_dir()


def test_nothing_tells_where_the_text_lay(run, exported):
    settings = json.loads((exported / "config.json").read_text())
    assert run.settings.data.location is not None
    assert settings["data"].get("location") is None
    assert str(run.folder) not in (exported / "config.json").read_text()


@pytest.mark.parametrize(("start", "kept"), [("english", "english"), ("/home/a/run", None)])
def test_what_english_had_read_goes_with_what_began_with_it(make_run, tmp_path, start, kept):
    settings = {"vocabulary_size": 2, "embedding_size": 4, "units": [5], "batch_size": 2, "num_steps": 3}
    training = {"preset": "auto", "epochs": 1, "start_from": start}
    run = make_run(tmp_path / "run", Vocabulary(["a", "<unk>"]), settings, training=training)
    save_weights(kerasptb.LanguageModel(**settings), run.weights_path("best"))
    assert kerasptb.load_run(export_run(run, tmp_path / "there")).settings.training.start_from == kept


def test_figures_of_counts_stay_behind_with_them(run, tmp_path):
    figures = {"test_bits_per_byte": 2.0, "test_bits_per_byte_with_counts": 1.5}
    path = run.folder / "metrics.json"
    path.write_text(json.dumps({**figures, "test_bits_per_byte_with_counts_going_on": 1.25}))
    exported = export_run(kerasptb.load_run(run.folder), tmp_path / "exported")
    path.unlink()
    assert json.loads((exported / "metrics.json").read_text()) == {"test_bits_per_byte": 2.0}


def test_another_text_is_read_as_it_is_written(exported, tmp_path):
    line = "A line of a wrapped text ends where the margin is, in the\n"
    (tmp_path / "letters.txt").write_text(f"{line}middle of what it says, and the next one goes on there.\n\n" * 100)
    corpus = kerasptb.load_run(exported).load_corpus(tmp_path / "letters.txt")
    assert sum(count.joined for count in corpus.counts.values()) == 100


def test_any_machine_computes_it(run, tmp_path):
    model = dataclasses.replace(run.settings.model, backend="native", precision="bfloat16")
    recorded = dataclasses.replace(run, settings=dataclasses.replace(run.settings, model=model))
    write_json(run.folder / "config.json", recorded.settings.to_config())
    exported = export_run(run.folder, tmp_path / "exported")
    write_json(run.folder / "config.json", run.settings.to_config())
    settings = kerasptb.load_run(exported).settings.model
    assert (settings.backend, settings.precision) == ("auto", "float32")


def test_what_needs_the_text_says_that_it_is_not_there(exported):
    there = kerasptb.load_run(exported)
    with pytest.raises(RunError, match=r"was exported without the text .* Name another with --data"):
        there.load_corpus()
    with pytest.raises(RunError, match=r"was exported with its best weights alone\. Received: weights='?\"?last"):
        there.load_model(weights="last")


def test_it_is_not_resumed(exported):
    with pytest.raises(
        RunError, match=rf"it has no checkpoint\. Begin a new training with --from {re.escape(str(exported))}"
    ):
        RunFolder.open_resumed(exported)


def test_a_model_alone_has_no_settings(subword_model, tmp_path):
    with pytest.raises(ExportError, match=r"Expected a run, of which more .* is written\. Received: LanguageModel"):
        export_run(subword_model, tmp_path / "exported")


@pytest.mark.parametrize("place", [0.5, -4])  # -4: where the archive's directory begins, before the file then
def test_damage_is_told_in_a_line(exported, place):
    weights = exported / "weights.int8.npz"
    content = bytearray(weights.read_bytes())
    content[int(len(content) * place) if place > 0 else place] ^= 0xFF
    weights.write_bytes(content)
    with pytest.raises(RunError, match=r"weights.int8.npz is damaged .*Export the run anew"):
        kerasptb.load_run(exported).load_model()


def test_weights_of_another_model_are_refused(exported, run):
    path = exported / "weights.int8.npz"
    with np.load(path) as file:
        arrays = dict(file)
    name = next(name for name, value in arrays.items() if value.ndim == 2 and not name.endswith("scale"))
    for other in (arrays[name][:-1], arrays[name].astype("float16"), np.tile(arrays[name], (1, 9))):
        np.savez(path, **{**arrays, name: other})
        with pytest.raises(RunError, match=r"is no int8 .*, which its config.json's model has.*Export the run anew"):
            kerasptb.load_run(exported).load_model()
    np.savez(path, **{**arrays, name + "/scale": arrays[name + "/scale"] * np.nan})
    with pytest.raises(RunError, match="has values that are not numbers"):
        kerasptb.load_run(exported).load_model()
    del arrays[name]
    np.savez(path, **arrays)
    with pytest.raises(RunError, match=r"it has no .*: its config.json is of another model"):
        kerasptb.load_run(exported).load_model()
