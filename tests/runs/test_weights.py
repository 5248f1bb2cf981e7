import io
import logging
import os
import zipfile

import h5py
import keras
import numpy as np
import pytest

from kerasptb.arguments import ModelArguments
from kerasptb.data import Vocabulary
from kerasptb.engine.quantized import write_quantized
from kerasptb.models import LanguageModel
from kerasptb.models.weights import save_weights
from kerasptb.native import NativeUnavailableError
from kerasptb.runs import RunError, weights
from kerasptb.runs.weights import is_whole, load_network, mend_weights, read_checked

SIZES = {"vocabulary_size": 9, "embedding_size": 3, "units": (40, 3), "batch_size": 2, "num_steps": 3}
ARGUMENTS = ModelArguments(**SIZES)


def model(value=None, **arguments):
    made = LanguageModel(**SIZES, **arguments)
    if value is not None:
        made.set_weights([np.full(weight.shape, value, "float32") for weight in made.get_weights()])
    return made


def assert_weights(found, made):
    for weight, expected in zip(found, made.get_weights(), strict=True):
        assert weight.dtype == "float32"
        np.testing.assert_array_equal(weight, expected)


def test_weights_come_back(tmp_path):
    path = tmp_path / "best.weights.h5"
    one = model(seed=3)
    save_weights(one, path)
    assert_weights(read_checked(path, ARGUMENTS), one)


@pytest.mark.parametrize("changes", [{}, {"cell": "mogrifier", "tie_embeddings": True}, {"projection": True}])
def test_a_run_s_model_and_network_have_its_weights(tmp_path, make_run, changes):
    one = model(seed=3, init_scale=1.0, **changes)
    run = make_run(tmp_path / "run", Vocabulary([f"w{i}" for i in range(9)]), one.get_config())
    save_weights(one, run.weights_path("best"), run.weights_path("last"))
    for which in "best", "last":
        loaded = run.load_model(weights=which)
        assert_weights(loaded.get_weights(), one)
        assert loaded.compiled
        for weight, expected in zip(run.load_network(which).weights, one.open_network().weights, strict=True):
            np.testing.assert_array_equal(weight, expected)
    assert run.load_model(batch_size=5).batch_size == 5


def test_keras_reads_them_with_the_state_of_the_optimizer(tmp_path):
    path = tmp_path / "best.weights.h5"
    one, other = (keras.Sequential([keras.Input([3]), keras.layers.Dense(2)]) for _ in range(2))
    for made in (one, other):
        made.compile("adam", "mse")
    one.fit(np.ones([4, 3]), np.ones([4, 2]), verbose=0)
    save_weights(one, path)
    one.save_weights(tmp_path / "keras.weights.h5")
    for file in (path, tmp_path / "keras.weights.h5"):
        other.optimizer.build(other.trainable_variables)
        other.load_weights(file)
        for variable, expected in zip(other.optimizer.variables, one.optimizer.variables, strict=True):
            np.testing.assert_array_equal(variable, expected)


def test_a_full_disk_is_an_error_however_large_the_optimizer(tmp_path, room_for):
    path = tmp_path / "best.weights.h5"
    made = keras.Sequential([keras.Input([3]), keras.layers.Dense(100_000)])
    made.compile("adam", "mse")
    made.optimizer.build(made.trainable_variables)
    save_weights(made, path)
    before = path.read_bytes()
    with room_for(len(before) - 1), pytest.raises(OSError, match=f"File too large: '{path}'"):
        save_weights(made, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("seed", range(8))
def test_random_bytes_are_seen_or_do_nothing(tmp_path, seed):
    path, random = tmp_path / "best.weights.h5", np.random.default_rng(seed)
    save_weights(model(1.0), path)
    content = bytearray(path.read_bytes())
    start = random.integers(len(content))
    content[start : start + 50] = random.bytes(len(content[start : start + 50]))
    path.write_bytes(content)
    try:
        loaded = read_checked(path, ARGUMENTS)
    except RunError as error:
        assert str(error).startswith(f"{path} is damaged (")
        assert not is_whole(path)
    else:  # nothing reads the bytes between the parts of the file
        assert_weights(loaded, model(1.0))


@pytest.mark.parametrize("size", [0, 10, 2000])
def test_a_truncated_file_is_named(tmp_path, size):
    path = tmp_path / "best.weights.h5"
    save_weights(model(), path)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(RunError, match=r"best\.weights\.h5 is damaged"):
        read_checked(path, ARGUMENTS)


def test_an_array_larger_than_the_file_is_not_read(tmp_path):
    path = tmp_path / "best.weights.h5"
    save_weights(model(), path)
    with h5py.File(path, "r+") as file:
        file.create_dataset("huge", [2**38], "float32")  # it has no values yet
    with pytest.raises(RunError, match="its arrays are larger than the file"):
        read_checked(path, ARGUMENTS)


@pytest.mark.parametrize("how", ["a link", "a pipe"])
def test_arrays_in_other_files_are_not_read(tmp_path, how):
    path, place, pipe = tmp_path / "best.weights.h5", "layers/embedding/vars/0", tmp_path / "pipe"
    save_weights(model(), path)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["values"] = np.zeros((9, 3), "float32")
    os.mkfifo(pipe)
    with h5py.File(path, "r+") as file:
        del file[place]
        if how == "a link":
            file[place] = h5py.ExternalLink("other.h5", "values")
            file.attrs[weights.DIGEST] = weights.digest(file)
        else:
            file.create_dataset(place, (9, 3), "float32", external=[(str(pipe), 0, 108)])
    with pytest.raises(RunError, match="it has no layers/embedding" if how == "a link" else "arrays in other files"):
        read_checked(path, ARGUMENTS)


def test_a_value_that_was_changed_is_seen(tmp_path):
    path = tmp_path / "best.weights.h5"
    save_weights(model(1.0), path)
    with h5py.File(path, "r+") as file:
        names = []
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        file[names[0]][...] = 1.0 + 2.0**-20
    with pytest.raises(RunError, match="its digest is another"):
        read_checked(path, ARGUMENTS)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused(tmp_path, value):
    path = tmp_path / "best.weights.h5"
    save_weights(model(value), path)
    with pytest.raises(RunError, match="not numbers: its training has diverged"):
        read_checked(path, ARGUMENTS)


def test_weights_that_no_training_wrote_are_refused(tmp_path):
    path = tmp_path / "best.weights.h5"
    model(3.0).save_weights(path)
    with pytest.raises(RunError, match=r"best\.weights\.h5 is damaged \(it has no digest\)"):
        read_checked(path, ARGUMENTS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cell": "gru"}, r"has no layers/stateful_rnn/cell/vars/0: its config\.json is of another model"),
        ({"units": (40, 3, 3)}, r"has no layers/stateful_lstm_2/cell/vars/0: its config\.json is of another model"),
        ({"tie_embeddings": True}, r"has no layers/tied_dense/vars/0: its config\.json is of another model"),
        ({"projection": True}, r"projection/kernel is \(3, 9\), where its config\.json's model has \(3, 3\)"),
        ({"units": (41, 3)}, r"lstm_0/lstm_cell/kernel is \(3, 160\), where its config\.json's model has \(3, 164\)"),
        ({"vocabulary_size": 8}, r"embedding/embeddings is \(9, 3\), where its config\.json's model has \(8, 3\)"),
    ],
    ids=lambda each: next(iter(each)) if isinstance(each, dict) else "",
)
def test_weights_of_another_model_are_refused(tmp_path, changes, message):
    path = tmp_path / "best.weights.h5"
    save_weights(model(), path)
    with pytest.raises(RunError, match=rf"best\.weights\.h5 is damaged \(.*{message}"):
        read_checked(path, ModelArguments(**{**SIZES, **changes}))


def of_8_bits(made, path):
    """Writes weights in 8 bits, and returns what comes back."""
    write_quantized(path, {weight.path: np.asarray(weight) for weight in made.weights})
    return load_network(path, ARGUMENTS, {}).weights


def test_weights_in_8_bits(tmp_path):
    one = model(seed=3)
    for found, weight in zip(of_8_bits(one, tmp_path / "weights.npz"), one.open_network().weights, strict=True):
        np.testing.assert_allclose(found, weight, rtol=0, atol=np.abs(weight).max() / 127 / 2 * 1.01)


def test_the_array_that_was_measured_is_read(tmp_path):
    path, larger = tmp_path / "weights.npz", io.BytesIO()
    expected = of_8_bits(model(seed=3), path)
    np.save(larger, np.zeros((2000, 2000), "float32"))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("logits/bias", larger.getvalue())
    for found, weight in zip(load_network(path, ARGUMENTS, {}).weights, expected, strict=True):
        np.testing.assert_array_equal(found, weight)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_scale_that_is_no_number_is_refused(tmp_path, value):
    path = tmp_path / "weights.npz"
    of_8_bits(model(), path)
    with np.load(path) as arrays:
        values = dict(arrays)
    values["logits/kernel/scale"][0] = value
    np.savez(path, **values)
    with pytest.raises(RunError, match=r"weights\.npz is damaged \(.*not numbers.*Export the run anew"):
        read_checked(path, ARGUMENTS)


def test_what_a_run_names_and_is_not_there_is_an_error(tmp_path, monkeypatch):
    path, missing = tmp_path / "best.weights.h5", "It has no kernels."
    one = model(seed=3)
    save_weights(one, path)
    monkeypatch.setattr(weights, "why_not", lambda precision: missing)
    monkeypatch.setattr("kerasptb.engine.network.why_not", lambda precision: missing)

    def load(changes=(), **own):
        return load_network(path, ModelArguments(**SIZES, **own), dict(changes))

    for own in {}, {"dtype": "mixed_bfloat16"}:  # which need none
        assert (load(**own).on_library, load(**own).precision) == (False, "float32")
    for named in {"backend": "native"}, {"precision": "bfloat16"}:
        for changes, own in (named, {}), ({}, named):
            with pytest.raises(NativeUnavailableError, match=missing):
                load(changes, **own)


@pytest.mark.parametrize("backend", ["keras", "reference"])
def test_what_computes_in_float32_alone_does_so(tmp_path, backend):
    path = tmp_path / "best.weights.h5"
    save_weights(model(), path)
    for own in {}, {"dtype": "mixed_bfloat16"}:
        network = load_network(path, ModelArguments(**SIZES, backend=backend, **own), {})
        assert (network.on_library, network.precision) == (False, "float32")
    with pytest.raises(ValueError, match='is available only with backend="native" or "auto"'):
        load_network(path, ModelArguments(**SIZES, precision="bfloat16"), {"backend": backend})


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64", "mixed_bfloat16"])
def test_weights_of_other_types_are_read_in_float32(tmp_path, dtype):
    path = tmp_path / "best.weights.h5"
    one = model(seed=3, dtype=dtype)
    save_weights(one, path)
    for found, weight in zip(read_checked(path, ARGUMENTS), one.get_weights(), strict=True):
        assert found.dtype == "float32"
        np.testing.assert_array_equal(found, np.asarray(weight, "float32"))


def test_a_damaged_copy_is_written_anew_from_the_other(tmp_path, caplog):
    path, copy = tmp_path / "last.weights.h5", tmp_path / "teacher.weights.h5"
    save_weights(model(1.0), path, copy)
    whole = path.read_bytes()
    with caplog.at_level(logging.WARNING):
        mend_weights(path, copy)
        assert caplog.records == []
        for file, damage in ((path, path.unlink), (copy, lambda: copy.write_bytes(whole[:1000]))):
            damage()
            assert not is_whole(file)
            mend_weights(path, copy)
            assert path.read_bytes() == copy.read_bytes() == whole
            assert caplog.records.pop().getMessage().startswith(f"{file} is damaged or gone. It is written anew")
    path.unlink()
    copy.write_bytes(b"")
    with pytest.raises(RunError, match=r"Neither .* nor teacher\.weights\.h5 is whole"):
        mend_weights(path, copy)
