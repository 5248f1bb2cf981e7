"""The softmax cross-entropy's kernels and launcher on the emulated GPU, against float64."""

import numpy as np
import pytest

# Rows shorter than a warp, multiples of four and others, one round of all threads and many. The last row is too long
# for shared memory.
SHAPES = [
    (1, 1),
    (3, 2),
    (5, 31),
    (9, 128),
    (4, 1000),
    (3, 10_000),
    (3, 10_007),
    (1, 40_000),
    (2, 200_000),
    (1, 200_001),
]
SMALL = [shape for shape in SHAPES if shape[1] <= 1000]
CACHED, STREAMED = (f"kerasptb_softmax_cross_entropy_{name}" for name in ("cached", "streamed"))
STREAM_ALL = {"shared_bytes": 0}  # a GPU without room for rows that need more than every GPU has


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_loss_and_gradient(gpu, softmax_rows, shape):
    rows = softmax_rows(shape)
    rows.check(gpu.softmax_cross_entropy(rows.inputs))


@pytest.mark.parametrize("shape", [(3, 12_300), (2, 12_301)], ids=str)
def test_streamed(gpu, softmax_rows, shape):
    gpu.configure(**STREAM_ALL)
    rows = softmax_rows(shape)
    rows.check(gpu.softmax_cross_entropy(rows.inputs))
    assert gpu.launches()[0][0] == STREAMED


@pytest.mark.parametrize("shape", [(4, 1000), (2, 1003), (2, 60_000)], ids=str)
def test_loss_alone_and_in_place_give_the_same_bits(gpu, softmax_rows, shape):
    inputs = softmax_rows(shape).inputs
    expected = gpu.softmax_cross_entropy(inputs)
    alone = gpu.softmax_cross_entropy(inputs, gradient=False)
    assert set(alone) == {"loss"}
    np.testing.assert_array_equal(alone["loss"], expected["loss"])
    for name, tensor in gpu.softmax_cross_entropy(inputs, in_place=True).items():
        np.testing.assert_array_equal(tensor, expected[name], err_msg=name)


@pytest.mark.parametrize("seed", range(1, 5))
@pytest.mark.parametrize("streamed", [False, True], ids=["cached", "streamed"])
def test_same_bits_in_every_order(gpu, softmax_rows, seed, streamed):
    shapes = [(2, 12_300)] if streamed else [(3, 31), (3, 1000), (2, 4003)]
    if streamed:
        gpu.configure(**STREAM_ALL)
    for shape in shapes:
        inputs = softmax_rows(shape).inputs
        gpu.schedule(0)
        expected = gpu.softmax_cross_entropy(inputs)
        gpu.schedule(seed)
        for in_place in (False, True):
            for name, tensor in gpu.softmax_cross_entropy(inputs, in_place=in_place).items():
                np.testing.assert_array_equal(tensor, expected[name], err_msg=f"{name} of {shape}")


@pytest.mark.parametrize("name", ["logits", "bias", "dlogits"])
def test_arrays_that_do_not_begin_at_16_bytes(gpu, softmax_rows, name):
    rows = softmax_rows((3, 1000))
    rows.check(gpu.softmax_cross_entropy(rows.inputs, misaligned=name))


@pytest.mark.parametrize("shape", [(6, 1003), (2, 60_000)], ids=["cached", "streamed"])
def test_huge_logits(gpu, softmax_rows, shape):
    rows = softmax_rows(shape, scale=1e4)
    found = gpu.softmax_cross_entropy(rows.inputs)
    np.testing.assert_allclose(found["loss"], rows.exact["loss"], rtol=1e-6)
    # z is rounded to 1e-3 at this size, and a probability with it.
    np.testing.assert_allclose(found["dlogits"], rows.exact["dlogits"], atol=2e-3)
    assert np.abs(rows.exact["dlogits"]).max() > 0.9


@pytest.mark.parametrize("vocabulary", [30, 60_000], ids=["cached", "streamed"])
def test_minus_infinity_excludes_a_word(gpu, softmax_rows, vocabulary):
    rows = softmax_rows((2, vocabulary))
    rows.inputs["logits"][:, : vocabulary // 2] = -np.inf
    rows.inputs["targets"][:] = vocabulary - 1
    found = gpu.softmax_cross_entropy(rows.inputs)
    rows.check(found)
    np.testing.assert_array_equal(found["dlogits"][:, : vocabulary // 2], 0)


@pytest.mark.parametrize("vocabulary", [40, 60_000], ids=["cached", "streamed"])
def test_nan_is_passed_on_in_its_row_only(gpu, softmax_rows, vocabulary):
    inputs = softmax_rows((3, vocabulary)).inputs
    inputs["logits"][1, 21] = np.nan
    found = gpu.softmax_cross_entropy(inputs)
    np.testing.assert_array_equal(np.isnan(found["loss"]), [False, True, False])
    np.testing.assert_array_equal(np.isnan(found["dlogits"]).all(axis=1), [False, True, False])
    assert np.isfinite(found["dlogits"][[0, 2]]).all()


@pytest.mark.parametrize("vocabulary", [31, 60_000], ids=["cached", "streamed"])
@pytest.mark.parametrize("target", [-1, "vocabulary", 2**31 - 1, -(2**31)])
def test_target_out_of_range_makes_its_row_nan(gpu, softmax_rows, vocabulary, target):
    inputs = softmax_rows((3, vocabulary)).inputs
    expected = gpu.softmax_cross_entropy(inputs)
    inputs["targets"][1] = vocabulary if target == "vocabulary" else target
    found = gpu.softmax_cross_entropy(inputs)
    assert np.isnan(found["loss"][1])
    assert np.isnan(found["dlogits"][1]).all()
    assert np.isnan(gpu.softmax_cross_entropy(inputs, gradient=False)["loss"][1])
    for name in ("loss", "dlogits"):
        np.testing.assert_array_equal(found[name][[0, 2]], expected[name][[0, 2]])


@pytest.mark.parametrize("shape", [(1, 1), (33, 100), (1200, 70)], ids=str)
def test_gradient_of_the_bias_over_many_rows(gpu, softmax_rows, shape):
    rows = softmax_rows(shape)
    found = gpu.softmax_cross_entropy(rows.inputs)["dbias"]
    np.testing.assert_allclose(found, rows.exact["dbias"], rtol=2e-6, atol=2e-7 * shape[0] ** 0.5)


def test_no_rows(gpu, softmax_rows):
    found = gpu.softmax_cross_entropy(softmax_rows((0, 5)).inputs)
    np.testing.assert_array_equal(found["dbias"], np.zeros(5))
    assert [name for name, *_ in gpu.launches()] == ["kerasptb_column_sums"]


@pytest.mark.parametrize(
    ("shared_bytes", "longest"), [(232_448, 58_080), (101_376, 25_312)], ids=["227 KiB", "99 KiB (sm_120)"]
)
def test_rows_are_kept_where_the_gpu_has_room(gpu, softmax_rows, shared_bytes, longest):
    gpu.configure(shared_bytes=shared_bytes)
    for vocabulary, kernel in ((longest, CACHED), (longest + 1, STREAMED)):
        rows = softmax_rows((1, vocabulary))
        rows.check(gpu.softmax_cross_entropy(rows.inputs))
        assert gpu.launches()[0][0] == kernel
    assert gpu.contexts() == 0  # what was made current was put back
