"""The recurrence's kernels with products in bfloat16, and their launchers, on the emulated GPU.

There are two references. One computes each step in float64 from the kernels' rounded results of the step before, which
leaves only float32's errors. The other computes all steps in float64 without any rounding.
"""

import numpy as np
import pytest

# (batch, steps, features, units): batches that leave a cluster's eight rows empty, one step and odd numbers of them,
# units that fill a kernel's own number and that do not.
SMALL = [(1, 1, 1, 1), (9, 7, 5, 37), (8, 4, 6, 128), (3, 5, 7, 200), (5, 3, 8, 256)]
LARGE = [(2, 3, 6, 300), (9, 4, 8, 512)]


@pytest.mark.parametrize("shape", SMALL + LARGE, ids=str)
def test_errs_by_the_rounding_to_bfloat16_alone(gpu, bfloat16_recurrence, shape):
    bfloat16_recurrence(shape).check(gpu)


def test_same_bits_in_every_order(gpu, bfloat16_recurrence):
    """Results do not change when warps run far ahead of others: no barrier is missing, and sums have a fixed order."""
    for shape in SMALL + LARGE[1:]:
        gpu.schedule(0)
        expected = bfloat16_recurrence(shape).on(gpu)
        for seed in range(1, 4):
            gpu.schedule(seed)
            for name, tensor in bfloat16_recurrence(shape).on(gpu).items():
                np.testing.assert_array_equal(tensor, expected[name], err_msg=f"{name} of {shape}")


@pytest.mark.parametrize("shape", [(3, 1, 5, 64), (9, 4, 6, 200)], ids=str)
def test_inference_keeps_nothing_and_gives_the_same_bits(gpu, bfloat16_recurrence, shape):
    inputs = bfloat16_recurrence(shape).forward_inputs()
    training, inference = (gpu.lstm_forward(inputs, keep, bfloat16=True) for keep in (True, False))
    assert set(inference) == {"h_seq", "h_T", "c_T"}
    for name, tensor in inference.items():
        np.testing.assert_array_equal(tensor, training[name], err_msg=name)


def test_nan_stays_in_its_row(gpu, bfloat16_recurrence):
    inputs = bfloat16_recurrence((10, 4, 6, 100)).forward_inputs()
    expected = gpu.lstm_forward(inputs, bfloat16=True)["h_seq"]
    inputs["xz"] = inputs["xz"].copy()
    inputs["xz"][1, 2, 0] = np.nan
    found = gpu.lstm_forward(inputs, bfloat16=True)["h_seq"]
    assert np.isnan(found[1, 3]).all()
    np.testing.assert_array_equal(found[1, :2], expected[1, :2])
    others = [0, *range(2, 10)]
    np.testing.assert_array_equal(found[others], expected[others])


@pytest.mark.parametrize(
    ("units", "kernel_units"), [(1, 128), (128, 128), (129, 256), (256, 256), (257, 512), (512, 512)], ids=str
)
def test_next_larger_kernel_serves(gpu, bfloat16_recurrence, units, kernel_units):
    bfloat16_recurrence((9, 1, 3, units)).on(gpu)
    blocks = 2 * kernel_units // 32  # two clusters of eight rows each
    forward, backward, sums = gpu.launches()
    assert forward[:3] == (f"kerasptb_lstm_recurrence_forward_bfloat16_{kernel_units}", blocks, 256)
    assert backward[:3] == (f"kerasptb_lstm_recurrence_backward_bfloat16_{kernel_units}", blocks, 256)
    assert sums[0] == "kerasptb_column_sums"
    # No more than every GPU grants without being asked.
    assert max(forward[3], backward[3]) <= 48 * 1024


def test_too_many_units_are_refused(gpu, bfloat16_recurrence):
    inputs = bfloat16_recurrence((2, 3, 1, 513)).forward_inputs()
    with pytest.raises(
        RuntimeError, match=r"lstm_recurrence_forward_bfloat16 \(batch 2, steps 3, units 513\): serves 1 to 512 units"
    ):
        gpu.lstm_forward(inputs, bfloat16=True)
    assert gpu.launches() == []


@pytest.fixture
def operation(gpu, monkeypatch):
    """`ops.lstm` as on a machine with a GPU, its kernels on the emulated one."""
    import tensorflow as tf

    from kerasptb.native import loader
    from kerasptb.ops import lstm
    from kerasptb.ops import native_recurrence as native
    from kerasptb.ops import platform as platforms

    names = {
        "forward": ("xz", "recurrent_kernel", "bias", "h0", "c0"),
        "inference": ("xz", "recurrent_kernel", "bias", "h0", "c0"),
        "backward": ("recurrent_kernel", "gates", "c_seq", "c0", "dh_seq", "dh_T", "dc_T"),
    }
    called = []

    def call(target, arguments, outputs, sized_by=None):
        *_, which, precision = target.rsplit("_", 2)
        inputs = dict(zip(names[which], (argument.numpy() for argument in arguments), strict=True))
        options = {"bfloat16": precision == "bfloat16"} | ({"keep": False} if which == "inference" else {})
        results = (gpu.lstm_backward if which == "backward" else gpu.lstm_forward)(inputs, **options)
        assert [array.shape for array in results.values()] == outputs
        called.append(target)
        return [tf.constant(array) for array in results.values()]

    monkeypatch.setattr(platforms, "visible_gpus", lambda: [0])
    monkeypatch.setattr(platforms, "why_not_native", lambda precision="float32": None)
    monkeypatch.setattr(
        loader, "cuda_max_units", lambda precision="float32", device=0: gpu.max_units(precision == "bfloat16", device)
    )
    monkeypatch.setattr(native, "call", call)
    return lstm, called


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_operation_with_all_gradients(operation, recurrence, precision):
    import tensorflow as tf

    lstm, called = operation
    case = recurrence((5, 4, 6, 70))
    inputs = [tf.constant(getattr(case, name)) for name in case.NAMES]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = lstm(*inputs, precision=precision)
    gradients = tape.gradient(outputs, inputs, [tf.constant(array) for array in case.upstream])
    assert called == [f"kerasptb_lstm_recurrence_{direction}_{precision}" for direction in ("forward", "backward")]
    names = ("h_seq", "h_T", "c_T", *(f"d{name}" for name in case.NAMES))
    for name, tensor in zip(names, (*outputs, *gradients), strict=True):
        error = np.linalg.norm(tensor - case.exact[name]) / np.linalg.norm(case.exact[name])
        assert error <= (1e-6 if precision == "float32" else 1e-2), name
        assert precision == "float32" or error > 1e-4, name  # every product is in bfloat16


def test_operation_takes_the_units_that_the_gpu_has_room_for(operation, bfloat16_recurrence):
    lstm, called = operation
    for units, fits in ((512, True), (513, False)):
        case = bfloat16_recurrence((1, 1, 2, units))
        inputs = [getattr(case, name) for name in case.NAMES]
        if fits:
            assert lstm(*inputs, precision="bfloat16")[0].shape == (1, 1, units)
        else:
            with pytest.raises(
                ValueError, match=r"at most 512 units in bfloat16 on this GPU\. Received: units=513\. Use precision="
            ):
                lstm(*inputs, precision="bfloat16")
    assert called == ["kerasptb_lstm_recurrence_inference_bfloat16"]
