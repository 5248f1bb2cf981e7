"""The norm of many tensors, by every backend, against float64."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasptb.ops.global_norm import global_norm

# Around a block of the kernel, 4,096 numbers, and around its vectors.
SHAPES = [(), (1,), (0, 7), (3, 5), (63,), (65,), (4095,), (4096,), (4097,), (30, 1000), (2, 3, 2731)]
BACKENDS = ["reference", "keras", "native"]


def example(shapes=SHAPES):
    generator = np.random.default_rng(0)
    return [np.float32(generator.standard_normal(shape) * 10.0 ** generator.integers(-2, 3)) for shape in shapes]


def exact(arrays):
    return np.sqrt(sum(np.square(np.float64(array)).sum() for array in arrays))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_of_one_tensor(native_library, backend, shape):
    found = global_norm([tf.constant(array) for array in example([shape])], backend)
    assert found.dtype == tf.float32
    assert found.shape == ()
    np.testing.assert_allclose(found, exact(example([shape])), rtol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_of_many(native_library, backend):
    arrays = example(SHAPES * 5)
    np.testing.assert_allclose(global_norm([tf.constant(a) for a in arrays], backend), exact(arrays), rtol=1e-6)


@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "jit"])
def test_in_a_graph(native_library, jit_compile):
    arrays = example()
    norm = tf.function(lambda *tensors: global_norm(tensors, "native"), jit_compile=jit_compile)
    np.testing.assert_allclose(norm(*map(tf.constant, arrays)), exact(arrays), rtol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_of_a_million_equal_numbers_keeps_its_digits(native_library, backend):
    # One float32 sum over all of them would be off by 1e-3.
    np.testing.assert_allclose(global_norm([tf.fill([1000, 1000], 0.1)], backend), 100.0, rtol=5e-7)


@pytest.mark.parametrize("backend", BACKENDS)
def test_of_nothing_is_zero(native_library, backend):
    assert float(global_norm([], backend)) == 0.0


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("value", "expected"), [(1e20, np.inf), (-np.inf, np.inf), (np.nan, np.nan)])
def test_says_what_is_not_finite(native_library, backend, value, expected):
    arrays = example()
    arrays[5][64] = value
    np.testing.assert_array_equal(global_norm([tf.constant(a) for a in arrays], backend), np.float32(expected))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_takes_every_float(native_library, backend, dtype):
    tensors = [tf.cast(tf.constant(array), dtype) for array in example()]
    expected = exact([tf.cast(x, tf.float64).numpy() for x in tensors])
    found = global_norm(tensors, backend)
    assert found.dtype == tf.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def norm_of_open_batch(backend):
    norm = tf.function(lambda x: global_norm([x, tf.ones(3)], backend), input_signature=[tf.TensorSpec([None, 2])])
    return norm(tf.ones([3, 2]))


def test_a_batch_of_unknown_size_is_for_keras(native_library):
    assert float(norm_of_open_batch("auto")) == 3.0
    with pytest.raises(ValueError, match=r"needs static shapes\. Received: a tensor of shape \(None, 2\)"):
        norm_of_open_batch("native")


def test_a_gpu_is_for_keras(gpus):
    gpus(None)
    assert float(global_norm([tf.constant([3.0, 4.0])])) == 5.0
    with pytest.raises(ValueError, match="is for processors"):
        global_norm([tf.constant([3.0, 4.0])], "native")


def test_refuses_an_unknown_backend():
    with pytest.raises(ValueError, match="`backend` must be one of"):
        global_norm([keras.ops.ones(3)], "fastest")
