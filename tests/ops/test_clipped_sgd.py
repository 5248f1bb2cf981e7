"""A clipped step of gradient descent, by every backend, against float64."""

import numpy as np
import pytest
import tensorflow as tf

from kerasptb.ops.clipped_sgd import run
from kerasptb.ops.clipped_step import plan_of

BACKENDS = ["reference", "keras", "native"]
# Around a block of the kernel, 4,096 numbers, and around its vectors.
SHAPES = [(), (1,), (0, 7), (3, 5), (65,), (4097,), (30, 1000)]
# V, D and N of matrices of which some rows have a gradient: rows that occur several times, and more than there are.
SPARSE = [(50, 7, 40), (1, 1, 3), (1000, 200, 300), (3, 33, 0)]
# Weight decay of some variables, and averages.
OPTIONS = [
    pytest.param({}, id="plain"),
    pytest.param({"weight_decay": 0.3}, id="decay"),
    pytest.param({"average_momentum": 0.75}, id="average"),
    pytest.param({"weight_decay": 0.3, "average_momentum": 0.75}, id="both"),
]


def example(shapes=SHAPES, sparse=SPARSE):
    """Returns weights and gradients; every other matrix is sparse while there are such."""
    generator = np.random.default_rng(0)

    def normal(*shape):
        return np.float32(generator.standard_normal(shape))

    pairs = [(normal(*shape), normal(*shape)) for shape in shapes]
    for i, (size, depth, number) in enumerate(sparse):
        rows = generator.integers(0, size, number, dtype="int32")
        pairs.insert(2 * i, (normal(size, depth), (rows, normal(number, depth))))
    return [w for w, _ in pairs], [g for _, g in pairs]


def of_all(options, weights):
    """Returns one of `OPTIONS` as arguments of an operation on these weights."""
    options, generator = dict(options), np.random.default_rng(2)
    if (decay := options.pop("weight_decay", None)) is not None:
        options["weight_decays"] = [decay * (i % 3 != 2) for i in range(len(weights))]
    if "average_momentum" in options:
        options["averages"] = [np.float32(generator.standard_normal(w.shape)) for w in weights]
    return options


def exact_factor(gradients, clip):
    values = [g[1] if isinstance(g, tuple) else g for g in gradients]
    norm = np.sqrt(sum(np.square(np.float64(v)).sum() for v in values))
    return 1 if clip is None else min(1, clip / norm)


def exact_dense(gradient, shape):
    if not isinstance(gradient, tuple):
        return np.float64(gradient)
    dense = np.zeros(shape)
    np.add.at(dense, gradient[0], np.float64(gradient[1]))
    return dense


def exact_averages(averages, weights, momentum):
    if averages is None:
        return []
    return [momentum * a + (1 - momentum) * w for a, w in zip(averages, weights, strict=True)]


def exact(weights, gradients, learning_rate, clip, weight_decays=None, averages=None, average_momentum=0.0):
    rate = learning_rate * exact_factor(gradients, clip)
    updated = [
        w - learning_rate * decay * w - rate * exact_dense(g, w.shape)
        for w, g, decay in zip(weights, gradients, weight_decays or [0] * len(weights), strict=True)
    ]
    return updated, exact_averages(averages, updated, average_momentum)


def clipped_sgd(weights, gradients, learning_rate, clip=None, backend="native", **options):
    return run(plan_of(weights, gradients, backend), weights, gradients, learning_rate, clip, **options)


def step(weights, gradients, learning_rate, clip, backend, **options):
    """Runs the step on NumPy arrays."""
    gradients = [tuple(map(tf.constant, g)) if isinstance(g, tuple) else tf.constant(g) for g in gradients]
    return clipped_sgd([tf.constant(w) for w in weights], gradients, learning_rate, clip, backend, **options)


def assert_equal(found, expected):
    for array, numbers in zip(found, expected, strict=True):
        np.testing.assert_allclose(array, numbers, rtol=1e-6, atol=3e-6)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("clip", [None, 0.0, 0.5, 1e4])
def test_all_variables(native_library, backend, clip, options):
    weights, gradients = example()
    options = of_all(options, weights)
    found = step(weights, gradients, 0.7, clip, backend, **options)
    for arrays, expected in zip(found, exact(weights, gradients, 0.7, clip, **options), strict=True):
        assert_equal(arrays, expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_arguments_stay_as_they_are(native_library, backend):
    weights, gradients = example()
    tensors = [tf.constant(w) for w in weights]
    averages = [tf.constant(w) for w in weights]
    gradients = [tuple(map(tf.constant, g)) if isinstance(g, tuple) else g for g in gradients]
    clipped_sgd(tensors, gradients, 1.0, 5.0, backend, averages=averages, average_momentum=0.5)
    for tensor, array in zip([*tensors, *averages], [*weights, *weights], strict=True):
        np.testing.assert_array_equal(tensor, array)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_norm_below_the_limit_changes_no_bit(native_library, backend):
    weights, gradients = example()
    (clipped, _), (free, _) = (step(weights, gradients, 0.3, clip, backend) for clip in (1e6, None))
    for a, b in zip(clipped, free, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("value", [np.inf, np.nan, 1e20])
def test_a_norm_that_is_not_finite_is_not_hidden(native_library, backend, value):
    weights, gradients = example(sparse=[])
    gradients[3][1, 2] = value
    found, _ = step(weights[2:], gradients[2:], 1.0, 5.0, backend)
    assert np.isnan(found[1]).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_rows_outside_of_the_matrix_are_left_out(native_library, backend):
    weights, values = np.ones((4, 3), "float32"), np.ones((4, 3), "float32")
    (found,), _ = step([weights], [(np.array([-1, 1, 4, 1], "int32"), values)], 0.25, None, backend)
    np.testing.assert_array_equal(found[:, 0], [1, 0.5, 1, 1])


@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "jit"])
@pytest.mark.parametrize("options", OPTIONS)
def test_in_a_graph(native_library, jit_compile, options):
    weights, gradients = example()
    options = of_all(options, weights)
    function = tf.function(
        lambda weights, gradients: clipped_sgd(weights, gradients, 0.7, 0.5, "native", **options),
        jit_compile=jit_compile,
    )
    found = function(weights, gradients)
    for arrays, expected in zip(found, exact(weights, gradients, 0.7, 0.5, **options), strict=True):
        assert_equal(arrays, expected)


def test_a_gpu_is_for_keras(gpus):
    gpus(None)
    weights, gradients = example()
    assert_equal(step(weights, gradients, 0.7, 0.5, "auto")[0], exact(weights, gradients, 0.7, 0.5)[0])
    with pytest.raises(ValueError, match="are for processors"):
        step(weights, gradients, 0.7, 0.5, "native")


def test_other_weights_than_float32_are_refused(native_library):
    with pytest.raises(ValueError, match=r"updates float32 weights\. Received: dtype=.*float16"):
        clipped_sgd([tf.ones(3, "float16")], [tf.ones(3)], 1.0)


def test_rows_are_of_matrices(native_library):
    with pytest.raises(ValueError, match=r"rows of matrices\. Received: weights of shape \(3,\)"):
        clipped_sgd([tf.ones(3)], [(tf.constant([1]), tf.ones(1))], 1.0)


@pytest.mark.parametrize("wrong", [[tf.ones([2, 3])], [(tf.constant([0, 1]), tf.ones([2, 4]))]], ids=["dense", "rows"])
def test_a_gradient_of_another_shape_is_refused(native_library, wrong):
    with pytest.raises(tf.errors.InvalidArgumentError, match="kerasptb_clipped_sgd: "):
        clipped_sgd([tf.ones([3, 3])], wrong, 1.0)
