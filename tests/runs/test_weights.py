import h5py
import keras
import numpy as np
import pytest

from kerasptb.models.weights import save_weights
from kerasptb.runs import RunError
from kerasptb.runs.weights import load_weights


def model(value=None):
    made = keras.Sequential([keras.Input([3]), keras.layers.Dense(400, name="one"), keras.layers.Dense(2, name="two")])
    if value is not None:
        made.set_weights([np.full(weight.shape, value, "float32") for weight in made.get_weights()])
    return made


def test_weights_come_back(tmp_path):
    path = tmp_path / "best.weights.h5"
    one, other = model(), model()
    save_weights(one, path)
    load_weights(other, path)
    for weight, expected in zip(other.get_weights(), one.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)


def test_keras_reads_them_with_the_state_of_the_optimizer(tmp_path):
    path = tmp_path / "best.weights.h5"
    one, other = model(), model()
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
    loaded = model(7.0)
    try:
        load_weights(loaded, path)
    except RunError as error:
        assert str(error).startswith(f"{path} is damaged (")
    else:  # nothing reads the bytes between the parts of the file
        assert all((weight == 1.0).all() for weight in loaded.get_weights())


@pytest.mark.parametrize("size", [0, 10, 2000])
def test_a_truncated_file_is_named(tmp_path, size):
    path = tmp_path / "best.weights.h5"
    save_weights(model(), path)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(RunError, match=r"best\.weights\.h5 is damaged"):
        load_weights(model(), path)


def test_an_array_larger_than_the_file_is_not_read(tmp_path):
    path = tmp_path / "best.weights.h5"
    save_weights(model(), path)
    with h5py.File(path, "r+") as file:
        file.create_dataset("huge", [2**38], "float32")  # it has no values yet
    with pytest.raises(RunError, match="its arrays are larger than the file"):
        load_weights(model(), path)


def test_a_value_that_was_changed_is_seen(tmp_path):
    path = tmp_path / "best.weights.h5"
    save_weights(model(1.0), path)
    with h5py.File(path, "r+") as file:
        names = []
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        file[names[0]][...] = 1.0 + 2.0**-20
    with pytest.raises(RunError, match="its digest is another"):
        load_weights(model(), path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused(tmp_path, value):
    path = tmp_path / "best.weights.h5"
    save_weights(model(value), path)
    with pytest.raises(RunError, match="not numbers: its training has diverged"):
        load_weights(model(), path)


def test_weights_that_no_training_wrote_are_refused(tmp_path):
    path = tmp_path / "best.weights.h5"
    model(3.0).save_weights(path)
    with pytest.raises(RunError, match=r"best\.weights\.h5 is damaged \(it has no digest\)"):
        load_weights(model(), path)
