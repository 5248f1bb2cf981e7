"""Handlers of the library called on NumPy's arrays."""

import concurrent.futures

import numpy as np
import pytest

from kerasptb.native import NativeUnavailableError, loader
from kerasptb.native.call import call
from kerasptb.ops.linear_cross_entropy import linear_cross_entropy

NORM, LOSS = "kerasptb_global_norm_float32", "kerasptb_linear_cross_entropy_loss_float32"


def example(rows=5):
    generator = np.random.default_rng(0)
    arrays = [generator.standard_normal(shape, "float32") for shape in ((rows, 7), (7, 9), (9,))]
    return [*arrays, np.arange(rows, dtype="int32") % 9]


def test_results_are_new_arrays(native_library):
    arrays = [np.arange(6, dtype="float32").reshape(2, 3), np.full(3, 2, "float32")]
    (norm,), (again,) = (call(NORM, arrays, [()]) for _ in range(2))
    assert (norm.shape, norm.dtype) == ((), "float32")
    assert norm == again == np.sqrt(np.float32(55 + 12))
    assert not np.shares_memory(norm, again)


@pytest.mark.parametrize("transpose_kernel", [False, True])
def test_attributes_are_handed_on_and_arrays_need_not_be_contiguous(native_library, transpose_kernel):
    h, kernel, bias, targets = example()
    expected = linear_cross_entropy(h, kernel, bias, targets, backend="reference")
    kernel = kernel.T if transpose_kernel else kernel  # a view
    apart = np.repeat(h, 2, axis=0)[::2]
    (losses,) = call(LOSS, [apart, kernel, bias, targets], [(5,)], transpose_kernel=transpose_kernel)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)


def test_arrays_that_do_not_fit_are_told_in_a_line(native_library):
    h, kernel, bias, targets = example()
    for arguments, shapes in (
        ([h, kernel, bias[1:], targets], [(5,)]),
        ([h, kernel, bias, targets.astype("float32")], [(5,)]),
        ([h, kernel, bias, targets], [(4,)]),
        ([h, kernel, bias], [(5,)]),
    ):
        with pytest.raises(ValueError, match="kerasptb_linear_cross_entropy") as told:
            call(LOSS, arguments, shapes, transpose_kernel=False)
        assert "\n" not in str(told.value)
    with pytest.raises(ValueError, match="kerasptb_linear_cross_entropy"):
        call(LOSS, [h, kernel, bias, targets], [(5,)])  # without the attribute
    with pytest.raises(ValueError, match="target"):
        call(LOSS, [h, kernel, bias, targets + 9], [(5,)], transpose_kernel=False)


def test_without_the_library(monkeypatch, tmp_path):
    for name in ("_open", "_load"):
        monkeypatch.setattr(loader, name, loader.Once(getattr(loader, name).do))
    for cached in (loader.handlers, loader.plain_call):
        monkeypatch.setattr(loader, cached.__name__, cached.__wrapped__)
    monkeypatch.setenv("KERASPTB_CACHE", str(tmp_path))
    with pytest.raises(NativeUnavailableError, match="not built"):
        call(NORM, [np.zeros(3, "float32")], [()])


def test_threads_may_call_at_the_same_time(native_library):
    arrays = [example(rows) for rows in range(1, 40)]
    expected = [call(LOSS, each, [each[-1].shape], transpose_kernel=False)[0] for each in arrays]

    def work(_):
        return [call(LOSS, each, [each[-1].shape], transpose_kernel=False)[0] for each in arrays]

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for found in pool.map(work, range(8)):
            for here, there in zip(found, expected, strict=True):
                np.testing.assert_array_equal(here, there)
