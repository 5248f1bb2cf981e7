"""The recurrence's kernels and launchers on the emulated GPU, against TensorFlow in float64."""

import numpy as np
import pytest

# (batch, steps, features, units): batches that leave a cluster's rows empty, one step and odd numbers of them, units
# that fill a kernel's own number and that do not, and both layers of the notebook's model.
SMALL = [
    (1, 1, 1, 1),
    (3, 7, 5, 32),
    (61, 3, 4, 50),
    (5, 5, 6, 64),
    (3, 6, 9, 100),
    (5, 4, 7, 128),
    (1, 3, 10, 200),
    (5, 5, 8, 256),
]
NOTEBOOK = [(60, 20, 200, 256), (60, 20, 256, 128)]
BLOCKS = {64: 2, 128: 4, 256: 8}  # blocks of a cluster, by the units that a kernel is compiled for


@pytest.mark.parametrize("shape", SMALL + NOTEBOOK, ids=str)
def test_as_exact_as_the_framework(gpu, recurrence, shape):
    recurrence(shape).check(gpu)


@pytest.mark.parametrize("seed", range(1, 6))
def test_same_bits_in_every_order(gpu, recurrence, seed):
    """Results do not change when warps run far ahead of others: no barrier is missing, and sums have a fixed order."""
    for shape in SMALL:
        if shape[0] > 5:
            continue
        gpu.schedule(0)
        expected = recurrence(shape).on(gpu)
        gpu.schedule(seed)
        for name, tensor in recurrence(shape).on(gpu).items():
            np.testing.assert_array_equal(tensor, expected[name], err_msg=f"{name} of {shape}")


def test_notebook_shape_in_another_order(gpu, recurrence):
    gpu.schedule(7)
    recurrence(NOTEBOOK[0]).check(gpu)


@pytest.mark.parametrize("shape", [(3, 1, 5, 64), (5, 4, 6, 100)], ids=str)
def test_inference_keeps_nothing_and_gives_the_same_bits(gpu, recurrence, shape):
    inputs = recurrence(shape).forward_inputs()
    training, inference = gpu.lstm_forward(inputs), gpu.lstm_forward(inputs, keep=False)
    assert set(inference) == {"h_seq", "h_T", "c_T"}
    for name, tensor in inference.items():
        np.testing.assert_array_equal(tensor, training[name], err_msg=name)
    np.testing.assert_array_equal(training["h_T"], training["h_seq"][:, -1])
    np.testing.assert_array_equal(training["c_T"], training["c_seq"][:, -1])


def test_saturated_gates(gpu, recurrence):
    inputs = recurrence((3, 5, 4, 50)).forward_inputs()
    inputs["xz"] = inputs["xz"] * np.float32(1e4)
    forward = gpu.lstm_forward(inputs)
    assert np.isfinite(forward["h_seq"]).all()
    i, f, _, o = np.split(forward["gates"], 4, axis=-1)
    for gate in (i, f, o):
        assert gate.min() == 0
        assert gate.max() == 1


def test_nan_stays_in_its_row(gpu, recurrence):
    inputs = recurrence((5, 4, 6, 100)).forward_inputs()
    expected = gpu.lstm_forward(inputs)["h_seq"]
    inputs["xz"] = inputs["xz"].copy()
    inputs["xz"][1, 2, 0] = np.nan
    found = gpu.lstm_forward(inputs)["h_seq"]
    assert np.isnan(found[1, 3]).all()
    np.testing.assert_array_equal(found[1, :2], expected[1, :2])
    others = [0, 2, 3, 4]
    np.testing.assert_array_equal(found[others], expected[others])


@pytest.mark.parametrize(
    ("units", "kernel_units"), [(1, 64), (64, 64), (65, 128), (128, 128), (129, 256), (256, 256)], ids=str
)
def test_next_larger_kernel_serves_and_nothing_else_is_launched(gpu, recurrence, units, kernel_units):
    recurrence((5, 2, 3, units)).on(gpu)
    blocks = 2 * BLOCKS[kernel_units]  # two clusters of four rows each
    forward, backward, sums = gpu.launches()
    assert forward[:3] == (f"kerasptb_lstm_recurrence_forward_float32_{kernel_units}", blocks, 256)
    assert backward[:3] == (f"kerasptb_lstm_recurrence_backward_float32_{kernel_units}", blocks, 256)
    assert sums == ("kerasptb_column_sums", -(-4 * units // 32), 1024, 4096)
    # No more than every GPU grants without being asked.
    assert max(forward[3], backward[3]) <= 48 * 1024


def test_too_many_units_are_refused(gpu, recurrence):
    inputs = recurrence((2, 3, 1, 257)).forward_inputs()
    with pytest.raises(
        RuntimeError,
        match=r"lstm_recurrence_forward_float32 \(batch 2, steps 3, units 257\): serves 1 to 256 units",
    ):
        gpu.lstm_forward(inputs)
    assert gpu.launches() == []


def test_empty_batch(gpu):
    H = 3
    zeros = {name: np.zeros((0, H), np.float32) for name in ("h0", "c0", "dh_T", "dc_T")}
    recurrent_kernel, bias = np.ones((H, 4 * H), np.float32), np.ones(4 * H, np.float32)
    gates, c_seq = np.zeros((0, 2, 4 * H), np.float32), np.zeros((0, 2, H), np.float32)
    forward = {"xz": gates, "recurrent_kernel": recurrent_kernel, "bias": bias, "h0": zeros["h0"], "c0": zeros["c0"]}
    assert gpu.lstm_forward(forward)["h_seq"].shape == (0, 2, H)
    del zeros["h0"]
    backward = gpu.lstm_backward(
        {"recurrent_kernel": recurrent_kernel, "gates": gates, "c_seq": c_seq, "dh_seq": c_seq, **zeros}
    )
    np.testing.assert_array_equal(backward["dbias"], np.zeros(4 * H))
    assert [name for name, *_ in gpu.launches()] == ["kerasptb_column_sums"]
