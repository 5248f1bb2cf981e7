"""FusedLSTM against keras.layers.LSTM of the same weights."""

import inspect
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasptb import native
from kerasptb.layers import FusedLSTM, StatefulLSTM
from kerasptb.models import LanguageModel
from kerasptb.ops import platform as platforms

B, T, D, H = 4, 6, 3, 10
BACKENDS = ["auto", "reference", "keras", "native"]


@pytest.fixture(autouse=True)
def _native(native_library):
    pass


def inputs(batch=B, steps=T):
    return np.random.default_rng(0).standard_normal((batch, steps, D)).astype("float32")


def pair(backend="native", **kwargs):
    """A FusedLSTM and a keras.layers.LSTM with the same weights, not zero anywhere."""
    layers = FusedLSTM(H, backend=backend, **kwargs), keras.layers.LSTM(H, **kwargs)
    generator = np.random.default_rng(1)
    for layer in layers:
        layer.build((B, T, D))
    weights = [generator.standard_normal(weight.shape) * 0.5 for weight in layers[0].get_weights()]
    for layer in layers:
        layer.set_weights(weights)
    return layers


def assert_equal(found, expected):
    for a, b in zip(tf.nest.flatten(found), tf.nest.flatten(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_every_argument_of_keras_layer_reaches_it():
    values = {
        "units": 5, "activation": "relu", "recurrent_activation": "tanh", "use_bias": False,
        "kernel_initializer": "ones", "recurrent_initializer": "zeros", "bias_initializer": "ones",
        "unit_forget_bias": False, "kernel_regularizer": "l1", "recurrent_regularizer": "l2", "bias_regularizer": "l1",
        "activity_regularizer": "l2", "kernel_constraint": "non_neg", "recurrent_constraint": "unit_norm",
        "bias_constraint": "max_norm", "dropout": 0.25, "recurrent_dropout": 0.5, "seed": 7, "return_sequences": True,
        "return_state": True, "go_backwards": True, "stateful": True, "unroll": True, "use_cudnn": False,
    }  # fmt: skip
    assert values.keys() == inspect.signature(keras.layers.LSTM).parameters.keys() - {"kwargs"}
    theirs = keras.layers.LSTM(*values.values(), name="lstm", dtype="float64")
    for layer in (FusedLSTM, StatefulLSTM):
        ours = layer(*values.values(), name="lstm", dtype="float64")
        assert {**ours.get_config(), **theirs.get_config()} == ours.get_config()
        assert ours.use_cudnn is False


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("return_sequences", [False, True])
@pytest.mark.parametrize("return_state", [False, True])
def test_outputs(backend, return_sequences, return_state):
    ours, theirs = pair(backend, return_sequences=return_sequences, return_state=return_state)
    assert_equal(ours(inputs()), theirs(inputs()))


def test_initial_state():
    ours, theirs = pair(return_state=True)
    state = [np.full((B, H), 0.3, "float32"), np.full((B, H), -0.7, "float32")]
    assert_equal(ours(inputs(), initial_state=state), theirs(inputs(), initial_state=state))


@pytest.mark.parametrize("steps", [1, 2, 17])
@pytest.mark.parametrize("batch", [1, 9])
def test_any_batch_and_length(batch, steps):
    ours, theirs = pair(return_sequences=True)
    assert_equal(ours(inputs(batch, steps)), theirs(inputs(batch, steps)))


def test_stateful_goes_on_and_resets():
    ours, theirs = pair(stateful=True)
    first, second = ours(inputs()), ours(inputs())
    assert np.abs(first - second).max() > 0.01
    assert_equal([first, second], [theirs(inputs()), theirs(inputs())])
    ours.reset_state()
    assert_equal(ours(inputs()), first)


@pytest.mark.parametrize("backend", ["reference", "native"])
@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "jit"])
def test_gradients_in_a_function(backend, jit_compile):
    ours, theirs = pair(backend, return_sequences=True)

    def gradients(layer):
        @tf.function(jit_compile=jit_compile)
        def run(x):
            with tf.GradientTape() as tape:
                tape.watch(x)
                loss = tf.reduce_sum(layer(x) ** 3)
            return tape.gradient(loss, [x, *layer.trainable_variables])

        return run(tf.constant(inputs()))

    assert_equal(gradients(ours), gradients(theirs))


@pytest.mark.parametrize(
    "kwargs",
    [
        {"activation": "relu"},
        {"recurrent_activation": "hard_sigmoid"},
    ],
    ids=str,
)
def test_what_only_keras_serves(kwargs):
    ours, theirs = pair("auto", return_sequences=True, **kwargs)
    assert_equal(ours(inputs()), theirs(inputs()))
    for backend in ("native", "reference"):
        with pytest.raises(ValueError, match=f"{next(iter(kwargs))}=.*Use backend="):
            FusedLSTM(H, backend=backend, **kwargs)


def test_arguments_come_in_keras_order():
    ours, theirs = FusedLSTM(H, "tanh", "hard_sigmoid", False), keras.layers.LSTM(H, "tanh", "hard_sigmoid", False)
    assert {name: value for name, value in ours.get_config().items() if name in theirs.get_config()} == {
        **theirs.get_config(),
        "name": ours.name,
    }


def values_and_gradients(layer, **call):
    """The outputs, and the gradients in the inputs, in the initial state if there is one, and in the weights."""
    x, state = tf.constant(inputs()), [tf.constant(s) for s in call.pop("initial_state", [])]
    with tf.GradientTape() as tape:
        tape.watch([x, *state])
        outputs = layer(x, initial_state=state or None, **call)
        total = tf.add_n([tf.reduce_sum(tf.cast(output, "float32") ** 3) for output in tf.nest.flatten(outputs)])
    return tf.nest.flatten([outputs, tape.gradient(total, [x, *state, *layer.trainable_variables])])


STATE = [np.full((B, H), 0.3, "float32"), np.full((B, H), -0.7, "float32")]
MASKS = {
    "right": np.arange(T) < np.array([[1], [2], [4], [6]]),
    "left": np.arange(T) >= np.array([[0], [1], [3], [5]]),
    "any": np.random.default_rng(2).random((B, T)) < 0.5,
    "none and all": np.arange(B)[:, None] % 2 * np.ones(T) > 0,
}


@pytest.mark.parametrize("call", [{}, {"initial_state": STATE}], ids=["zeros", "state"])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "kwargs",
    [{"go_backwards": True}, {"use_bias": False}, {"unroll": True}, {"zero_output_for_mask": True}, {}],
    ids=str,
)
def test_settings_and_masks_have_keras_semantics(kwargs, backend, call):
    ours, theirs = pair(backend, return_sequences=True, return_state=True, **kwargs)
    for mask in (None, *MASKS.values()):
        found, expected = (values_and_gradients(layer, mask=mask, **call) for layer in (ours, theirs))
        assert_equal(found, expected)
    ours, theirs = pair(backend, **kwargs)
    assert_equal(ours(inputs(), mask=MASKS["any"], **call), theirs(inputs(), mask=MASKS["any"], **call))


def test_a_mask_in_a_stateful_layer():
    ours, theirs = pair(stateful=True, return_sequences=True)
    for mask in MASKS.values():
        assert_equal(ours(inputs(), mask=mask), theirs(inputs(), mask=mask))
        assert_equal(list(ours.states), list(theirs.states))


def test_the_mask_of_an_embedding_arrives():
    tokens = np.array([[1, 2, 0, 0], [3, 0, 0, 0], [1, 1, 2, 1]])
    outputs = []
    ours, theirs = pair(return_sequences=True)
    for layer in (ours, theirs):
        embedding = keras.layers.Embedding(5, D, mask_zero=True, embeddings_initializer=keras.initializers.Ones())
        outputs.append(keras.Sequential([embedding, layer])(tokens))
    assert_equal(*outputs)
    np.testing.assert_array_equal(outputs[0][1, 0], outputs[0][1, 3])
    with_resets = ours(embedding(tokens), resets=np.zeros((3, 4), bool))  # a second tensor
    assert_equal(with_resets, outputs[0])


def test_masks_are_handed_on_with_each_keras():
    """From 3.16 on Keras' own recurrent layers hand none on."""
    tokens = np.array([[1, 2, 0, 0], [3, 0, 0, 0], [1, 1, 2, 1]])
    embedding = keras.layers.Embedding(5, D, "glorot_normal", mask_zero=True)
    first, second = FusedLSTM(4, return_sequences=True), FusedLSTM(3)
    found = keras.Sequential([embedding, first, second])(tokens)
    inner = np.asarray(first(np.asarray(embedding(tokens)), mask=tokens > 0))
    assert_equal(found, second(inner, mask=tokens > 0))
    assert np.abs(second(inner) - found).max() > 1e-3


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("rates", [(0.5, 0), (0, 0.5), (0.25, 0.5)], ids=["inputs", "state", "both"])
@pytest.mark.parametrize("call", [{}, {"mask": MASKS["any"], "initial_state": STATE}], ids=["whole", "masked"])
def test_dropout_has_keras_semantics(backend, rates, call, monkeypatch):
    ours, theirs = pair(backend, dropout=rates[0], recurrent_dropout=rates[1], seed=3, return_sequences=True)
    if backend in ("auto", "native"):  # Keras is given what the native library drew
        drawn, draw = {}, ours._draw
        monkeypatch.setattr(ours, "_draw", lambda *arguments: drawn.update(draw(*arguments)) or drawn)
        for name, mask in (("dropout", "input_mask"), ("recurrent_dropout", "recurrent_mask")):
            monkeypatch.setattr(theirs.cell, f"get_{name}_mask", lambda x, mask=mask: drawn.get(mask))
    for _ in range(2):
        assert_equal(*(values_and_gradients(layer, training=True, **call) for layer in (ours, theirs)))
    if backend in ("auto", "native"):
        for (name, mask), rate in zip(drawn.items(), filter(None, rates), strict=True):
            size = D if name == "input_mask" else H
            assert mask.shape == ((4, B, size) if rates[1] else (B, size))
            assert set(np.unique(mask)) == {np.float32(0), np.float32(1 / np.float32(1 - rate))}
    assert np.abs(ours(inputs(), training=True) - ours(inputs())).max() > 0.01


def by_hand(layer, x, masks=None, recurrent_kernel=None, resets=None):
    """The layer's outputs, step by step in float64."""
    kernel, recurrent, bias = (w.astype("float64") for w in layer.get_weights())
    recurrent = recurrent if recurrent_kernel is None else recurrent_kernel
    h, c, outputs = np.zeros((B, H)), np.zeros((B, H)), []
    for t in range(T):
        if resets is not None:
            h, c = h * ~resets[:, t, None], c * ~resets[:, t, None]
        z = x[:, t] @ kernel + (h if masks is None else h * masks) @ recurrent + bias
        i, f, g, o = np.split(z, 4, axis=1)
        c = c / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
        h = np.tanh(c) / (1 + np.exp(-o))
        outputs.append(h)
    return np.stack(outputs, axis=1)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_shared_mask_of_recurrent_dropout(backend, monkeypatch):
    layer = FusedLSTM(H, backend=backend, recurrent_dropout=0.5, shared_recurrent_dropout=True, return_sequences=True)
    layer.build((B, T, D))
    layer.set_weights(pair("keras")[0].get_weights())
    drawn, draw = [], layer._draw
    monkeypatch.setattr(layer, "_draw", lambda *arguments: drawn.append(draw(*arguments)) or drawn[-1])
    outputs = layer(inputs(), training=True)
    ((name, mask),) = drawn[0].items()
    assert name == "recurrent_mask"
    assert mask.shape == (B, H)
    assert set(np.unique(mask)) == {0.0, 2.0}
    np.testing.assert_allclose(outputs, by_hand(layer, inputs(), mask), rtol=1e-5, atol=1e-6)
    assert np.abs(layer(inputs(), training=True) - outputs).max() > 0.01
    np.testing.assert_allclose(layer(inputs()), by_hand(layer, inputs()), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_dropped_recurrent_weights(backend):
    layer = FusedLSTM(H, backend=backend, recurrent_kernel_dropout=0.5, seed=4, return_sequences=True)
    layer.build((B, T, D))
    layer.set_weights(pair("keras")[0].get_weights())
    kernel = layer.cell.recurrent_kernel.numpy()
    with tf.GradientTape() as tape:
        outputs = layer(inputs(), training=True)
        loss = tf.reduce_sum(outputs**2)
    gradient = tape.gradient(loss, layer.cell.recurrent_kernel.value).numpy()
    dropped = gradient == 0
    assert 0.4 < dropped.mean() < 0.6
    # The mask shows in the gradient; the weights that are left are twice as large.
    expected = by_hand(layer, inputs(), recurrent_kernel=np.where(dropped, 0, 2 * kernel.astype("float64")))
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(layer(inputs()), by_hand(layer, inputs()), rtol=1e-5, atol=1e-6)


def test_dropped_recurrent_weights_in_float64():
    layer = FusedLSTM(H, dtype="float64", recurrent_kernel_dropout=0.5, seed=4)
    assert np.abs(layer(inputs(), training=True) - layer(inputs())).max() > 0.01


@pytest.mark.parametrize("backend", BACKENDS)
def test_resets_begin_a_document(backend):
    layer, _ = pair(backend, return_sequences=True)
    resets = np.random.default_rng(5).random((B, T)) < 0.3
    outputs = layer(inputs(), resets=resets)
    np.testing.assert_allclose(outputs, by_hand(layer, inputs(), resets=resets), rtol=1e-5, atol=1e-6)
    b, t = np.argwhere(resets[:, 1:])[0] + [0, 1]
    np.testing.assert_allclose(
        outputs[b, t:], layer(inputs()[b : b + 1, t:], resets=resets[b : b + 1, t:])[0], atol=1e-6
    )


@pytest.mark.parametrize("backend", ["reference", "keras", "native"])
def test_masks_of_another_length_are_refused(backend):
    layer = FusedLSTM(H, backend=backend)
    for name in ("mask", "resets"):
        with pytest.raises(ValueError, match=rf"`{name}` must be \[B, T\], here \({B}, {T}\).*shape \({B}, {T + 2}\)"):
            layer(inputs(), **{name: np.ones((B, T + 2), bool)})
    with pytest.raises(ValueError, match=r"\[B\], here \(4,\)\. Received: resets of shape \(1,\)"):
        layer(inputs(), resets=np.ones(1, bool))


def test_resets_of_rows_zero_the_state_of_some():
    layer, _ = pair(stateful=True, return_sequences=True)
    first = layer(inputs()).numpy()
    goes_on = pair(stateful=True, return_sequences=True)[0]
    goes_on(inputs())
    goes_on = goes_on(inputs()).numpy()
    found = layer(inputs(), resets=np.array([True, False, False, True])).numpy()
    np.testing.assert_allclose(found[[0, 3]], first[[0, 3]], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found[[1, 2]], goes_on[[1, 2]], rtol=1e-5, atol=1e-6)


def test_resets_are_an_input_of_a_functional_model():
    x, resets = keras.Input((T, D), batch_size=B), keras.Input((T,), batch_size=B, dtype="bool")
    layer = FusedLSTM(H, return_sequences=True)
    model = keras.Model([x, resets], layer(x, resets=resets))
    given = np.random.default_rng(5).random((B, T)) < 0.3
    found = model.predict([inputs(), given], batch_size=B, verbose=0)
    np.testing.assert_allclose(found, by_hand(layer, inputs(), resets=given), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mask", [None, MASKS["any"]], ids=["whole", "masked"])
def test_bidirectional(mask):
    layers = [keras.layers.Bidirectional(kind(H, return_sequences=True)) for kind in (FusedLSTM, keras.layers.LSTM)]
    for layer in layers:
        layer.build((B, T, D))
    layers[0].set_weights(layers[1].get_weights())
    assert layers[0].backward_layer.plan((B, T, D), mask=True).implementation == "native"
    assert_equal(*(values_and_gradients(layer, mask=mask) for layer in layers))


@pytest.mark.parametrize("kwargs", [{"shared_recurrent_dropout": True}, {"recurrent_kernel_dropout": 0.5}], ids=str)
def test_what_keras_lacks_needs_the_standard_activations(kwargs):
    with pytest.raises(ValueError, match=r"activation=.* It has no resets, shared"):
        FusedLSTM(H, activation="relu", recurrent_dropout=0.5, **kwargs)
    layer = FusedLSTM(H, activation="relu")
    with pytest.raises(ValueError, match="It has no resets"):
        layer(inputs(), resets=np.zeros((B, T), bool))


def test_what_was_asked_of_a_layer_is_saved():
    asked = {"shared_recurrent_dropout": True, "recurrent_kernel_dropout": 0.25}
    config = FusedLSTM.from_config(FusedLSTM(H, recurrent_dropout=0.5, **asked).get_config()).get_config()
    assert {name: config[name] for name in asked} == asked


@pytest.mark.parametrize("backend", BACKENDS)
def test_serialisation(backend, tmp_path):
    model = keras.Sequential([keras.Input((T, D)), FusedLSTM(H, backend=backend, return_sequences=True)])
    expected = model.predict(inputs(), batch_size=B, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    layer = loaded.layers[0]
    assert type(layer) is FusedLSTM
    assert (layer.backend, layer.precision, layer.return_sequences) == (backend, None, True)
    np.testing.assert_array_equal(loaded.predict(inputs(), batch_size=B, verbose=0), expected)


def test_weights_move_between_the_layers():
    ours, theirs = pair()
    assert [w.shape for w in ours.weights] == [w.shape for w in theirs.weights]
    assert [w.path.split("/", 1)[1] for w in ours.weights] == [w.path.split("/", 1)[1] for w in theirs.weights]


@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "jit"])
def test_fit_of_a_plain_model(jit_compile):
    def losses(layer_class, **kwargs):
        keras.utils.set_random_seed(0)
        layer = layer_class(H, **kwargs)
        model = keras.Sequential([keras.Input((T, D), batch_size=B), layer, keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(0.05), "mse", jit_compile=jit_compile)
        y = inputs(32).sum(axis=(1, 2))
        data = tf.data.Dataset.from_tensor_slices((inputs(32), y)).batch(B, drop_remainder=True)
        return model.fit(data, epochs=5, shuffle=False, verbose=0).history["loss"]

    ours, theirs = losses(FusedLSTM, backend="native"), losses(keras.layers.LSTM)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    assert ours[-1] < 0.9 * ours[0]


def test_fit_of_arrays_whose_last_batch_is_short():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((T, D)), FusedLSTM(H, backend="native"), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.05), "mse", jit_compile=False)
    x = inputs(30)
    losses = model.fit(x, x.sum(axis=(1, 2)), batch_size=4, epochs=5, verbose=0).history["loss"]
    assert losses[-1] < 0.9 * losses[0]
    assert model.predict(x, batch_size=7, verbose=0).shape == (30, 1)


def test_float64_and_bfloat16_run_under_auto():
    for dtype, tolerance in (("float64", 1e-12), ("mixed_bfloat16", 0.01)):
        ours, theirs = FusedLSTM(H, dtype=dtype), keras.layers.LSTM(H, dtype=dtype)
        assert_equal(ours(inputs()).shape, theirs(inputs()).shape)
        theirs.set_weights(ours.get_weights())
        a, b = (np.asarray(keras.ops.cast(layer(inputs()), "float64")) for layer in (ours, theirs))
        np.testing.assert_allclose(a, b, atol=tolerance)


@pytest.mark.parametrize("shape", [pytest.param((T, D), marks=pytest.mark.slow), (None, D)], ids=["static", "dynamic"])
def test_an_export_runs_without_the_package(tmp_path, shape):
    model = keras.Sequential([keras.Input(shape), FusedLSTM(H, return_sequences=True), keras.layers.Dense(2)])
    np.save(tmp_path / "y.npy", model.predict(inputs(), batch_size=B, verbose=0))
    np.save(tmp_path / "x.npy", inputs())
    model.export(tmp_path / "keras", verbose=False)
    tf.saved_model.save(
        model, tmp_path / "tensorflow", signatures=tf.function(model, input_signature=[tf.TensorSpec((None, *shape))])
    )
    script = """
import sys, numpy as np, tensorflow as tf
folder, expected = sys.argv[1], np.load(sys.argv[1] + "/y.npy")
x = tf.constant(np.load(folder + "/x.npy"))
by_keras, by_tensorflow = (tf.saved_model.load(folder + name) for name in ("/keras", "/tensorflow"))
(y,) = by_tensorflow.signatures["serving_default"](x).values()
for found in (by_keras.serve(x), y):
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
assert "kerasptb" not in sys.modules
"""
    result = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]


def test_the_native_backend_by_name_is_not_exported(tmp_path):
    model = keras.Sequential([keras.Input((T, D)), FusedLSTM(H, backend="native")])
    with pytest.raises(ValueError, match=r"An export cannot hold .* Use backend=.auto. or"):
        model.export(tmp_path / "export", verbose=False)


def test_supports_jit_follows_the_backend():
    assert FusedLSTM(H, backend="native").supports_jit
    assert FusedLSTM(H, backend="reference").supports_jit
    assert FusedLSTM(H, backend="keras").supports_jit == keras.layers.LSTM(H).supports_jit


def test_unusable_library_is_said_when_the_layer_is_made(monkeypatch):
    monkeypatch.setattr(platforms, "why_not_native", lambda precision="float32": "It is not built.")
    with pytest.raises(native.NativeUnavailableError, match=r"It is not built\. Use .* Received: backend='native'"):
        FusedLSTM(H, backend="native")
    assert_equal(pair("auto")[0](inputs()), pair("auto")[1](inputs()))


@pytest.mark.parametrize(
    ("named", "reasons", "replaced"),
    [
        ({"precision": "bfloat16"}, {"bfloat16": "No AVX512-BF16."}, {"precision": "float32"}),
        ({"backend": "native"}, {"float32": "Not built."}, {"backend": "auto"}),
        (
            {"backend": "native", "precision": "bfloat16x3"},
            {"float32": "Not built.", "bfloat16x3": "Not built."},
            {"precision": "float32", "backend": "auto"},
        ),
        ({"backend": "native"}, {"bfloat16": "No AVX512-BF16."}, {}),
        (
            {"backend": "native", "dtype": "mixed_bfloat16"},
            {"bfloat16": "No AVX512-BF16."},
            {"precision": "float32"},
        ),
    ],
)
def test_what_was_named_elsewhere_is_replaced_where_it_cannot_be_had(named, reasons, replaced, monkeypatch):
    config = {**FusedLSTM(H).get_config(), **named}
    model_config = {**LanguageModel(20, 6, 5, 2, 3).get_config(), **named}
    monkeypatch.setattr(platforms, "why_not_native", lambda precision="float32": reasons.get(precision))
    for kind, saved in ((FusedLSTM, config), (LanguageModel, model_config)):
        if replaced:
            with pytest.warns(UserWarning, match=f"Loaded with {next(iter(replaced))}=.*: (Not|No) "):
                loaded = kind.from_config(saved)
        else:
            loaded = kind.from_config(saved)
        expected = {"backend": "auto", "precision": None, **named, **replaced}
        assert (loaded.backend, loaded.precision) == (expected["backend"], expected["precision"])


def test_unknown_backend():
    with pytest.raises(ValueError, match="Received: backend='gpu'"):
        FusedLSTM(H, backend="gpu")


def test_eager_gradient_is_at_the_state_and_weights_that_the_layer_read():
    gradients = []
    for layer in pair(stateful=True, return_sequences=True):
        layer(inputs())
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(inputs()) ** 2)
        # The layer has assigned its new state by now; the weights move on, too, before the gradient is asked for.
        read = [weight.numpy() for weight in layer.trainable_weights]
        for weight in layer.trainable_weights:
            weight.assign(weight * 0.5)
        gradients.append(tape.gradient(loss, [weight.value for weight in layer.trainable_weights]))
        layer.set_weights(read)
    for ours, theirs in zip(*gradients, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_precision_that_was_named_is_saved():
    assert FusedLSTM.from_config(FusedLSTM(H, precision="float32").get_config()).precision == "float32"


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_a_rate_that_is_none_is_refused(rate):
    with pytest.raises(ValueError, match="Expected recurrent_kernel_dropout to be in"):
        FusedLSTM(3, recurrent_kernel_dropout=rate)
