"""The example that loads checkpoints of the TensorFlow 1 tutorial."""

import re
import runpy
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

EXAMPLE = runpy.run_path(str(Path(__file__).parents[1] / "examples" / "13_tf1_checkpoint.py"))
basic_lstm_to_keras, load_tf1_checkpoint = EXAMPLE["basic_lstm_to_keras"], EXAMPLE["load_tf1_checkpoint"]

VOCABULARY_SIZE, EMBEDDING_SIZE, UNITS = 11, 5, (4, 3)
TUTORIAL_CELL = "model/rnn/multi_rnn_cell/cell_{}/basic_lstm_cell"


def tutorial_variables(*, scope="model/", cell=TUTORIAL_CELL, kernel="kernel", bias="bias", units=UNITS, seed=0):
    """Variables of the tutorial's graph with random values, by name."""
    generator = np.random.default_rng(seed)
    shapes = {f"{scope}embedding": (VOCABULARY_SIZE, EMBEDDING_SIZE)}
    features = EMBEDDING_SIZE
    for layer, size in enumerate(units):
        shapes[f"{cell.format(layer)}/{kernel}"] = (features + size, 4 * size)
        shapes[f"{cell.format(layer)}/{bias}"] = (4 * size,)
        features = size
    shapes |= {f"{scope}softmax_w": (features, VOCABULARY_SIZE), f"{scope}softmax_b": (VOCABULARY_SIZE,)}
    return {name: generator.normal(size=shape).astype("float32") for name, shape in shapes.items()}


def save(folder, variables, name="model.ckpt", write_version=2):
    """Saves the variables as TensorFlow 1 does, `model.ckpt-7` and its like; returns the prefix."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        for variable, value in variables.items():
            tf.compat.v1.Variable(value, name=variable)
        session.run(tf.compat.v1.global_variables_initializer())
        saver = tf.compat.v1.train.Saver(write_version=write_version)
        return saver.save(session, str(folder / name), global_step=7)


def load(prefix, **kwargs):
    return load_tf1_checkpoint(prefix, batch_size=2, num_steps=3, **kwargs)


def assert_holds(model, variables, kernels, forget_bias=0.0):
    """Asserts that the model's weights are the variables of `tutorial_variables()`, which stand in a known order."""
    values = list(variables.values())
    np.testing.assert_array_equal(model.get_layer("embedding").get_weights()[0], values[0])
    for layer in range(kernels):
        expected = basic_lstm_to_keras(values[1 + 2 * layer], values[2 + 2 * layer], forget_bias)
        for weight, value in zip(model.get_layer(f"lstm_{layer}").get_weights(), expected, strict=True):
            np.testing.assert_array_equal(weight, value)
    softmax_w, softmax_b = model.get_layer("logits").get_weights()
    np.testing.assert_array_equal(softmax_w, values[-2])
    np.testing.assert_array_equal(softmax_b, values[-1])


# The conversion, on arrays.


def test_gates_and_rows_go_where_keras_has_them():
    # One unit, two features: a column is a gate (i, j, f, o), the last row multiplies the hidden state.
    kernel, recurrent_kernel, bias = basic_lstm_to_keras(
        np.array([[11, 12, 13, 14], [21, 22, 23, 24], [31, 32, 33, 34]], "float32"),
        np.array([1, 2, 3, 4], "float32"),
        forget_bias=0.5,
    )
    np.testing.assert_array_equal(kernel, [[11, 13, 12, 14], [21, 23, 22, 24]])
    np.testing.assert_array_equal(recurrent_kernel, [[31, 33, 32, 34]])
    np.testing.assert_array_equal(bias, [1, 3.5, 2, 4])


@pytest.mark.parametrize("forget_bias", [0.0, 1.0])
def test_converted_weights_compute_what_the_original_cell_computes(forget_bias):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(2, 6, 5))
    kernel, bias = generator.normal(size=(5 + 4, 16)), generator.normal(size=16)

    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    h = c = np.zeros((2, 4))
    for t in range(6):
        i, j, f, o = np.split(np.concatenate([x[:, t], h], axis=1) @ kernel + bias, 4, axis=1)
        c = c * sigmoid(f + forget_bias) + sigmoid(i) * np.tanh(j)
        h = np.tanh(c) * sigmoid(o)

    layer = keras.layers.LSTM(4, return_state=True, dtype="float64")
    layer.build((2, 6, 5))
    layer.set_weights(basic_lstm_to_keras(kernel, bias, forget_bias))
    output, _, cell_state = layer(x)
    np.testing.assert_allclose(output, h, rtol=0, atol=1e-12)
    np.testing.assert_allclose(cell_state, c, rtol=0, atol=1e-12)


def test_conversion_leaves_its_arguments_alone():
    kernel, bias = np.ones((3, 4), "float32"), np.ones(4, "float32")
    converted = basic_lstm_to_keras(kernel, bias, forget_bias=1.0)
    np.testing.assert_array_equal(kernel, np.ones((3, 4)))
    np.testing.assert_array_equal(bias, np.ones(4))
    np.testing.assert_array_equal(converted[2], [1, 2, 1, 1])


@pytest.mark.parametrize(
    ("kernel", "bias"),
    [((9, 16), (12,)), ((9, 16), (15,)), ((4, 16), (16,)), ((9,), (16,)), ((9, 16), (4, 4)), ((), ()), ((9, 0), (0,))],
)
def test_arrays_that_are_no_cell_are_refused(kernel, bias):
    message = f"Received: kernel.shape={kernel}, bias.shape={bias}"
    with pytest.raises(ValueError, match=re.escape(message)):
        basic_lstm_to_keras(np.zeros(kernel), np.zeros(bias))


# The checkpoint, read.


@pytest.mark.parametrize("forget_bias", [0.0, 1.0])
def test_checkpoint_gives_a_model_of_its_sizes_and_weights(tmp_path, forget_bias):
    variables = tutorial_variables()
    model = load(save(tmp_path, variables), forget_bias=forget_bias, keep_prob=0.5)
    assert (model.vocabulary_size, model.embedding_size, model.units) == (VOCABULARY_SIZE, EMBEDDING_SIZE, UNITS)
    assert (model.batch_size, model.num_steps, model.keep_prob) == (2, 3, 0.5)
    assert_holds(model, variables, kernels=2, forget_bias=forget_bias)


def test_defaults_are_the_tutorials(tmp_path):
    model = load_tf1_checkpoint(save(tmp_path, tutorial_variables()))
    assert (model.batch_size, model.num_steps, model.keep_prob) == (60, 20, 1.0)
    assert_holds(model, tutorial_variables(), kernels=2, forget_bias=0.0)


@pytest.mark.parametrize(
    "names",
    [
        {"scope": "", "cell": "rnn/multi_rnn_cell/cell_{}/basic_lstm_cell"},
        {"scope": "Model/", "cell": "Model/RNN/multi_rnn_cell/cell_{}/lstm_cell"},
        {
            "scope": "a/b/",
            "cell": "a/b/RNN/multi_rnn_cell/cell_{}/basic_lstm_cell",
            "kernel": "weights",
            "bias": "biases",
        },
        {
            "scope": "Model/",
            "cell": "Model/RNN/MultiRNNCell/Cell{}/BasicLSTMCell",
            "kernel": "Linear/Matrix",
            "bias": "Linear/Bias",
        },
        {"scope": "model/", "cell": "model/rnn/basic_lstm_cell", "units": (4,)},
        {"scope": "model/", "units": (2,) * 12},
    ],
    ids=["no scope", "lstm_cell", "weights and biases", "Linear", "one cell, not stacked", "twelve layers"],
)
def test_older_and_other_names_are_known(tmp_path, names):
    variables = tutorial_variables(**names)
    model = load(save(tmp_path, variables))
    num_layers = len(names.get("units", UNITS))
    assert len(model.units) == num_layers
    assert_holds(model, variables, kernels=num_layers)


def test_notebook_name_of_the_embedding_is_known(tmp_path):
    variables = tutorial_variables()
    renamed = {name.replace("model/embedding", "embedding_vocab"): value for name, value in variables.items()}
    assert_holds(load(save(tmp_path, renamed)), variables, kernels=2)


def test_slots_and_counters_are_left_alone(tmp_path):
    variables = tutorial_variables()
    others = {f"{name}/Momentum": value + 1 for name, value in variables.items()}
    others |= {f"model/{name}/ExponentialMovingAverage": value + 2 for name, value in variables.items()}
    others |= {"global_step": np.int64(7), "model/Variable": np.float32(0.5), "model/learning_rate": np.float32(1)}
    assert_holds(load(save(tmp_path, others | variables)), variables, kernels=2)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_float_types_become_float32(tmp_path, dtype):
    variables = {name: value.astype("float16").astype("float32") for name, value in tutorial_variables().items()}
    prefix = save(tmp_path, {name: value.astype(dtype) for name, value in variables.items()})
    assert_holds(load(prefix), variables, kernels=2)


@pytest.mark.parametrize("missing", tutorial_variables())
def test_missing_variable_is_named_and_the_others_listed(tmp_path, missing):
    variables = tutorial_variables()
    del variables[missing]
    with pytest.raises(ValueError, match="has no variable") as error:
        load(save(tmp_path, variables))
    wanted, found = str(error.value).split("Found: ")
    assert f"'{missing.removeprefix('model/')}'" in wanted
    for name, value in variables.items():
        assert f"{name} {list(value.shape)}" in found


def test_missing_layer_between_two_is_named(tmp_path):
    variables = {name.replace("cell_1", "cell_2"): value for name, value in tutorial_variables().items()}
    with pytest.raises(ValueError, match=r"no variable 'rnn/multi_rnn_cell/cell_1/basic_lstm_cell/kernel'"):
        load(save(tmp_path, variables))


def test_checkpoint_of_another_model_lists_the_first_of_what_it_holds(tmp_path):
    prefix = save(tmp_path, {f"dense_{i:02}/kernel": np.zeros((2, i), "float32") for i in range(40)})
    with pytest.raises(
        ValueError, match=r"Found: dense_00/kernel \[2, 0\], .*dense_29/kernel \[2, 29\], and 10 more\."
    ):
        load(prefix)


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("model/embedding", (VOCABULARY_SIZE,), "[V, D]"),
        (f"{TUTORIAL_CELL.format(0)}/kernel", (10, 16), "(9, 16)"),
        (f"{TUTORIAL_CELL.format(0)}/kernel", (9, 15), "(8, 12)"),
        (f"{TUTORIAL_CELL.format(0)}/kernel", (16,), "(9, 16)"),
        (f"{TUTORIAL_CELL.format(0)}/bias", (12,), "(16,)"),
        (f"{TUTORIAL_CELL.format(1)}/kernel", (9, 12), "(7, 12)"),
        (f"{TUTORIAL_CELL.format(1)}/bias", (12, 1), "(12,)"),
        ("model/softmax_w", (4, VOCABULARY_SIZE), "(3, 11)"),
        ("model/softmax_w", (VOCABULARY_SIZE, 3), "(3, 11)"),
        ("model/softmax_b", (10,), "(11,)"),
    ],
)
def test_misshapen_variable_is_named_with_both_shapes(tmp_path, name, shape, expected):
    prefix = save(tmp_path, tutorial_variables() | {name: np.zeros(shape, "float32")})
    message = rf"^The variable '{re.escape(name)}' .* should have shape {re.escape(expected)}.*Received: shape="
    with pytest.raises(ValueError, match=message + re.escape(str(shape))):
        load(prefix)


def test_embedding_of_another_width_makes_the_first_kernel_misshapen(tmp_path):
    prefix = save(tmp_path, tutorial_variables() | {"model/embedding": np.zeros((VOCABULARY_SIZE, 8), "float32")})
    with pytest.raises(ValueError, match=r"cell_0/basic_lstm_cell/kernel'.*\(12, 16\).*width of 'model/embedding'"):
        load(prefix)


def test_several_models_need_the_scope_of_one(tmp_path):
    first = {f"first/{name}": value for name, value in tutorial_variables(seed=1).items()}
    second = {f"second/{name}": value for name, value in tutorial_variables(seed=2).items()}
    prefix = save(tmp_path, first | second)
    with pytest.raises(ValueError, match=r"'first/model/embedding', 'second/model/embedding'.*scope=None"):
        load(prefix)
    assert_holds(load(prefix, scope="second"), second, kernels=2)
    assert_holds(load(prefix, scope="first/model/"), first, kernels=2)
    with pytest.raises(ValueError, match=r"no variable under the scope.*Received: scope='sec'"):
        load(prefix, scope="sec")


def test_two_cells_for_one_layer_need_a_scope(tmp_path):
    variables = tutorial_variables() | {"other/lstm_cell/kernel": np.zeros((9, 16), "float32")}
    with pytest.raises(ValueError, match=r"'model/rnn/.*/cell_0/basic_lstm_cell/kernel', 'other/lstm_cell/kernel'"):
        load(save(tmp_path, variables))


@pytest.mark.parametrize("extra", ["w_f_diag", "projection/kernel", "recurrent_kernel", "input/gamma"])
def test_cell_that_is_no_plain_lstm_is_refused(tmp_path, extra):
    name = f"{TUTORIAL_CELL.format(1)}/{extra}"
    with pytest.raises(ValueError, match=rf"not a plain LSTM.*{re.escape(name)} \[4\]"):
        load(save(tmp_path, tutorial_variables() | {name: np.zeros(4, "float32")}))


# The path.


@pytest.mark.parametrize("suffix", ["", ".index", ".data-00000-of-00001", ".meta"])
def test_prefix_and_each_of_its_files_are_the_checkpoint(tmp_path, suffix):
    prefix = save(tmp_path, tutorial_variables())
    assert_holds(load(prefix + suffix), tutorial_variables(), kernels=2)


def test_folder_gives_its_latest_checkpoint(tmp_path):
    save(tmp_path, tutorial_variables(seed=1), name="one.ckpt")
    save(tmp_path, tutorial_variables(seed=2), name="two.ckpt")
    assert_holds(load(tmp_path), tutorial_variables(seed=2), kernels=2)


def test_folder_moved_from_another_machine_gives_its_only_checkpoint(tmp_path):
    save(tmp_path, tutorial_variables())
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "/elsewhere/model.ckpt-7"\n')
    assert_holds(load(tmp_path), tutorial_variables(), kernels=2)


def test_folder_of_several_without_a_latest_lists_them(tmp_path):
    prefixes = [save(tmp_path, tutorial_variables(), name=name) for name in ("one.ckpt", "two.ckpt")]
    (tmp_path / "checkpoint").unlink()
    with pytest.raises(FileNotFoundError, match=re.escape(f"Found: {prefixes[0]}, {prefixes[1]}.")):
        load(tmp_path)


def test_first_format_of_tensorflow_1_is_read(tmp_path):
    prefix = save(tmp_path, tutorial_variables(), write_version=1)
    assert not (tmp_path / "model.ckpt-7.index").exists()
    assert_holds(load(prefix), tutorial_variables(), kernels=2)


def test_no_checkpoint_is_file_not_found(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no TensorFlow 1 checkpoint.*'model.ckpt.index'.*Received: path="):
        load(tmp_path / "model.ckpt")
    with pytest.raises(FileNotFoundError, match=r"Found: no checkpoint\. Received: path="):
        load(tmp_path)


@pytest.mark.parametrize("damage", ["index is garbage", "data is gone", "data is cut"])
def test_damaged_checkpoint_says_so(tmp_path, damage):
    prefix = save(tmp_path, tutorial_variables())
    data = tmp_path / "model.ckpt-7.data-00000-of-00001"
    if damage == "index is garbage":
        (tmp_path / "model.ckpt-7.index").write_bytes(b"garbage" * 100)
    elif damage == "data is gone":
        data.unlink()
    else:
        data.write_bytes(data.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"files are incomplete or damaged .*Received: path="):
        load(prefix)


def test_checkpoint_gives_a_model_on_the_backend_asked_for(tmp_path):
    model = load(save(tmp_path, tutorial_variables()), backend="reference", precision="float32")
    assert (model.backend, model.precision) == ("reference", "float32")
