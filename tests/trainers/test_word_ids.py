"""Word ids out of range: found in the data, before a step is given them, compiled or not."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasptb.losses import SparseCategoricalCrossentropy
from kerasptb.models import LanguageModel
from kerasptb.pipeline import make_dataset

V, B, T, WRONG = 23, 4, 5, 4  # the batch that has the id
TEXT = np.random.default_rng(0).integers(0, V, 204).astype("int32")
BATCHES = list(make_dataset(TEXT, B, T).as_numpy_iterator())
ERRORS = (ValueError, tf.errors.InvalidArgumentError)


class Sequence(keras.utils.PyDataset):
    def __init__(self, batches):
        super().__init__()
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        return self.batches[index]


def arrays(batches):
    return [np.concatenate(part) for part in zip(*batches, strict=True)]


def dataset(batches):
    return tf.data.Dataset.from_tensor_slices(tuple(map(np.stack, zip(*batches, strict=True))))


SOURCES = {
    "arrays": arrays,
    "dataset": lambda batches: [dataset(batches)],
    "open batch size": lambda batches: [tf.data.Dataset.from_tensor_slices(tuple(arrays(batches))).batch(B)],
    "int64": lambda batches: [dataset(batches).map(lambda x, y: (tf.cast(x, tf.int64), tf.cast(y, tf.int64)))],
    "PyDataset": lambda batches: [Sequence(batches)],
    "generator": lambda batches: [(batch for batch in batches)],
}


def with_id(wrong_id, part):
    batches = [[part.copy() for part in batch] for batch in BATCHES]
    batches[WRONG][part][1, 2] = wrong_id
    return [tuple(batch) for batch in batches]


def compiled_model(**arguments):
    model = LanguageModel(V, 6, 8, B, T, seed=3)
    model.compile(**{"jit_compile": False, **arguments})
    return model


def message(wrong_id, part):
    return rf"(?s)Expected word ids in \[0, 23\).*Received: in the {('inputs', 'targets')[part]}\]? \[?{wrong_id}\b"


@functools.cache
def weights_after(batches):
    model = compiled_model()
    if batches:
        model.fit(dataset(BATCHES[:batches]), verbose=0)
    return model.get_weights()


def assert_trained_on(model, batches):
    """The weights are those after so many steps."""
    for found, expected in zip(model.get_weights(), weights_after(batches), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
@pytest.mark.parametrize(
    ("source", "wrong_id", "part"), list(zip(SOURCES, 3 * (V, -3), (0, 1, 1, 0, 0, 1), strict=True))
)
def test_training_stops_before_the_step(source, wrong_id, part):
    model = compiled_model()
    with pytest.raises(ERRORS, match=message(wrong_id, part)):
        model.fit(*SOURCES[source](with_id(wrong_id, part)), verbose=0)
    assert_trained_on(model, 0 if source == "arrays" else WRONG)
    with pytest.raises(ERRORS, match=message(wrong_id, part)):
        model.evaluate(*SOURCES[source](with_id(wrong_id, part)), verbose=0)


@pytest.mark.parametrize(("size", "trained"), [(1, WRONG), (3, 3)])
def test_a_compiled_step_or_a_group_of_them_is_not_begun(native_library, size, trained):
    for wrong_id, part in ((V, 0), (-1, 1)):
        model = compiled_model(jit_compile=None, steps_per_execution=size)
        assert model.jit_compile is True
        with pytest.raises(tf.errors.InvalidArgumentError, match=message(wrong_id, part)):
            model.fit(dataset(with_id(wrong_id, part)), verbose=0)
        assert_trained_on(model, trained)


def test_predictions_and_single_batches_are_checked():
    model, wrong = compiled_model(), with_id(V, 0)
    for data in (arrays(wrong)[0], dataset(wrong).map(lambda x, y: x), dataset(wrong).map(lambda x, y: (x,))):
        with pytest.raises(ERRORS, match=message(V, 0)):
            model.predict(data, verbose=0)
    for call in (model.train_on_batch, model.test_on_batch):
        for part in (0, 1):
            with pytest.raises(ValueError, match=message(-1, part)):
                call(*with_id(-1, part)[WRONG])
    with pytest.raises(ValueError, match=message(V, 0)):
        model.predict_on_batch(wrong[WRONG][0])
    assert_trained_on(model, 0)


def test_arrays_of_validation_are_checked_before_training_and_others_when_they_are_read():
    model, wrong = compiled_model(), with_id(V, 1)
    with pytest.raises(ValueError, match=message(V, 1)):
        model.fit(*arrays(BATCHES), validation_data=tuple(arrays(wrong)), verbose=0)
    assert_trained_on(model, 0)
    with pytest.raises(tf.errors.InvalidArgumentError, match=message(V, 1)):
        model.fit(dataset(BATCHES), validation_data=dataset(wrong), verbose=0)
    assert_trained_on(model, len(BATCHES))


def test_ids_that_the_loss_ignores_may_be_out_of_range():
    loss = SparseCategoricalCrossentropy(ignore_class=-1)
    for source in ("arrays", "dataset"):
        model = compiled_model(loss=loss, metrics=[])
        assert np.isfinite(model.fit(*SOURCES[source](with_id(-1, 1)), verbose=0).history["loss"][0])
        for wrong in (with_id(-1, 0), with_id(-2, 1)):
            with pytest.raises(ERRORS, match="Expected word ids"):
                model.fit(*SOURCES[source](wrong), verbose=0)


def test_ids_that_are_no_whole_numbers_are_refused_and_those_of_a_float_type_are_taken():
    x, y = arrays(BATCHES)
    expected = compiled_model().evaluate(x, y, verbose=0)
    for source in ("arrays", "dataset"):
        model = compiled_model()
        whole = [(x.astype("float32"), y.astype("float64")) for x, y in BATCHES]
        assert model.evaluate(*SOURCES[source](whole), verbose=0) == pytest.approx(expected, rel=1e-6)
        for part in (0, 1):
            wrong = [tuple(half.astype("float32") for half in batch) for batch in BATCHES]
            wrong[WRONG][part][1, 2] = 2.5
            with pytest.raises(ERRORS, match=r"(?s)Expected .*Received: .*2\.5"):
                model.evaluate(*SOURCES[source](wrong), verbose=0)


def test_data_without_a_word_are_refused():
    model, none = compiled_model(), np.zeros((0, T), "int32")
    for call in (model.fit, model.evaluate):
        with pytest.raises(ValueError, match=r"at least one row of words\. Received: inputs of shape \(0, 5\)"):
            call(none, none)
    for x in (none, np.zeros((B, 0), "int32")):
        with pytest.raises(ValueError, match="at least one row of words"):
            model.predict(x)
    with pytest.raises(ValueError, match="at least one batch"):
        model.predict(dataset(BATCHES).map(lambda x, y: x).take(0))


def test_targets_of_ones_own_loss_are_its_own_affair():
    model = compiled_model(loss=lambda y, z: keras.ops.mean(z, (1, 2)) + keras.ops.cast(y[:, 0], "float32"), metrics=[])
    assert np.isfinite(model.fit(*arrays(with_id(-100, 1)), verbose=0).history["loss"][0])
