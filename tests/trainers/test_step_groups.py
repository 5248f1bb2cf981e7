"""Several steps as one XLA program: what is computed, what Keras and its callbacks see, and where it is not used."""

import functools
import re
from collections import Counter

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasptb.models import LanguageModel
from kerasptb.pipeline import make_dataset
from kerasptb.trainers import step_groups
from kerasptb.trainers import tensorflow as trainer

V, B, T = 23, 4, 5
TEXT = np.random.default_rng(0).integers(0, V, 404).astype("int32")
BATCHES = make_dataset(TEXT, B, T)  # 20
VALID = make_dataset(TEXT[:100], 2, 7)  # 7


@pytest.fixture(autouse=True)
def _native(native_library):
    pass


@pytest.fixture
def programs(monkeypatch):
    """The sizes of the groups for which functions have been made."""
    made = []

    def function_of_groups(step, results, size):
        made.append(size)
        return step_groups.function_of_groups(step, results, size)

    monkeypatch.setattr(trainer, "function_of_groups", function_of_groups)
    return made


class Calls(keras.callbacks.Callback):
    """What the hooks of a training batch are given."""

    def __init__(self):
        super().__init__()
        self.begins, self.ends, self.losses = [], [], []

    def on_train_batch_begin(self, batch, logs=None):
        self.begins.append(batch)

    def on_train_batch_end(self, batch, logs=None):
        self.ends.append(batch)
        self.losses.append(float(logs["loss"]))


def compiled_model(steps_per_execution, model_class=LanguageModel, jit_compile=True, **options):
    model = model_class(V, 6, (8, 6), B, T, seed=3, backend="native", **options)
    model.compile(steps_per_execution=steps_per_execution, jit_compile=jit_compile)
    return model


def trained(steps_per_execution, data=BATCHES, calls=None, **options):
    """A model after two epochs with validation, and their history."""
    model = compiled_model(steps_per_execution, **options)
    fit = {"epochs": 2, "validation_data": VALID, "callbacks": [calls] if calls else [], "verbose": 0}
    return model, model.fit(data, **fit).history


def test_predictions_are_those_of_single_steps():
    found, expected = (compiled_model(size).predict(BATCHES, verbose=0) for size in (4, 1))
    np.testing.assert_array_equal(found, expected)


@functools.cache
def in_single_steps(**options):
    """A model and a history as by `trained`, and the losses that a callback saw: once for all sizes of groups."""
    calls = Calls()
    return *trained(1, calls=calls, **options), calls.losses


@pytest.mark.parametrize(
    ("size", "options"),
    [
        (3, {}),
        (3, {"keep_prob": 0.5}),
        pytest.param(3, {"tie_embeddings": True}, marks=pytest.mark.slow),
        (3, {"precision": "bfloat16"}),
        (20, {}),
        (50, {"keep_prob": 0.5}),
    ],
    ids=str,
)
@pytest.mark.fast_cases(1)
def test_training_and_validation_are_those_of_single_steps(skip_without, programs, size, options):
    skip_without(options.get("precision", "float32"))
    calls = Calls()
    model, history = trained(size, calls=calls, **options)
    assert programs == [size, size]  # training and validation, each once
    single, expected, losses = in_single_steps(**options)
    assert programs == [size, size]
    assert history == {name: [pytest.approx(value, rel=1e-5) for value in values] for name, values in expected.items()}
    for variable, theirs in zip(model.variables, single.variables, strict=True):
        if "seed_generator" not in variable.path:  # an LSTM's, drawn at random
            np.testing.assert_allclose(variable, theirs, rtol=1e-4, atol=1e-6, err_msg=variable.path)
    assert calls.begins == 2 * list(range(0, 20, size))
    assert calls.ends == [begin + size - 1 for begin in calls.begins]
    last_of_group = [min(end, 19) + epoch * 20 for epoch in (0, 1) for end in calls.ends[: len(calls.ends) // 2]]
    np.testing.assert_allclose(calls.losses, np.array(losses)[last_of_group], rtol=1e-5)
    assert model.evaluate(VALID, verbose=0) == pytest.approx(single.evaluate(VALID, verbose=0), rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["keras", "reference"])
def test_models_of_other_backends_are_grouped_too(programs, backend):
    histories = []
    for size in (8, 1):
        model = LanguageModel(V, 6, 8, B, T, seed=3, backend=backend)
        model.compile(steps_per_execution=size, jit_compile=True)
        histories.append(model.fit(BATCHES, validation_data=VALID, verbose=0).history)
    assert programs == [8, 8]
    for name, values in histories[1].items():
        np.testing.assert_allclose(histories[0][name], values, rtol=1e-5, err_msg=name)


def test_keras_own_loop_would_do_the_same(programs, monkeypatch):
    _, history = trained(8)
    monkeypatch.setattr(LanguageModel, "_is_one_program", lambda *_: False)
    _, expected = trained(8)
    assert programs == [8, 8]
    for name, values in expected.items():
        np.testing.assert_allclose(history[name], values, rtol=1e-6, err_msg=name)


@pytest.mark.filterwarnings("ignore:Your input ran out of data")  # Keras' own, of any data of unknown length
@pytest.mark.parametrize(
    ("data", "arguments", "ends", "steps"),
    [
        (BATCHES.take(7), {}, [2, 5, 8], 7),
        (BATCHES.filter(lambda x, y: True), {}, [2, 5, 8, 11, 14, 17, 20], 20),  # of unknown length
        (BATCHES.repeat(), {"steps_per_epoch": 6}, [2, 5, 2, 5], 12),
        (BATCHES.map(lambda x, y: ({"tokens": x}, y)), {}, [2, 5, 8, 11, 14, 17, 20], 20),
    ],
    ids=["seven", "unknown length", "without end", "dict"],
)
@pytest.mark.fast_cases(1)
def test_any_dataset_of_static_shapes_is_grouped(programs, data, arguments, ends, steps):
    histories, iterations = [], []
    for size in (3, 1):
        calls, model = Calls(), compiled_model(size)
        histories.append(
            model.fit(data, epochs=2 if arguments else 1, callbacks=[calls], verbose=0, **arguments).history
        )
        iterations.append(int(model.optimizer.iterations))
        if size == 3:
            assert calls.ends == ends
    assert programs == [3]
    assert iterations[0] == iterations[1] == steps
    np.testing.assert_allclose(histories[0]["loss"], histories[1]["loss"], rtol=1e-5)


class OwnStep(LanguageModel):
    def train_step(self, data):
        return {**super().train_step(data), "own": tf.constant(7.0)}


class OwnTest(LanguageModel):
    def test_step(self, data):
        return {**super().test_step(data), "own": tf.constant(7.0)}


@pytest.mark.parametrize(
    ("model_class", "made", "own"), [(OwnStep, [3], ["own"]), (OwnTest, [3], ["val_own"])], ids=["train", "test"]
)
def test_a_step_of_the_users_own_keeps_its_logs(programs, model_class, made, own):
    _, history = trained(3, model_class=model_class)
    assert programs == made
    assert [name for name in history if "own" in name] == own


@pytest.mark.parametrize(
    ("size", "arguments"),
    [
        (1, {}),
        (3, {"jit_compile": False}),
        (3, {"run_eagerly": True, "jit_compile": False}),
    ],
    ids=str,
)
def test_other_steps_are_not_grouped(programs, size, arguments):
    model = LanguageModel(V, 6, 8, B, T, backend="native")
    model.compile(steps_per_execution=size, **{"jit_compile": True, **arguments})
    model.fit(BATCHES.take(4), validation_data=VALID, verbose=0)
    assert programs == []
    assert int(model.optimizer.iterations) == 4


def test_a_loss_and_metrics_of_ones_own_are_grouped_to_the_same_results(programs):
    histories = []
    for size in (1, 3):
        model = LanguageModel(V, 6, 8, B, T, backend="native", seed=1)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(loss=loss, metrics=["accuracy"], steps_per_execution=size, jit_compile=True)
        histories.append(model.fit(BATCHES.take(4), validation_data=VALID, verbose=0).history)
    assert programs == [3, 3]
    assert histories[0].keys() == histories[1].keys() == {"loss", "accuracy", "val_loss", "val_accuracy"}
    for name, values in histories[0].items():
        np.testing.assert_allclose(histories[1][name], values, rtol=1e-6)


def test_arrays_and_open_shapes_are_not_grouped(programs):
    model = compiled_model(3)
    x, y = (np.concatenate(parts) for parts in zip(*BATCHES.as_numpy_iterator(), strict=True))
    expected = trained(1)[1]["loss"][0]
    assert model.fit(x, y, verbose=0).history["loss"] == [pytest.approx(expected, rel=1e-5)]
    flat = tf.data.Dataset.from_tensor_slices((x, y)).batch(B)  # the number of rows is open
    assert compiled_model(3).fit(flat, verbose=0).history["loss"] == [pytest.approx(expected, rel=1e-5)]
    assert programs == []


def test_on_a_gpu_nothing_is_grouped(programs, gpus):
    gpus(None)
    assert not compiled_model(3)._is_one_program(BATCHES, "train_step")


def test_in_the_scope_of_a_strategy_nothing_is_grouped(programs):
    model = compiled_model(3)
    with tf.distribute.OneDeviceStrategy("/cpu:0").scope():
        model.fit(BATCHES.take(4), verbose=0)
    assert programs == []
    assert int(model.optimizer.iterations) == 4


@pytest.mark.slow
def test_batches_of_several_lengths_take_turns(programs):
    model, single = compiled_model(4), compiled_model(1)
    for length in (5, 3, 5, 3):
        data = make_dataset(TEXT, B, length)
        assert model.fit(data, verbose=0).history["loss"] == pytest.approx(
            single.fit(data, verbose=0).history["loss"], rel=1e-4
        )
        assert model.train_on_batch(*next(iter(data))) == pytest.approx(
            single.train_on_batch(*next(iter(data))), rel=1e-4
        )
    assert programs == [4, 4]  # made once for each length


def test_the_program_holds_each_kernel_once_and_copies_no_weights():
    model, _ = trained(8)
    group = next(iter(BATCHES.batch(8)))
    program = model.train_function.program.experimental_get_compiler_ir(tf.constant(8), group)(stage="optimized_hlo")
    assert Counter(re.findall(r'custom_call_target="kerasptb_(\w+)"', program)) == {
        "lstm_forward_float32": 2,
        "lstm_backward_float32": 2,
        "linear_cross_entropy_loss_and_gradients_float32": 1,
        "clipped_sgd_float32": 1,
    }
    for weight in model.trainable_variables:
        shape = ",".join(map(str, weight.shape))
        assert f"f32[{shape}]" in program
        assert not re.search(rf"f32\[{shape}\]\S* copy\(", program), weight.path


def test_the_programs_of_many_models_are_no_retraces_of_one(monkeypatch):
    warnings = []
    monkeypatch.setattr(tf.get_logger(), "warning", lambda *text: warnings.append(text))
    for i in range(6):
        function = step_groups.function_of_groups(lambda batch: None, lambda i=i: tf.constant(i), 2)
        assert function(iter(tf.data.Dataset.range(2).batch(2))) == i
    assert warnings == []


def test_an_error_of_the_dataset_reaches_the_caller():
    def checked(x, y):
        with tf.control_dependencies([tf.debugging.assert_less(x[0, 0], 20, "a word too many")]):
            return tf.identity(x), y

    model = compiled_model(4)
    with pytest.raises(tf.errors.InvalidArgumentError, match="a word too many"):
        model.fit(BATCHES.map(checked), verbose=0)
    assert np.isfinite(model.fit(BATCHES, verbose=0).history["loss"]).all()


def test_batches_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"rows of batches of 4"):
        compiled_model(3).fit(make_dataset(TEXT, B + 1, T), verbose=0)
