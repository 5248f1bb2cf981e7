import functools
import io
import itertools
import os
import re
import signal
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
from small_trainings import FailAt

import kerasptb
from kerasptb.callbacks import Checkpoint, EarlyStopping, ReduceLROnPlateau, ResetStates, WordsPerSecond
from kerasptb.layers import StatefulLSTM
from kerasptb.metrics import Perplexity
from kerasptb.optimizers import ClippedAdamW
from kerasptb.utils.interrupts import Terminated

IDS = (np.cumsum(np.random.default_rng(3).integers(1, 3, 500)) % 12).astype("int32")
NUM_BATCHES = (500 // 4 - 1) // 5  # 24


def language_model(precision="float32", steps_per_execution=1, **arguments):
    sizes = {"embedding_size": 6, "units": (9, 7), "batch_size": 4, "num_steps": 5}
    model = kerasptb.LanguageModel(12, **sizes, keep_prob=0.7, seed=5, precision=precision)
    model.compile(ClippedAdamW(0.01), steps_per_execution=steps_per_execution, **arguments)
    return model


def sequential(**arguments):
    keras.utils.set_random_seed(5)
    layers = [
        keras.layers.Embedding(12, 6),
        kerasptb.layers.Dropout(0.3, seed=1),
        StatefulLSTM(7, return_sequences=True),
        keras.layers.Dense(12),
    ]
    model = keras.Sequential([keras.Input(batch_shape=(4, 5), dtype="int32"), *layers])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=[Perplexity()], **arguments)
    return model


@pytest.fixture(autouse=True)
def _signals():
    """Where a `fit` of Keras' own trainer has raised, the handlers of its checkpoint stay until `close`."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def fit(model, *callbacks, epochs=3, **kwargs):
    batches, valid = kerasptb.make_dataset(IDS, 4, 5), kerasptb.make_dataset(IDS[:200], 4, 5)
    arguments = {"epochs": epochs, "validation_data": valid, "verbose": 0, "shuffle": False, **kwargs}
    return model.fit(batches, callbacks=[ResetStates(), *callbacks], **arguments).history


def values_of(model):
    variables = [*model.variables, *model.optimizer.variables]
    return [keras.ops.convert_to_numpy(variable) for variable in variables]


@functools.cache
def uninterrupted(make, *arguments):
    """The history of a training, and the values that it ends with."""
    model = make(*arguments)
    return fit(model, EarlyStopping(patience=9)), values_of(model)


def assert_goes_on_to_the_bit(folder, epoch, batch, make, *arguments, minutes=0.0):
    expected, values = uninterrupted(make, *arguments)
    with pytest.raises(RuntimeError, match="out of luck"):
        fit(make(*arguments), Checkpoint(folder, minutes), FailAt(epoch, batch))
    checkpoint, model = Checkpoint(folder, minutes), make(*arguments)
    place = (checkpoint.epoch, checkpoint.batch)
    fit(model, checkpoint)
    assert [row["epoch"] for row in checkpoint.history] == [1, 2, 3]
    for name in ("loss", "perplexity", "val_perplexity"):
        assert [row[name] for row in checkpoint.history] == expected[name]
    for one, other in zip(values_of(model), values, strict=True):
        np.testing.assert_array_equal(one, other)
    return place


@pytest.mark.parametrize(
    ("precision", "steps_per_execution", "epoch", "batch"),
    [("float32", 1, 0, 7), ("float32", 4, 1, 15), ("bfloat16", 4, 2, NUM_BATCHES - 1)],
)
@pytest.mark.fast_cases(1)
def test_a_killed_training_goes_on_to_the_bit(skip_without, tmp_path, precision, steps_per_execution, epoch, batch):
    skip_without(precision)
    place = assert_goes_on_to_the_bit(tmp_path, epoch, batch, language_model, precision, steps_per_execution)
    assert place == (epoch, batch + 1)


@pytest.mark.slow
def test_without_xla_too(tmp_path):
    make = functools.partial(language_model, jit_compile=False, steps_per_execution=3)
    assert assert_goes_on_to_the_bit(tmp_path, 1, 11, make) == (1, 12)


@pytest.mark.slow
def test_so_does_a_model_of_ones_own(tmp_path):
    assert assert_goes_on_to_the_bit(tmp_path, 1, 10, sequential) == (1, 11)


def test_a_training_that_fails_before_it_trains_goes_on_with_the_same_callback(tmp_path):
    expected, values = uninterrupted(language_model)
    with pytest.raises(RuntimeError, match="out of luck"):
        fit(language_model(), Checkpoint(tmp_path, minutes=0), FailAt(1, 9))
    checkpoint, model = Checkpoint(tmp_path, minutes=60), language_model()
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(RuntimeError, match="out of luck"):
        fit(model, checkpoint, FailAt(1, 4))  # of a batch that is only read
    assert signal.getsignal(signal.SIGTERM) is before
    fit(model, checkpoint)
    assert [row["val_perplexity"] for row in checkpoint.history] == expected["val_perplexity"]
    for one, other in zip(values_of(model), values, strict=True):
        np.testing.assert_array_equal(one, other)


def test_epochs_are_kept_whatever_the_minutes(tmp_path):
    assert assert_goes_on_to_the_bit(tmp_path, 1, 11, language_model, "float32", 1, minutes=60) == (1, 0)


@pytest.mark.slow
def test_a_state_that_flows_over_epochs_goes_on(tmp_path):
    def run(model, *callbacks):
        return model.fit(kerasptb.make_dataset(IDS, 4, 5), epochs=3, callbacks=list(callbacks), verbose=0)

    whole, killed, resumed = (language_model() for _ in range(3))
    run(whole)
    with pytest.raises(RuntimeError, match="out of luck"):
        run(killed, Checkpoint(tmp_path), FailAt(1, 3))
    run(resumed, Checkpoint(tmp_path))
    for one, other in zip(values_of(resumed), values_of(whole), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_latest_two_are_kept_and_a_damaged_one_is_passed_over(no_steps, tmp_path, caplog):
    with pytest.raises(RuntimeError, match="out of luck"):
        fit(language_model(), Checkpoint(tmp_path, minutes=0), FailAt(0, 7))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["resume.before.npz", "resume.npz"]
    latest = tmp_path / "resume.npz"
    content = bytearray(latest.read_bytes())
    content[len(content) // 2] ^= 255
    for damaged in (bytes(content), content[:-100], b""):
        latest.write_bytes(damaged)
        caplog.clear()
        checkpoint = Checkpoint(tmp_path)
        assert f"{latest} is damaged: " in caplog.text
        assert "goes on from the checkpoint before" in caplog.text
        assert (checkpoint.epoch, checkpoint.batch) == (0, 7)
    content[len(content) // 2] ^= 255
    # The first names and headers of arrays, and the end of the archive's directory, in which any bit may be wrong.
    for place, bit in itertools.product([*range(0, 300, 4), *range(len(content) - 200, len(content), 4)], (1, 32)):
        content[place] ^= bit
        latest.write_bytes(content)
        assert Checkpoint(tmp_path).batch in (7, 8)  # 8 where the bit means nothing
        content[place] ^= bit
    latest.unlink()  # killed between two renamings
    assert Checkpoint(tmp_path).batch == 7
    (tmp_path / "resume.before.npz").write_bytes(b"")
    with pytest.raises(ValueError, match=r"resume\.before\.npz is damaged: .*cannot go on"):
        Checkpoint(tmp_path)


HUGE = np.lib.stride_tricks.as_strided(np.float32(1), [2**38], [0])


class _Header(io.BytesIO):
    """Where `numpy.save` writes an array of which the values are left out."""

    def __init__(self, array):
        super().__init__()
        np.lib.format.write_array_header_1_0(self, np.lib.format.header_data_from_array_1_0(array))


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("history", "[1]", "the results of an epoch are 1"),
        ("history", "[{}]", "the results of an epoch are {}"),
        ("history", '[{"epoch": 1, "loss": "low"}]', "the results of an epoch are"),
        ("history", "NaN", "its epochs are NaN"),
        ("history", "[", "Expecting value"),
        ("place", '{"batch": -1, "logs": {}}', "-1 batches are done"),
        ("place", '{"batch": 1e400, "logs": {}}', "cannot be interpreted as an integer"),
        ("place", '{"batch": 1, "logs": [1]}', "dictionary update sequence"),
        ("v0", np.array(["text" * 2000] * 100, object), "it holds values of type object"),
        ("v0", _Header(HUGE).getvalue(), "cannot reshape array of size 0"),
        ("v0", b"", "not .NPY|EOF|magic"),
        ("v0", bytes(2**20), "its arrays are larger than the file"),
    ],
)
def test_what_no_training_has_written_is_passed_over(tmp_path, caplog, name, content, told):
    place = {"history": '[{"epoch": 1, "loss": 2.0}]', "place": '{"batch": 3, "logs": {"loss": 1.0}}'}
    np.savez(tmp_path / "resume.before.npz", **place, v0=np.ones(3))
    parts = {key: value for key, value in {**place, "v0": np.ones(3)}.items() if key != name}
    if isinstance(content, bytes):
        np.savez(tmp_path / "resume.npz", **parts)
        with zipfile.ZipFile(tmp_path / "resume.npz", "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(f"{name}.npy", content)
    else:
        np.savez(tmp_path / "resume.npz", **parts, **{name: content})
    checkpoint = Checkpoint(tmp_path)
    assert re.search(rf"resume\.npz is damaged: .*({told})", caplog.text)
    assert (checkpoint.epoch, checkpoint.batch, checkpoint.history) == (1, 3, [{"epoch": 1, "loss": 2.0}])


def test_what_is_no_file_is_not_waited_for(tmp_path):
    (tmp_path / "resume.npz").symlink_to(os.devnull)
    with pytest.raises(ValueError, match=r"resume\.npz is damaged: it is no regular file"):
        Checkpoint(tmp_path)


def test_a_checkpoint_of_another_model_is_refused(no_steps, tmp_path):
    fit(language_model(), Checkpoint(tmp_path), epochs=1)
    with pytest.raises(ValueError, match="Expected a checkpoint of this model and optimizer"):
        fit(sequential(), Checkpoint(tmp_path))


def test_calls_of_another_length_are_refused(no_steps, tmp_path):
    with pytest.raises(RuntimeError, match="out of luck"):
        fit(language_model(), Checkpoint(tmp_path, minutes=0), FailAt(0, 6))
    with pytest.raises(ValueError, match=r"to divide the 7 batches that are done\. Received: steps_per_execution=4"):
        fit(language_model(steps_per_execution=4), Checkpoint(tmp_path))


def test_metrics_of_several_numbers_are_kept(tmp_path):
    """In the middle of an epoch too."""
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "softmax")])
    model.compile("sgd", "categorical_crossentropy", metrics=[keras.metrics.F1Score()])
    x, y = np.ones((12, 4)), np.eye(3)[np.arange(12) % 3]
    with pytest.raises(RuntimeError, match="out of luck"):
        model.fit(x, y, 4, epochs=2, verbose=0, callbacks=[Checkpoint(tmp_path, minutes=0), FailAt(1, 1)])
    checkpoint = Checkpoint(tmp_path)
    assert (checkpoint.epoch, checkpoint.batch) == (1, 2)
    assert len(checkpoint.history[0]["f1_score"]) == 3
    history = model.fit(x, y, 4, epochs=2, verbose=0, callbacks=[checkpoint]).history
    assert len(history["f1_score"][-1]) == 3


def test_refuses_negative_minutes(tmp_path):
    with pytest.raises(ValueError, match="minutes=-1"):
        Checkpoint(tmp_path, minutes=-1)


@pytest.mark.slow
def test_callbacks_with_a_memory_go_on(tmp_path):
    def run(*callbacks):
        model = language_model()
        model.optimizer.learning_rate = 3.0  # it does not learn
        fit(model, *callbacks, epochs=6)
        return model

    whole = run(ReduceLROnPlateau(factor=0.5, patience=2))
    with pytest.raises(RuntimeError, match="out of luck"):
        run(ReduceLROnPlateau(factor=0.5, patience=2), Checkpoint(tmp_path), FailAt(3, 0))
    resumed = run(ReduceLROnPlateau(factor=0.5, patience=2), Checkpoint(tmp_path))
    assert float(resumed.optimizer.learning_rate) == float(whole.optimizer.learning_rate) < 3.0


def test_the_speed_does_not_count_what_is_passed_over(tmp_path):
    with pytest.raises(RuntimeError, match="out of luck"):
        fit(language_model(), Checkpoint(tmp_path, minutes=0), FailAt(0, 19))
    rates = []
    look = keras.callbacks.LambdaCallback(on_train_batch_end=lambda _, logs: rates.append(logs.get("words_per_second")))
    fit(language_model(), WordsPerSecond(), look, Checkpoint(tmp_path), epochs=1)
    # Of the four batches that are left the first is traced; the others run at one speed.
    assert (len(rates), rates[:20]) == (NUM_BATCHES, [None] * 20)
    assert 0 < rates[-1] < 1e6


def test_the_training_can_be_repeated_in_the_process(tmp_path):
    """What the callback changes of a model ends with `fit`, and so does what it does to signals."""
    before = signal.getsignal(signal.SIGTERM)
    model = language_model()
    fit(model, Checkpoint(tmp_path), epochs=2)
    function = model.train_function
    fit(model, Checkpoint(tmp_path), epochs=2)  # nothing is left to do
    assert fit(model, epochs=1)["loss"]
    assert model.train_function is function
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(("number", "error"), [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)])
def test_a_signal_waits_for_the_step_and_a_checkpoint(no_steps, tmp_path, capsys, number, error):
    class Ask(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 5:
                signal.raise_signal(number)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    try:
        with pytest.raises(error):
            fit(language_model(), Ask(), Checkpoint(tmp_path))
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler  # though `fit` has raised
    finally:
        signal.signal(signal.SIGINT, before)
    assert f"{tmp_path} has a checkpoint after batch 6 of epoch 1." in capsys.readouterr().err
    assert Checkpoint(tmp_path).batch == 6


PROGRAM = """
import os, signal, sys
import keras, numpy as np
import kerasptb
from kerasptb.callbacks import Checkpoint, ResetStates
model = kerasptb.LanguageModel(12, embedding_size=6, units=(9, 7), batch_size=4, num_steps=5, keep_prob=0.7, seed=5)
model.compile()
batches = kerasptb.make_dataset(np.arange(500) ** 2 % 12, 4, 5)
kill = keras.callbacks.LambdaCallback(
    on_train_batch_end=lambda batch, logs: os.kill(os.getpid(), int(sys.argv[2])) if batch == 9 else None
)
model.fit(batches, epochs=2, callbacks=[ResetStates(), kill, Checkpoint(sys.argv[1], minutes=0)], verbose=0)
"""


@pytest.mark.parametrize(
    ("number", "status", "batch"),
    [pytest.param(signal.SIGTERM, 143, 10, marks=pytest.mark.slow), (signal.SIGKILL, -9, 9)],
)
def test_a_script_that_is_killed_leaves_a_checkpoint(tmp_path, number, status, batch):
    done = subprocess.run([sys.executable, "-c", PROGRAM, tmp_path, str(int(number))], check=False, timeout=300)
    assert done.returncode == status
    assert Checkpoint(tmp_path).batch == batch
