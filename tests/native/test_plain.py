"""The C function that calls handlers without a framework, on NumPy's arrays."""

import ctypes

import numpy as np
import pytest

from kerasptb.native import loader
from kerasptb.ops.linear_cross_entropy import linear_cross_entropy

TYPES = {"float32": 11, "int32": 4}  # as XLA numbers them


@pytest.fixture
def call(native_library):
    def call(target, arguments, results, **attributes):
        arrays = [*arguments, *results]
        numbers = [len(arguments), len(results), len(attributes)]
        for array in arrays:
            numbers += [TYPES[str(array.dtype)], array.ndim, *array.shape]
        names = (ctypes.c_char_p * len(attributes))(*(name.encode() for name in attributes))
        return loader.plain_call()(
            loader.handlers()[target],
            (ctypes.c_int64 * len(numbers))(*numbers),
            (ctypes.c_void_p * len(arrays))(*(array.ctypes.data for array in arrays)),
            names,
            (ctypes.c_bool * len(attributes))(*attributes.values()),
        )

    return call


def test_it_computes_on_arrays_in_place(call):
    arrays = [np.arange(6, dtype="float32").reshape(2, 3), np.full(3, 2, "float32")]
    norm = np.zeros((), "float32")
    assert call("kerasptb_global_norm_float32", arrays, [norm]) is None
    assert norm == np.sqrt(np.float32(55 + 12))


@pytest.mark.parametrize("transpose_kernel", [False, True])
def test_attributes_are_handed_on(call, transpose_kernel):
    generator = np.random.default_rng(0)
    h, kernel, bias = (generator.standard_normal(shape, "float32") for shape in ((5, 7), (7, 9), (9,)))
    kernel = np.ascontiguousarray(kernel.T) if transpose_kernel else kernel
    targets, losses = np.arange(5, dtype="int32"), np.zeros(5, "float32")
    arguments = [h, kernel, bias, targets]
    target = "kerasptb_linear_cross_entropy_loss_float32"
    assert call(target, arguments, [losses], transpose_kernel=transpose_kernel) is None
    expected = linear_cross_entropy(*arguments, backend="reference", transpose_kernel=transpose_kernel)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    assert b"do not fit" in call(target, arguments, [losses])  # without the attribute


def test_errors_are_told_in_a_line(call):
    norm, wrong = np.zeros(2, "float32"), np.zeros(3, "int32")
    expected = b"kerasptb_global_norm: the shapes of the buffers do not fit each other"
    for arguments, results in (([norm], [norm]), ([wrong], [norm[0:1].reshape(())]), ([norm], [])):
        assert call("kerasptb_global_norm_float32", arguments, results) == expected
