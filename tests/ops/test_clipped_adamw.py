"""Clipped steps of Adam, by every backend, against float64."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from kerasptb.ops.clipped_adamw import run
from kerasptb.ops.clipped_step import plan_of

_spec = importlib.util.spec_from_file_location("shared_clipped_sgd", Path(__file__).with_name("test_clipped_sgd.py"))
sgd = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(sgd)

BACKENDS = sgd.BACKENDS
OPTIONS = sgd.OPTIONS
RATE, BETA_1, BETA_2, EPSILON, STEPS = 0.1, 0.9, 0.99, 1e-3, 3


def example(**shapes):
    """Returns weights, means, squares and gradients, in a training that has gone on for some steps."""
    weights, gradients = sgd.example(**shapes)
    generator = np.random.default_rng(1)
    means = [np.float32(0.1 * generator.standard_normal(w.shape)) for w in weights]
    squares = [np.float32(generator.uniform(0, 0.1, w.shape)) for w in weights]
    return weights, means, squares, gradients


def exact(weights, means, squares, gradients, t, clip=None, weight_decays=None, averages=None, average_momentum=0.0):
    """Kingma and Ba, 2015, algorithm 1, with the factors of its section 2."""
    factor = sgd.exact_factor(gradients, clip)
    alpha = RATE * np.sqrt(1 - BETA_2**t) / (1 - BETA_1**t)
    gradients = [factor * sgd.exact_dense(g, w.shape) for g, w in zip(gradients, weights, strict=True)]
    means = [BETA_1 * m + (1 - BETA_1) * g for m, g in zip(means, gradients, strict=True)]
    squares = [BETA_2 * v + (1 - BETA_2) * g**2 for v, g in zip(squares, gradients, strict=True)]
    weights = [
        w - RATE * decay * w - alpha * m / (np.sqrt(v) + EPSILON)
        for w, m, v, decay in zip(weights, means, squares, weight_decays or [0] * len(weights), strict=True)
    ]
    return weights, means, squares, sgd.exact_averages(averages, weights, average_momentum)


def step(weights, means, squares, gradients, t, clip, backend, **options):
    """Runs a step on NumPy arrays or tensors."""
    gradients = [
        tuple(map(tf.convert_to_tensor, g)) if isinstance(g, tuple) else tf.convert_to_tensor(g) for g in gradients
    ]
    weights, means, squares = ([tf.convert_to_tensor(x) for x in arrays] for arrays in (weights, means, squares))
    settings = (RATE, t, BETA_1, BETA_2, EPSILON, clip)
    return run(plan_of(weights, gradients, backend), weights, means, squares, gradients, *settings, **options)


def assert_equal(found, expected):
    for arrays, numbers in zip(found, expected, strict=True):
        sgd.assert_equal(arrays, numbers)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("clip", [None, 0.5, 1e4])
def test_all_variables(native_library, backend, clip, options):
    weights, means, squares, gradients = example()
    options = sgd.of_all(options, weights)
    found = expected = (weights, means, squares, options.pop("averages", None))
    for t in range(1, 1 + STEPS):
        found = step(*found[:3], gradients, t, clip, backend, averages=found[3] or None, **options)
        expected = exact(*expected[:3], gradients, t, clip, averages=expected[3] or None, **options)
    assert_equal(found, expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_arguments_stay_as_they_are(native_library, backend):
    weights, means, squares, gradients = example()
    tensors = [[tf.constant(x) for x in arrays] for arrays in (weights, means, squares, weights)]
    step(*tensors[:3], gradients, 1, 5.0, backend, averages=tensors[3], average_momentum=0.5)
    for kept, arrays in zip(tensors, (weights, means, squares, weights), strict=True):
        for tensor, array in zip(kept, arrays, strict=True):
            np.testing.assert_array_equal(tensor, array)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_norm_below_the_limit_changes_no_bit(native_library, backend):
    clipped, free = (step(*example(), 2, clip, backend) for clip in (1e6, None))
    for some, others in zip(clipped, free, strict=True):
        for a, b in zip(some, others, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("value", [np.inf, np.nan, 1e20])
def test_a_norm_that_is_not_finite_is_not_hidden(native_library, backend, value):
    weights, means, squares, gradients = example()
    gradients[-1][1, 2] = value
    found, *_ = step(weights, means, squares, gradients, 1, 5.0, backend)
    for array in found:
        assert np.isnan(array).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_rows_outside_of_the_matrix_are_left_out(native_library, backend):
    ones, zeros = np.ones((4, 3), "float32"), np.zeros((4, 3), "float32")
    gradient = (np.array([-1, 1, 4, 1], "int32"), np.ones((4, 3), "float32"))
    _, (mean,), (square,), _ = step([ones], [zeros], [zeros], [gradient], 1, None, backend)
    np.testing.assert_allclose(mean[:, 0], [0, 2 * (1 - BETA_1), 0, 0], rtol=1e-6)
    np.testing.assert_allclose(square[:, 0], [0, 4 * (1 - BETA_2), 0, 0], rtol=1e-6)


@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "jit"])
@pytest.mark.parametrize("options", OPTIONS)
def test_in_a_graph(native_library, jit_compile, options):
    weights, means, squares, gradients = example()
    options = sgd.of_all(options, weights)
    function = tf.function(
        lambda *arrays, t: step(*arrays, t, 0.5, "native", **options),
        jit_compile=jit_compile,
    )
    found = function(weights, means, squares, gradients, t=tf.constant(7))
    assert_equal(found, exact(weights, means, squares, gradients, 7, 0.5, **options))


@pytest.mark.parametrize("wrong", [tf.ones([2, 3]), tf.ones([9])], ids=["sizes", "rank"])
def test_a_gradient_of_another_shape_is_refused(native_library, wrong):
    matrix = tf.ones([3, 3])
    with pytest.raises(tf.errors.InvalidArgumentError, match="kerasptb_clipped_adamw: "):
        step([matrix], [matrix], [matrix], [wrong], 1, None, "native")
