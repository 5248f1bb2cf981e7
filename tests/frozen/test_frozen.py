"""Frozen models against Keras: random graphs, states, steps, files, precisions, and what is refused."""

import subprocess
import sys
import threading
import warnings

import keras
import numpy as np
import pytest
from keras import layers
from random_graphs import outputs_of, random_model

import kerasptb
from kerasptb.frozen import FrozenNetwork
from kerasptb.native import NativeUnavailableError
from kerasptb.utils.errors import ExportError

random = np.random.default_rng(1)


def assert_close(found, expected, tolerance=1e-5):
    """Within a part of the largest number; NaN and infinity where Keras has them."""
    for y, wanted in zip(keras.tree.flatten(found), expected, strict=True):
        assert y.shape == wanted.shape
        assert y.dtype == np.float32
        finite = np.isfinite(wanted)
        np.testing.assert_array_equal(np.isfinite(y), finite)
        scale = max(1.0, np.abs(wanted[finite]).max(initial=0))
        np.testing.assert_allclose(y[finite] / scale, wanted[finite] / scale, rtol=0, atol=tolerance)


def check(seeds, backend, tolerance=1e-5, **how):
    on_library = 0
    for seed in seeds:
        model, arrays = random_model(seed)
        frozen = kerasptb.freeze(model, backend=backend, **how)
        on_library += frozen.on_library
        assert_close(frozen(arrays), outputs_of(model, arrays), tolerance)
    return on_library


def signal(*shape):
    return random.standard_normal(shape).astype("float32")


def forecaster(**how):
    first = layers.LSTM(9, return_sequences=True, **how)
    return keras.Sequential([layers.Input((7, 3)), first, layers.GRU(5), layers.Dense(2)])


def test_random_graphs(native_library):
    assert check(range(30), "auto") > 20


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
def test_more_random_graphs(native_library, part):
    assert check(range(30 + 47 * part, 30 + 47 * (part + 1)), "auto") > 30


def test_random_graphs_in_numpy():
    assert check(range(8), "reference") == 0


@pytest.mark.parametrize("rows", [1, 5, 7, 100])
def test_rows_are_independent(native_library, rows):
    frozen, x = kerasptb.freeze(forecaster()), signal(100, 7, 3)
    np.testing.assert_allclose(frozen.predict(x, batch_size=rows), frozen(x), atol=2e-7)


def test_any_number_of_steps(native_library):
    inputs = keras.Input((None, 4))
    masked = layers.Masking()(inputs)
    y = layers.Bidirectional(layers.LSTM(6, return_sequences=True))(masked)
    model = keras.Model(inputs, layers.GlobalAveragePooling1D()(y))
    frozen = kerasptb.freeze(model)
    for steps in (1, 3, 11):
        x = signal(3, steps, 4)
        x[:, steps // 2 :] *= random.integers(0, 2, (3, 1, 1))
        assert_close(frozen(x), outputs_of(model, [x]))
    expected = frozen(x)
    for steps in range(20, 60):
        frozen(signal(3, steps, 4))
    assert len(frozen._programs) == 32  # memory does not grow with the lengths that were met
    np.testing.assert_array_equal(frozen(x), expected)


def test_ids_that_float32_does_not_have_are_refused():
    model = keras.Sequential([keras.Input((3,)), layers.Embedding(2**24 + 1, 1), layers.LSTM(2)])
    with pytest.raises(ExportError, match="an Embedding of more than 16,777,216 rows"):
        kerasptb.freeze(model)


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_stateful_models_go_on_and_begin_anew(native_library, backend):
    inputs = keras.Input((2, 3), batch_size=4)
    y, *state = layers.LSTM(5, stateful=True, return_state=True)(inputs)
    model = keras.Model(inputs, [layers.Dense(2)(y), state[1], layers.LSTM(3)(inputs)])
    frozen, parts = kerasptb.freeze(model, backend=backend), [signal(4, 2, 3) for _ in range(3)]
    for x in parts:
        assert_close(frozen(x), outputs_of(model, [x]))
    first = frozen.predict(parts[0])
    frozen.reset_state()
    again = frozen.predict(parts[0])
    assert np.abs(first[0] - again[0]).max() > 1e-3
    with pytest.raises(ValueError, match="Expected the 4 rows"):
        frozen(signal(3, 2, 3))


def test_files_need_no_keras(native_library, tmp_path):
    model, x = forecaster(), signal(3, 7, 3)
    frozen = kerasptb.freeze(model)
    path = frozen.save(tmp_path / "model.frozen")
    np.save(tmp_path / "x.npy", x)
    script = (
        "import sys, numpy as np, kerasptb; frozen = kerasptb.load_frozen(sys.argv[1] + '/model.frozen');"
        "np.save(sys.argv[1] + '/y.npy', frozen(np.load(sys.argv[1] + '/x.npy')));"
        "assert frozen.on_library; assert not {'keras', 'tensorflow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), frozen(x))
    content = path.read_bytes()
    for damaged in (content[:-9], content[:300], b"", content[:900] + b"\0" * 8 + content[908:]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="holds no frozen model"):
            kerasptb.load_frozen(path)
    with pytest.raises(ValueError, match=r"ends in \.frozen"):
        frozen.save(tmp_path / "model.npz")


def test_weights_are_those_of_then(native_library):
    model, x = forecaster(), signal(3, 7, 3)
    frozen = kerasptb.freeze(model)
    before = outputs_of(model, [x])
    model.set_weights([weight + 1 for weight in model.get_weights()])
    assert_close(frozen(x), before)


def test_threads_have_memory_of_their_own(native_library):
    frozen, inputs, results = kerasptb.freeze(forecaster()), [signal(1, 7, 3) for _ in range(8)], {}

    def work(i):
        results[i] = [frozen(inputs[i]) for _ in range(200)]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, x in enumerate(inputs):
        assert np.ptp(results[i], axis=0).max() == 0
        np.testing.assert_array_equal(results[i][0], frozen(x))


@pytest.mark.parametrize(("precision", "tolerance"), [("int8", 0.06), ("bfloat16", 0.03)])
def test_precisions_cost_some_accuracy(native_library, precision, tolerance):
    model, x = forecaster(), signal(50, 7, 3)
    try:
        frozen = kerasptb.freeze(model, precision)
    except NativeUnavailableError as error:
        pytest.skip(str(error))
    expected = outputs_of(model, [x])
    assert_close(frozen(x), expected, tolerance)
    assert_close(np.concatenate([frozen(x[i : i + 1]) for i in range(50)]), expected, tolerance)
    assert np.abs(frozen(x) - expected[0]).max() > 1e-5
    assert_close(frozen.step(x[:, 0])[0], [kerasptb.freeze(model).step(x[:, 0])[0]], tolerance)


def test_wide_layers_in_other_precisions(native_library):
    """More inputs than are rounded at once, and odd numbers of them."""
    model, x = keras.Sequential([layers.Input((3, 1031)), layers.LSTM(33), layers.Dense(70)]), signal(9, 3, 1031)
    assert_close(kerasptb.freeze(model)(x), outputs_of(model, [x]))
    for precision in ("int8", "bfloat16"):
        try:
            frozen = kerasptb.freeze(model, precision)
        except NativeUnavailableError:
            continue
        assert_close(frozen(x), outputs_of(model, [x]), 0.06)


def test_any_number_of_rows_in_bfloat16(native_library):
    """Tiles of 16 rows, and what is left; rows that a wrapper makes of one; each cell's number of gates."""
    inputs = keras.Input((5, 4))
    both = layers.Bidirectional(layers.GRU(33, return_sequences=True))(inputs)
    each = layers.TimeDistributed(keras.Sequential([layers.Reshape((2, 33)), layers.LSTM(20)]))(both)
    model = keras.Model(inputs, [layers.Conv1D(40, 2)(both), layers.LSTM(17)(each)])
    x = signal(150, 5, 4)
    try:
        frozen = kerasptb.freeze(model, "bfloat16")
    except NativeUnavailableError as error:
        pytest.skip(str(error))
    wanted = outputs_of(model, [x])
    for rows in (1, 3, 6, 7, 16, 17, 45, 64, 150):
        assert_close(frozen(x[:rows]), [y[:rows] for y in wanted], 0.02)


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (np.zeros((2, 7, 4)), "of shape"),
        (np.zeros((2, 6, 3)), "of shape"),
        (np.zeros((7, 3)), "of shape"),
        (np.zeros((2, 7, 3), "complex64"), "dtype complex64"),
        (np.array([["a"]]), "dtype"),
        ([np.zeros((2, 7, 3)), np.zeros((2, 7, 3))], "of shape|1 inputs"),
        ({"other": np.zeros((2, 7, 3))}, "Expected inputs named"),
    ],
)
def test_wrong_inputs_are_a_line(native_library, value, what):
    with pytest.raises(ValueError, match=what) as raised:
        kerasptb.freeze(forecaster())(value)
    assert len(str(raised.value).splitlines()) == 1


def test_nothing_and_no_numbers(native_library):
    model = forecaster()
    frozen = kerasptb.freeze(model)
    assert frozen(np.zeros((0, 7, 3))).shape == (0, 2)
    x = signal(2, 7, 3)
    x[1, 3] = np.nan
    y = frozen(x)
    assert np.isnan(y[1]).all()
    assert np.isfinite(y[0]).all()
    inputs = keras.Input((None, 3))
    with pytest.raises(ValueError, match="at least one step"):
        kerasptb.freeze(keras.Model(inputs, layers.LSTM(2)(inputs)))(np.zeros((2, 0, 3)))


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_ids_out_of_range(native_library, backend):
    inputs = keras.Input((3,), dtype="int32")
    frozen = kerasptb.freeze(keras.Model(inputs, layers.Embedding(5, 2)(inputs)), backend=backend)
    for ids in ([[0, 5, 1]], [[0, -1, 1]] * 60):
        with pytest.raises(ValueError, match="Expected ids within"):
            frozen(np.array(ids))


def lambda_layer(x):
    return layers.Lambda(lambda y: y * 2)(x)


class Subclass(layers.LSTM):
    """Which may compute anything."""


@pytest.mark.parametrize(
    ("layer", "named"),
    [
        (lambda_layer, "lambda"),
        (Subclass(3, return_sequences=True, name="mine"), "mine, a Subclass"),
        (layers.LSTM(3, activation=keras.ops.sin, return_sequences=True, name="wave"), "wave, with the activation"),
        (layers.Conv1D(4, 1, groups=2, name="grouped"), "grouped, a Conv1D of 2 groups"),
        (layers.MultiHeadAttention(2, 2, name="attention"), "attention, a MultiHeadAttention"),
        (keras.ops.sin, "sin"),
        (layers.Softmax(axis=1, name="over"), "over, a Softmax"),
        (layers.GRU(2, recurrent_activation="elu", name="gates"), "gates, with the recurrent activation elu"),
        (layers.LSTM(2, recurrent_activation="softmax", name="both"), "both, with the recurrent activation softmax"),
    ],
)
def test_what_is_not_served_is_named(layer, named):
    inputs = keras.Input((5, 4))
    y = layer(inputs, inputs) if isinstance(layer, layers.MultiHeadAttention) else layer(inputs)
    with pytest.raises(ExportError, match=named):
        kerasptb.freeze(keras.Model(inputs, y))


def test_models_that_are_not_functional():
    class Model(keras.Model):
        def call(self, x):
            return x

    for model in (Model(), keras.Sequential([layers.LSTM(3)]), "model.keras"):
        with pytest.raises(ExportError, match="not functional, or not built"):
            kerasptb.freeze(model)


def test_accelerated_models_freeze_too(native_library):
    model, x = forecaster(), signal(3, 7, 3)
    expected = outputs_of(model, [x])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frozen = kerasptb.freeze(kerasptb.accelerate(model))
    assert_close(frozen(x), expected)


def test_names_of_several_inputs_and_outputs(native_library):
    a, b = keras.Input((4, 2), name="a"), keras.Input((3,), name="b")
    y = layers.LSTM(3)(a)
    model = keras.Model({"b": b, "a": a}, {"z": layers.Dense(1)(y), "y": layers.Add()([y, b])})
    frozen, x = kerasptb.freeze(model), {"a": signal(2, 4, 2), "b": signal(2, 3)}
    found, expected = frozen(x), model(x)
    assert list(found) == ["y", "z"]
    for name in found:
        assert_close(found[name], [keras.ops.convert_to_numpy(expected[name])])


def test_inputs_of_a_model_inside_are_found_by_their_names(native_library):
    """Of a list by a dict, and of a dict whose keys its inputs do not have as names."""
    b, a = keras.Input((3,), name="b"), keras.Input((3,), name="a")
    inside = keras.Model([b, a], layers.Dense(2)(layers.Subtract()([a, b])))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = keras.Model({"two": b, "one": a}, inside({"a": a, "b": b}))
    x = {"one": signal(2, 3), "two": signal(2, 3)}
    assert_close(kerasptb.freeze(model)(x), outputs_of(inside, [x["two"], x["one"]]))


def test_outputs_are_as_predict_has_them(native_library):
    inputs, x = keras.Input((4, 2)), signal(3, 4, 2)
    y = layers.LSTM(3)(inputs)
    (expected,) = outputs_of(keras.Model(inputs, y), [x])
    assert_close([kerasptb.freeze(keras.Model(inputs, [y]))(x)], [expected])
    for nested in ([y, [y]], {"a": [y], "b": y}):
        with pytest.raises(ExportError, match="outputs in one another"):
            kerasptb.freeze(keras.Model(inputs, nested))


def test_low_ranks_are_added(native_library):
    """Whose kernels are made anew each time that they are asked for."""
    inputs = keras.Input((5, 4))
    y = inputs
    for _ in range(4):
        y = layers.Dense(4, activation="tanh")(y)
    model = keras.Model(inputs, layers.Conv1D(4, 2)(y))
    for layer in model.layers[1:-1]:
        layer.enable_lora(2)
        layer.lora_kernel_b.assign(signal(2, 4))
    x = signal(3, 5, 4)
    assert_close(kerasptb.freeze(model)(x), outputs_of(model, [x]))


@pytest.mark.parametrize("mode", ["int8", "int4"])
def test_quantized_models_are_refused(mode):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="small")])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.quantize(mode)
    with pytest.raises(ExportError, match=f"small, whose weights are quantized to {mode}"):
        kerasptb.freeze(model)


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize(
    ("layer", "named"), [(lambda x: x[:, 5], "get_item"), (layers.Conv1D(3, 6, name="long"), "long")]
)
def test_too_few_steps_are_a_line(native_library, backend, layer, named):
    inputs = keras.Input((None, 3))
    frozen = kerasptb.freeze(keras.Model(inputs, layer(inputs)), backend=backend)
    assert frozen(signal(2, 7, 3)).shape[-1] == 3
    with pytest.raises(ValueError, match=rf"as much as {named}\S* needs. Received there: rows of shape \[\(2, 3\)\]"):
        frozen(signal(2, 2, 3))


def test_backends_that_are_not_there(native_library):
    with pytest.raises(ValueError, match="must be one of"):
        kerasptb.freeze(forecaster(), "float16")
    inputs = keras.Input((4, 2))
    model = keras.Model(inputs, layers.RNN(kerasptb.layers.keras_cell.RecurrentCell("mogrifier", 3))(inputs))
    assert isinstance(frozen := kerasptb.freeze(model), FrozenNetwork)
    assert "a Mogrifier" in frozen.why_no_library
    with pytest.raises(NativeUnavailableError, match="Mogrifier"):
        kerasptb.freeze(model, backend="native")
