"""Values and gradients of every backend against the reference in float64, over odd shapes."""

import numpy as np
import pytest
import tensorflow as tf

from kerasptb.ops import platform as platforms
from kerasptb.ops.lstm import lstm
from kerasptb.ops.plan import Plan, choose

NAMES = ("x", "h0", "c0", "kernel", "recurrent_kernel", "bias")
# (batch, steps, features, units): ones, primes, just beside the widths of vectors (4, 8, 16) and of tiles (3, 6 rows),
# units beyond the caches, the two layers of the tutorial's model in small, sums of more than the 256 products that make
# a block, over features and over words, and more words than the L2 cache has tiles of.
SHAPES = [
    (1, 1, 1, 1),
    (1, 7, 3, 5),
    (2, 1, 5, 16),
    (3, 5, 4, 15),
    (5, 4, 17, 17),
    (6, 3, 2, 33),
    (7, 6, 31, 64),
    (13, 9, 10, 23),
    (20, 3, 8, 130),
    (61, 4, 20, 96),
    (1, 3, 6, 300),
    (4, 2, 3, 650),
    (7, 3, 270, 20),
    (90, 13, 5, 20),
]
# Shapes with rows of x that repeat, as the vectors of words do, and how many different ones there are: of one word the
# most equal rows that kernels add up come several times over.
WORDS = {(20, 10, 96, 33): 40, (31, 9, 130, 20): 1, (1, 200, 300, 5): 90}
SHAPES += WORDS


def example(shape, seed=0, scale=1.0):
    """Inputs, and the upstream gradients of the three outputs; numbers of float32 held in float64."""
    B, T, D, H = shape
    generator = np.random.default_rng([seed, *shape])

    def normal(*size, stddev=1.0):
        return (generator.standard_normal(size) * stddev).astype(np.float32).astype(np.float64)

    if tuple(shape) in WORDS:
        words = normal(WORDS[tuple(shape)], D, stddev=scale)
        x = words[generator.integers(len(words), size=(B, T))]
    else:
        x = normal(B, T, D, stddev=scale)
    inputs = (
        x,
        normal(B, H, stddev=0.5),
        normal(B, H),
        normal(D, 4 * H, stddev=D**-0.5),
        normal(H, 4 * H, stddev=H**-0.5),
        normal(4 * H, stddev=0.2),
    )
    return inputs, (normal(B, T, H), normal(B, H), normal(B, H))


def values_and_gradients(shape, dtype, backend, wrap=lambda function: function, scale=1.0, masks=None):
    """The outputs h_seq, h_T, c_T and the gradients of sum(outputs * upstream), by name."""
    inputs, upstream = ([tf.constant(a, dtype) for a in arrays] for arrays in example(shape, scale=scale))
    masks = {name: tf.constant(m, tf.bool if m.dtype == bool else dtype) for name, m in (masks or {}).items()}

    @wrap
    def run(*inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = lstm(*inputs, backend=backend, **masks)
            total = tf.add_n([tf.reduce_sum(a * b) for a, b in zip(outputs, upstream, strict=True)])
        return outputs, tape.gradient(total, inputs)

    outputs, gradients = run(*inputs)
    named = dict(zip(("h_seq", "h_T", "c_T"), outputs, strict=True))
    named |= {f"d{name}": gradient for name, gradient in zip(NAMES, gradients, strict=True)}
    return {name: tensor.numpy().astype(np.float64) for name, tensor in named.items()}


def largest_error(found, exact):
    """The largest error, in units of the tensor's largest number, or as it is if all are zero."""
    return np.max(np.abs(found - exact)) / (np.max(np.abs(exact)) or 1.0)


def assert_as_exact_as_the_framework(found, shape, masks=None, roundings=16):
    """At most twice the error of the reference's plain operations, run in float32.

    The floor is for tensors where that error is almost zero by luck. It is 4 roundings of float32 for a value, and 16
    for a gradient, which is a sum of rounded terms over steps and rows.
    """
    exact = values_and_gradients(shape, "float64", "reference", masks=masks)
    framework = values_and_gradients(shape, "float32", "reference", masks=masks)
    rounding = 2.0**-24
    for name, tensor in found.items():
        floor = (roundings if name.startswith("d") else roundings / 4) * rounding
        allowed = max(2 * largest_error(framework[name], exact[name]), floor)
        assert largest_error(tensor, exact[name]) <= allowed, name


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_native_is_as_exact_as_the_framework(native_library, shape):
    assert_as_exact_as_the_framework(values_and_gradients(shape, "float32", "native"), shape)


@pytest.mark.parametrize("shape", SHAPES[3:9], ids=str)
def test_recurrence_between_the_products_of_the_framework(gpus, shape):
    layer = values_and_gradients(shape, "float32", "native")
    gpus(None)
    found = values_and_gradients(shape, "float32", "native")
    assert_as_exact_as_the_framework(found, shape)
    assert any(np.any(found[name] != layer[name]) for name in found)  # the other kernels


@pytest.mark.parametrize("shape", SHAPES[3:6], ids=str)
def test_keras_is_as_exact_as_the_framework(shape):
    assert_as_exact_as_the_framework(values_and_gradients(shape, "float32", "keras"), shape)


@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "jit"])
def test_native_in_compiled_functions(native_library, jit_compile):
    shape = (5, 4, 17, 17)
    found = values_and_gradients(
        shape, "float32", "native", wrap=lambda function: tf.function(function, jit_compile=jit_compile)
    )
    assert_as_exact_as_the_framework(found, shape)


def test_native_with_saturated_gates(native_library):
    shape, scale = (3, 5, 4, 15), 100.0
    exact = values_and_gradients(shape, "float64", "reference", scale=scale)
    for name, tensor in values_and_gradients(shape, "float32", "native", scale=scale).items():
        # z is about 100. Its rounding error becomes a relative error of this size in a saturated gate's slope.
        assert largest_error(tensor, exact[name]) <= scale * 2.0**-23, name


def test_native_passes_nan_and_infinity_on(native_library):
    inputs, _ = example((2, 3, 4, 5))
    inputs = [a.astype(np.float32) for a in inputs]
    inputs[0][0, 1, 0] = np.nan
    h_seq = lstm(*inputs, backend="native")[0].numpy()
    assert np.isnan(h_seq[0, 1:]).all()
    assert np.isfinite(h_seq[0, 0]).all()
    assert np.isfinite(h_seq[1]).all()


def test_native_gives_the_same_bits_on_every_run(native_library):
    first, second = (values_and_gradients((61, 4, 20, 96), "float32", "native") for _ in range(2))
    for name, tensor in first.items():
        np.testing.assert_array_equal(tensor, second[name], err_msg=name)


def test_native_without_a_tape_gives_the_same_bits(native_library):
    shape = (7, 6, 31, 64)
    inputs = [tf.constant(a, "float32") for a in example(shape)[0]]
    kept = values_and_gradients(shape, "float32", "native")
    for name, tensor in zip(("h_seq", "h_T", "c_T"), lstm(*inputs, backend="native"), strict=True):
        np.testing.assert_array_equal(tensor, kept[name])


def test_native_gradient_of_a_tape_outside_the_function(native_library):
    shape = (3, 5, 4, 15)
    inputs, upstream = ([tf.constant(a, "float32") for a in arrays] for arrays in example(shape))
    function = tf.function(lambda *inputs: lstm(*inputs, backend="native"))
    function(*inputs)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = function(*inputs)
        total = tf.add_n([tf.reduce_sum(a * b) for a, b in zip(outputs, upstream, strict=True)])
    expected = values_and_gradients(shape, "float32", "native")
    for name, gradient in zip(NAMES, tape.gradient(total, inputs), strict=True):
        np.testing.assert_allclose(gradient, expected[f"d{name}"], rtol=1e-6, atol=1e-6)


def test_auto_takes_the_native_library_where_it_serves(native_library):
    assert choose("auto").implementation == "native"
    assert choose("auto", limit="No.") == Plan("keras", reason="No.")


def test_named_backends_do_not_fall_back(native_library):
    with pytest.raises(ValueError, match=r"No\. Use backend="):
        choose("native", limit="No.")
    inputs = [tf.constant(a, "float64") for a in example((2, 3, 4, 5))[0]]
    with pytest.raises(ValueError, match="takes float32"):
        lstm(*inputs, backend="native")
    unknown_steps = tf.function(
        lambda x, *others: lstm(x, *others, backend="reference"),
        input_signature=[tf.TensorSpec((2, None, 4)), *[tf.TensorSpec(a.shape) for a in inputs[1:]]],
    )
    with pytest.raises(ValueError, match="needs a static number of steps"):
        unknown_steps.get_concrete_function()


def test_unusable_library_is_an_error_by_name_and_passed_over_by_auto(monkeypatch):
    monkeypatch.setattr(platforms, "why_not_native", lambda precision="float32": "It is not built.")
    inputs = [tf.constant(a, "float32") for a in example((2, 3, 4, 5))[0]]
    with pytest.raises(RuntimeError, match=r"It is not built\."):
        lstm(*inputs, backend="native")
    expected = lstm(*inputs, backend="keras")[0]
    np.testing.assert_array_equal(lstm(*inputs, backend="auto")[0], expected)


@pytest.mark.parametrize("backend", ["keras", "native"])
@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "jit"])
@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
def test_batch_and_steps_unknown_until_run(native_library, backend, jit_compile, masked):
    inputs = [tf.constant(a, "float32") for a in example((5, 3, 4, 6))[0]]

    def gradients(*inputs, backend=backend):
        masks = dict(zip(("mask", "resets"), masks_of(inputs[0])[:2], strict=True)) if masked else {}
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            total = tf.add_n([tf.reduce_sum(a**2) for a in lstm(*inputs, backend=backend, **masks)])
        return tape.gradient(total, inputs)

    signature = [tf.TensorSpec((None, *a.shape[1:]) if i < 3 else a.shape) for i, a in enumerate(inputs)]
    open_steps = backend == "native" or not jit_compile  # XLA needs to know how often Keras' loop runs
    signature[0] = tf.TensorSpec((None, None if open_steps else 3, 4))
    function = tf.function(gradients, input_signature=signature, jit_compile=jit_compile)
    for batch, steps in ((5, 3), (2, 3), (5, 1 if open_steps else 3), (5, 3)):
        some = [inputs[0][:batch, :steps], *(a[:batch] if i < 2 else a for i, a in enumerate(inputs[1:]))]
        for found, expected in zip(function(*some), gradients(*some, backend="reference"), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def masks_of(x):
    """A mask, resets, and a mask of the recurrence of 6 units, different in rows and steps, for any size of x."""
    B, T = tf.shape(x)[0], tf.shape(x)[1]
    number = tf.range(B)[:, None] + 2 * tf.range(T)
    recurrent = tf.cast(tf.range(B)[:, None] + tf.range(6) % 2, "float32")
    return number % 3 > 0, number % 5 == 2, recurrent


MASKED_SHAPES = [*SHAPES[1:8], (61, 4, 20, 96), (4, 5, 3, 650), (1, 3, 6, 300), (20, 10, 96, 33)]


def masks_for(shape, names):
    """Masks by their names, one for each gate where a name ends in 4."""
    B, T, D, H = shape
    generator = np.random.default_rng(len(names))
    masks = {
        "mask": generator.random((B, T)) < 0.7,
        "resets": generator.random((B, T)) < 0.3,
        "recurrent_mask": 2.0 * (generator.random((B, H)) < 0.5),
        "input_mask": np.where(generator.random((B, D)) < 0.5, 0.5, 2.0),
        "recurrent_mask4": 2.0 * (generator.random((4, B, H)) < 0.5),
        "input_mask4": np.where(generator.random((4, B, D)) < 0.5, 0.5, 2.0),
    }
    return {name.rstrip("4"): masks[name] for name in names}


MASKS = [
    ("mask",),
    ("resets",),
    ("recurrent_mask",),
    ("input_mask",),
    ("mask", "resets", "recurrent_mask", "input_mask"),
    ("recurrent_mask4",),
    ("input_mask4",),
    ("mask", "resets", "recurrent_mask4", "input_mask4"),
    ("resets", "recurrent_mask", "input_mask4"),
]


@pytest.mark.parametrize("shape", MASKED_SHAPES, ids=str)
@pytest.mark.fast_cases(5)
def test_native_masks_are_as_exact_as_the_framework(native_library, shape):
    for names in MASKS:
        masks = masks_for(shape, names)
        found = values_and_gradients(shape, "float32", "native", masks=masks)
        # Factors of 2 double the errors of what they multiply, and with an operand for each gate gradients are sums of
        # four.
        assert_as_exact_as_the_framework(found, shape, masks, roundings=32)


@pytest.mark.parametrize("names", MASKS, ids=" ".join)
def test_keras_masks_are_as_exact_as_the_framework(names):
    shape = (5, 4, 17, 17)
    masks = masks_for(shape, names)
    assert_as_exact_as_the_framework(values_and_gradients(shape, "float32", "keras", masks=masks), shape, masks)


def test_a_masked_run_gives_the_bits_of_what_it_leaves(native_library):
    """A row that skips its last steps ends as a shorter one; one that is reset begins anew."""
    inputs = [tf.constant(a, "float32") for a in example((3, 6, 4, 5))[0]]
    mask, resets = np.arange(6) < np.full((3, 1), 4), np.arange(6) == np.full((3, 1), 2)
    masked = lstm(*inputs, backend="native", mask=mask, resets=resets)
    zeros = tf.zeros((3, 5))
    shorter = lstm(inputs[0][:, 2:4], zeros, zeros, *inputs[3:], backend="native")
    np.testing.assert_array_equal(masked[0][:, 2:4], shorter[0])
    for a, b in zip(masked[1:], shorter[1:], strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(masked[0][:, 5], masked[1])


def test_nan_before_a_reset_stays_there(native_library):
    inputs = [a.astype("float32") for a in example((2, 4, 3, 5))[0]]
    inputs[0][0, 1] = np.nan
    resets = np.arange(4) == np.full((2, 1), 2)
    for options in ({"backend": "reference"}, {"backend": "native"}):
        h_seq = lstm(*inputs, resets=resets, **options)[0].numpy()
        assert np.isnan(h_seq[0, 1]).all()
        assert np.isfinite(h_seq[0, 2:]).all()


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("mask", (2, 4), r"\[B, T\], here \(2, 3\)"),
        ("resets", (2,), r"\[B, T\], here \(2, 3\)"),
        ("recurrent_mask", (3, 2, 5), r"\[B, H\], here \(2, 5\) or \[4, B, H\], here \(4, 2, 5\)"),
    ],
)
def test_masks_that_do_not_fit_are_named(name, shape, expected):
    inputs, _ = example((2, 3, 4, 5))
    with pytest.raises(ValueError, match=rf"`{name}` must be {expected}. Received: {name} of shape"):
        lstm(*inputs, backend="reference", **{name: np.ones(shape, bool)})


def test_no_rows(native_library):
    inputs = [tf.constant(a, "float32") for a in example((2, 3, 4, 6))[0]]
    signature = [tf.TensorSpec((None, *a.shape[1:]) if i < 3 else a.shape) for i, a in enumerate(inputs)]
    function = tf.function(lambda *inputs: lstm(*inputs, backend="native"), input_signature=signature)
    h_seq, _, _ = function(*[a[:0] if i < 3 else a for i, a in enumerate(inputs)])
    assert h_seq.shape == (0, 3, 6)


@pytest.mark.parametrize(
    ("name", "shape"),
    [("x", (2, 4)), ("h0", (2, 6)), ("c0", (3, 5)), ("kernel", (5, 20)), ("recurrent_kernel", (5, 15)), ("bias", (5,))],
)
def test_shapes_that_do_not_fit_are_named(name, shape):
    arguments = dict(zip(NAMES, example((2, 3, 4, 5))[0], strict=True))
    arguments[name] = np.zeros(shape)
    with pytest.raises(ValueError, match=rf"`{name}` must be .*Received: {name} of shape"):
        lstm(**arguments, backend="reference")


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_no_steps_are_refused(backend):
    inputs = [tf.constant(array, "float32") for array in example((2, 0, 5, 3))[0]]
    with pytest.raises(ValueError, match=r"`x` must have at least one step. Received: x of shape \(2, 0, 5\)"):
        lstm(*inputs, backend=backend)


def test_unknown_names_are_refused():
    inputs, _ = example((2, 3, 4, 5))
    with pytest.raises(ValueError, match="Received: backend='cudnn'"):
        lstm(*inputs, backend="cudnn")
    with pytest.raises(ValueError, match="Received: precision='half'"):
        lstm(*inputs, precision="half")
    with pytest.raises(ValueError, match='is available only with backend="native"'):
        lstm(*inputs, backend="keras", precision="bfloat16")


def test_reference_gradient_by_finite_differences():
    (x, h0, c0, *weights), upstream = example((2, 3, 4, 5))

    def total(h):
        outputs = lstm(x, h, c0, *weights, backend="reference")
        return sum(np.sum(np.asarray(a) * b) for a, b in zip(outputs, upstream, strict=True))

    exact = values_and_gradients((2, 3, 4, 5), "float64", "reference")["dh0"]
    step = np.zeros_like(h0)
    step[1, 2] = 1e-6
    assert (total(h0 + step) - total(h0 - step)) / 2e-6 == pytest.approx(exact[1, 2], rel=1e-6)


def test_a_function_of_ones_own_is_traced_without_a_warning(caplog):
    x, state = tf.zeros((2, 5, 3)), tf.zeros((2, 4))
    weights = tf.zeros((3, 16)), tf.zeros((4, 16)), tf.zeros(16)
    tf.get_logger().addHandler(caplog.handler)
    try:
        tf.function(lambda x: lstm(x, state, state, *weights))(x)
    finally:
        tf.get_logger().removeHandler(caplog.handler)
    assert caplog.messages == []
