"""Values and gradients of the linear cross-entropy against float64, over backends, shapes and magnitudes."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasptb.ops import chunked_cross_entropy
from kerasptb.ops.linear_cross_entropy import linear_cross_entropy

BACKENDS = ["keras", "native"]
SHAPES = [
    (1, 1, 1),
    (1, 3, 2),
    (7, 5, 3),
    (33, 31, 65),
    (64, 32, 128),
    (130, 48, 1000),
    (257, 200, 77),
    (40, 700, 90),
]  # N, D, V
OUTPUTS = ("loss", "dh", "d_kernel", "d_bias")


@pytest.fixture(autouse=True)
def library_for_native(request):
    if hasattr(request.node, "callspec") and request.node.callspec.params.get("backend") == "native":
        request.getfixturevalue("native_library")


def make_inputs(num_words, features, vocabulary_size, magnitude=1.0, seed=0):
    generator = np.random.default_rng(seed)
    h = generator.normal(size=(num_words, features)) * 0.5 * magnitude
    kernel = generator.uniform(-0.3, 0.3, (features, vocabulary_size))
    bias = generator.uniform(-0.3, 0.3, vocabulary_size) * magnitude
    targets = generator.integers(0, vocabulary_size, num_words).astype("int32")
    upstream = generator.normal(size=num_words)
    return [x.astype("float32") for x in (h, kernel, bias)], targets, upstream.astype("float32")


def exact(arrays, targets, upstream):
    """Loss per word and the gradients of sum(upstream * loss), in float64."""
    h, kernel, bias = (np.asarray(x, "float64") for x in arrays)
    logits = h @ kernel + bias
    shifted = logits - logits.max(axis=1, keepdims=True)
    rows = np.arange(len(targets))
    log_sum_exp = np.log(np.exp(shifted).sum(axis=1))
    residual = np.exp(shifted - log_sum_exp[:, None])
    residual[rows, targets] -= 1
    d_logits = residual * np.asarray(upstream, "float64")[:, None]
    return log_sum_exp - shifted[rows, targets], d_logits @ kernel.T, h.T @ d_logits, d_logits.sum(axis=0)


def loss_and_gradients(arrays, targets, upstream, **options):
    tensors = [tf.constant(x) for x in arrays]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        loss = linear_cross_entropy(*tensors, targets, **options)
        objective = tf.reduce_sum(loss * upstream)
    return [x.numpy() for x in (loss, *tape.gradient(objective, tensors))]


def relative_error(value, expected):
    """Largest error, relative to the largest value; 0 / 0 counts as 0 (the gradients of a vocabulary of one)."""
    return np.abs(value - expected).max() / max(np.abs(expected).max(), 1e-30)


def assert_twice_as_good(values, reference, expected):
    """The error is at most twice the framework's own float32 error, or a few roundings of the largest value."""
    for name, value, ours, wanted in zip(OUTPUTS, values, reference, expected, strict=True):
        assert value.shape == wanted.shape
        allowed = 2 * np.abs(ours - wanted).max() + 4 * np.finfo("float32").eps * max(np.abs(wanted).max(), 1e-3)
        assert np.abs(value - wanted).max() <= allowed, name


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_loss_per_word_with_any_upstream_matches_float64(shape, backend):
    arrays, targets, upstream = make_inputs(*shape)
    values = loss_and_gradients(arrays, targets, upstream, backend=backend)
    reference = loss_and_gradients(arrays, targets, upstream, backend="reference")
    assert_twice_as_good(values, reference, exact(arrays, targets, upstream))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_scaled_sum_matches_float64(shape, backend):
    arrays, targets, _ = make_inputs(*shape)
    options = {"reduction": "sum", "scale": 0.25}
    values = loss_and_gradients(arrays, targets, 3.0, backend=backend, **options)
    reference = loss_and_gradients(arrays, targets, 3.0, backend="reference", **options)
    loss, *gradients = exact(arrays, targets, np.full(shape[0], 0.75))
    assert_twice_as_good(values, reference, [np.asarray(0.25 * loss.sum()), *gradients])


@pytest.mark.parametrize("reduction", ["none", "sum"])
@pytest.mark.parametrize("backend", ["reference", *BACKENDS])
@pytest.mark.parametrize("shape", [*SHAPES, (600, 31, 31)])
def test_a_transposed_kernel_has_a_transposed_gradient(shape, backend, reduction):
    (h, kernel, bias), targets, _ = make_inputs(*shape)
    loss, *gradients = exact((h, kernel, bias), targets, np.full(shape[0], 0.5))
    options = {"backend": backend, "reduction": reduction, "scale": 0.5, "transpose_kernel": True}
    found = loss_and_gradients((h, kernel.T, bias), targets, 1.0, **options)
    for value, wanted in zip(found[1:], (gradients[0], gradients[1].T, gradients[2]), strict=True):
        assert value.shape == wanted.shape
        assert np.abs(value - wanted).max() <= 1e-5 * max(np.abs(wanted).max(), 1e-3)
    np.testing.assert_allclose(found[0], 0.5 * (loss.sum() if reduction == "sum" else loss), rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("backend", BACKENDS)
def test_many_chunks_with_a_ragged_end_give_the_same_as_one(backend, transposed, monkeypatch):
    arrays, targets, upstream = make_inputs(101, 8, 50)
    expected = list(exact(arrays, targets, upstream))
    if transposed:
        arrays[1], expected[2] = arrays[1].T, expected[2].T
    monkeypatch.setattr(chunked_cross_entropy, "_CHUNK_BYTES", 0)
    monkeypatch.setattr(chunked_cross_entropy, "_MIN_CHUNK_ROWS", 9)
    # The fused kernel has chunks of its own.
    monkeypatch.setattr(sys.modules[linear_cross_entropy.__module__], "_MAX_FUSED_FEATURES", 0)
    found = loss_and_gradients(arrays, targets, upstream, backend=backend, transpose_kernel=transposed)
    for value, wanted in zip(found, expected, strict=True):
        assert relative_error(value, wanted) < 2e-6


@pytest.mark.parametrize("backend", ["reference", *BACKENDS])
def test_logits_of_ten_thousand_stay_finite_and_right(backend):
    h = np.array([[1e4], [-1e4], [1e4]], "float32")
    kernel, bias = np.array([[1.0, -1.0, 0.5]], "float32"), np.zeros(3, "float32")
    loss, dh, d_kernel, d_bias = loss_and_gradients(
        (h, kernel, bias), np.array([0, 0, 1]), np.ones(3, "float32"), backend=backend
    )
    np.testing.assert_allclose(loss, [0.0, 2e4, 2e4])
    np.testing.assert_allclose(dh, [[0.0], [-2.0], [2.0]])
    np.testing.assert_allclose(d_kernel, [[2e4, -2e4, 0.0]])
    np.testing.assert_allclose(d_bias, [0.0, 0.0, 0.0])


@pytest.mark.parametrize("backend", ["reference", *BACKENDS])
@pytest.mark.parametrize("invalid", [-1, 10, 2**31 - 1])
def test_targets_outside_the_vocabulary_are_an_error_that_names_them(backend, invalid):
    arrays, targets, _ = make_inputs(5, 3, 10)
    targets[3] = invalid
    for reduction in ("none", "sum"):

        def call(targets, reduction=reduction):
            return linear_cross_entropy(*arrays, targets, reduction=reduction, backend=backend)

        with pytest.raises(ValueError, match=rf"in \[0, 10\).*{invalid}"):
            call(targets)
        with pytest.raises(tf.errors.InvalidArgumentError, match=str(invalid)):
            tf.function(call)(tf.constant(targets))


@pytest.mark.parametrize("compiled", [False, True])
def test_targets_are_checked_in_a_graph_unless_xla_would_say_that_it_ignores_the_check(compiled):
    arrays, targets, _ = make_inputs(5, 3, 10)
    call = tf.function(lambda targets: linear_cross_entropy(*arrays, targets), jit_compile=compiled)
    operations = {each.type for each in call.get_concrete_function(tf.constant(targets)).graph.get_operations()}
    assert ("Assert" in operations) == (not compiled)


@pytest.mark.parametrize("backend", BACKENDS)
def test_leading_dimensions_and_integer_types_are_free(backend):
    arrays, targets, _ = make_inputs(12, 4, 9)
    flat = linear_cross_entropy(*arrays, targets, backend=backend).numpy()
    h, kernel, bias = arrays
    shaped = linear_cross_entropy(
        h.reshape(2, 3, 2, 4), kernel, bias, targets.reshape(2, 3, 2).astype("int64"), backend=backend
    )
    assert shaped.shape == (2, 3, 2)
    np.testing.assert_array_equal(shaped.numpy().ravel(), flat)
    scalar = linear_cross_entropy(h[0], kernel, bias, targets[0], backend=backend)
    assert scalar.shape == ()
    np.testing.assert_allclose(scalar, flat[0], rtol=1e-6)


@pytest.mark.parametrize("backend", ["reference", *BACKENDS])
def test_no_words_give_no_loss_and_zero_gradients(backend):
    arrays, targets, upstream = make_inputs(0, 4, 9)
    loss, dh, d_kernel, d_bias = loss_and_gradients(arrays, targets, upstream, backend=backend)
    assert loss.shape == (0,)
    assert dh.shape == (0, 4)
    assert not d_kernel.any()
    assert not d_bias.any()
    assert loss_and_gradients(arrays, targets, 1.0, backend=backend, reduction="sum")[0] == 0


@pytest.mark.parametrize("where", ["tape inside", "tape outside", "compiled"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_graphs_give_the_gradients_of_eager_execution(backend, where):
    arrays, targets, _ = make_inputs(40, 6, 30)
    options = {"reduction": "sum", "scale": 0.5, "backend": backend}
    eager = loss_and_gradients(arrays, targets, 1.0, **options)
    tensors = [tf.constant(x) for x in arrays]

    def loss_of(*tensors):
        return linear_cross_entropy(*tensors, targets, **options)

    def with_tape(*tensors):
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            loss = loss_of(*tensors)
        return loss, *tape.gradient(loss, tensors)

    if where == "tape outside":
        graph = tf.function(loss_of)
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            loss = graph(*tensors)
        values = loss, *tape.gradient(loss, tensors)
    else:
        values = tf.function(with_tape, jit_compile=where == "compiled")(*tensors)
    for value, wanted in zip(values, eager, strict=True):
        np.testing.assert_allclose(value, wanted, rtol=2e-5, atol=1e-6)


def test_gradients_of_the_sum_are_not_multiplied_by_one(native_library):
    arrays, targets, _ = make_inputs(40, 6, 30)

    @tf.function
    def gradients(*tensors):
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            loss = linear_cross_entropy(*tensors, targets, reduction="sum", scale=0.5, backend="native")
        return tape.gradient(loss, tensors)

    graph = gradients.get_concrete_function(*(tf.constant(x) for x in arrays)).graph
    assert not any(op.type == "Mul" and op.outputs[0].shape == (6, 30) for op in graph.get_operations())


def test_invalid_targets_under_xla_give_nan_and_add_nothing_to_the_gradients():
    arrays, targets, _ = make_inputs(5, 3, 10)

    @tf.function(jit_compile=True)
    def run(targets, *tensors):
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            loss = linear_cross_entropy(*tensors, targets, reduction="sum", backend="keras")
        return loss, *tape.gradient(loss, tensors)

    loss, dh, *_ = run(np.where(np.arange(5) == 3, 10, targets), *arrays)
    assert np.isnan(loss)
    assert not dh[3].numpy().any()
    kept = np.arange(5) != 3
    expected = exact((arrays[0][kept], *arrays[1:]), targets[kept], np.ones(4))
    np.testing.assert_allclose(dh.numpy()[kept], expected[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("reduction", ["none", "sum"])
@pytest.mark.parametrize("backend", ["reference", "keras", "native"])
def test_who_looks_for_nan_finds_none_in_a_graph_without(backend, reduction):
    arrays, targets, _ = make_inputs(5, 3, 10)

    def step():
        tensors = [tf.constant(x) for x in arrays]
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            loss = tf.reduce_sum(linear_cross_entropy(*tensors, targets, reduction=reduction, backend=backend))
        return loss, *tape.gradient(loss, tensors)

    tf.debugging.enable_check_numerics()
    try:
        loss, *gradients = tf.function(step)()
    finally:
        tf.debugging.disable_check_numerics()
    assert np.isfinite(loss).all()
    assert gradients[1].shape == (3, 10)


@pytest.mark.parametrize("backend", ["keras", "native"])
@pytest.mark.parametrize("features", [6, 700])
def test_unknown_number_of_words_in_a_graph(native_library, backend, features):
    (h, kernel, bias), targets, upstream = make_inputs(40, features, 30)

    @tf.function(
        input_signature=[tf.TensorSpec([None, features]), *[tf.TensorSpec([None], t) for t in ("int32", "float32")]]
    )
    def loss_and_gradients_of(h, targets, upstream):
        tensors = [h, tf.constant(kernel), tf.constant(bias)]
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            loss = linear_cross_entropy(*tensors, targets, backend=backend)
        return [loss, *tape.gradient(loss, tensors, output_gradients=upstream)]

    for num_words in (40, 7):
        some = h[:num_words], targets[:num_words], upstream[:num_words]
        expected = exact((some[0], kernel, bias), *some[1:])
        for found, wanted in zip(loss_and_gradients_of(*some), expected, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    loss, dh, d_kernel, d_bias = loss_and_gradients_of(h[:0], targets[:0], upstream[:0])
    assert (loss.shape, dh.shape) == ((0,), (0, features))
    assert not d_kernel.numpy().any()
    assert not d_bias.numpy().any()


def test_without_a_tape_no_gradient_is_made(monkeypatch):
    arrays, targets, _ = make_inputs(5, 3, 10)

    def forbidden(*_):
        raise AssertionError("gradient work in a forward pass")

    monkeypatch.setattr(chunked_cross_entropy.KerasOperations, "_loss_and_gradients", forbidden)
    linear_cross_entropy(*arrays, targets, reduction="sum", backend="keras")
    with pytest.raises(AssertionError, match="gradient work"):
        loss_and_gradients(arrays, targets, 1.0, reduction="sum", backend="keras")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reduction": "mean"}, "`reduction` must be"),
        ({"backend": "fast"}, "`backend` must be one of"),
        ({"precision": "float16"}, "`precision` must be"),
        ({"scale": np.ones(3)}, "`scale` must be a number"),
        ({"kernel": np.zeros((4, 10), "float32")}, "`h` must be"),
        ({"transpose_kernel": True}, r"`kernel` \[V, D\]"),
        ({"kernel": np.zeros((9, 3), "float32"), "transpose_kernel": True}, r"`bias` must be \[V\], here \(9,\)"),
        ({"bias": np.zeros(9, "float32")}, "`bias` must be"),
        ({"h": np.float32(1.0)}, "`h` must be"),
        ({"targets": np.zeros(4, "int32")}, "`targets` must be of h's shape without"),
        ({"targets": np.zeros(5, "float32")}, "`targets` must be integers"),
        ({"h": np.zeros((5, 3), "float64")}, "must have one dtype"),
    ],
)
def test_wrong_arguments_are_named(change, message):
    arrays, targets, _ = make_inputs(5, 3, 10)
    arguments = dict(zip(("h", "kernel", "bias"), arrays, strict=True), targets=targets) | change
    with pytest.raises(ValueError, match=message):
        linear_cross_entropy(**arguments)


def test_reference_takes_float64():
    arrays, targets, upstream = make_inputs(7, 5, 3)
    doubles = [x.astype("float64") for x in arrays]
    values = loss_and_gradients(doubles, targets, upstream.astype("float64"), backend="reference")
    for value, wanted in zip(values, exact(doubles, targets, upstream), strict=True):
        assert relative_error(value, wanted) < 1e-14


def test_keras_variables_train():
    kernel = keras.Variable(np.zeros((3, 10), "float32"))
    bias = keras.Variable(np.zeros(10, "float32"))
    h, targets = np.ones((2, 3), "float32"), np.array([4, 7])
    with tf.GradientTape() as tape:
        loss = linear_cross_entropy(h, kernel, bias, targets, reduction="sum")
    d_kernel, d_bias = tape.gradient(loss, [kernel.value, bias.value])
    assert loss.numpy() == pytest.approx(2 * np.log(10), rel=1e-6)
    expected = np.full(10, 0.2, "float32")
    expected[[4, 7]] -= 1
    np.testing.assert_allclose(d_bias, expected, rtol=1e-6)
    np.testing.assert_allclose(d_kernel, np.tile(expected, (3, 1)), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_two_hundred_thousand_words_take_less_memory_than_their_logits(precision, skip_without):
    """Measured in a process of its own: the peak of a training step over the resident size before it."""
    skip_without(precision)
    code = f"""
import resource
import tensorflow as tf
from kerasptb.ops import linear_cross_entropy
N, D, V = 1024, 8, 200_000
h, kernel, bias = tf.random.normal((N, D)), tf.random.normal((D, V)), tf.zeros(V)
targets = tf.random.uniform((N,), 0, V, tf.int32)
def step(h, targets):
    with tf.GradientTape() as tape:
        tape.watch([h, kernel, bias])
        loss = linear_cross_entropy(
            h, kernel, bias, targets, reduction="sum", backend="native", precision={precision!r}
        )
    return loss, tape.gradient(loss, [h, kernel, bias])
step(h[:1], targets[:1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
loss, _ = tf.function(step)(h, targets)
assert 10 < float(loss) / N < 20
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run([sys.executable, "-c", code], env=environment, check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]
    logits_in_kilobytes = 1024 * 200_000 * 4 / 1024
    assert int(result.stdout) < 0.4 * logits_in_kilobytes


def test_a_graph_is_traced_without_autograph(caplog):
    arrays, targets, _ = make_inputs(5, 3, 10)
    tf.function(lambda: linear_cross_entropy(*arrays, targets, reduction="sum"))()
    assert "AutoGraph" not in caplog.text


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int64"])
def test_targets_of_a_type_too_narrow_for_the_vocabulary(dtype):
    arrays, targets, _ = make_inputs(6, 3, 65_536 + 10)
    targets %= 100
    expected = linear_cross_entropy(*arrays, targets)
    np.testing.assert_array_equal(linear_cross_entropy(*arrays, targets.astype(dtype)), expected)
