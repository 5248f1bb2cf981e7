"""What the library finds out about GPUs, and what it says when one cannot be used. No real driver is asked."""

import ctypes

import numpy as np
import pytest

CLUSTER_KERNEL, CLUSTER_SHARED = "kerasptb_lstm_recurrence_forward_float32_256", 33_792


@pytest.fixture
def new_gpu(compiled, toolkit):
    """Starts a process whose driver nobody has asked yet: the library asks once."""
    started = []

    def start(launchers=compiled[0], driver=compiled[1], **settings):
        gpu = toolkit.EmulatedGpu(launchers, driver)
        started.append(gpu)
        if settings:
            gpu.configure(**settings)
        return gpu

    yield start
    for gpu in started:
        gpu.close()


@pytest.mark.parametrize(("major", "minor"), [(9, 0), (10, 0), (12, 0)])
def test_nothing_is_missing(new_gpu, major, minor):
    message, report = new_gpu(version=13010, devices=2, major=major, minor=minor).why_not(1)
    assert message == ""
    assert report == {"driver_version": 13010, "devices": 2, "major": major, "minor": minor}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            {"devices": 0},
            "the NVIDIA driver does not start: no CUDA-capable device is detected (CUDA error 100)",
        ),
        ({"version": 11040}, "the NVIDIA driver is too old: it serves CUDA 11.4, and 12.0 is needed"),
        (
            {"major": 8, "minor": 9},
            "needs compute capability 9.0 (thread-block clusters); this GPU has 8.9",
        ),
        (
            {"major": 13},
            "the driver (of CUDA 13.0) has no use for our code on this GPU: "
            "no kernel image is available for execution on the device (CUDA error 209)",
        ),
    ],
    ids=["no GPU", "old driver", "no clusters", "no code"],
)
def test_why_not(new_gpu, softmax_rows, settings, expected):
    gpu = new_gpu(**settings)
    message, report = gpu.why_not()
    assert message == expected
    assert report["driver_version"] == settings.get("version", 13000)
    with pytest.raises(RuntimeError, match=r"^kerasptb_softmax_cross_entropy_cached \(rows 2, vocabulary 3\): "):
        gpu.softmax_cross_entropy(softmax_rows((2, 3)).inputs)


def test_gpu_that_is_not_there(new_gpu):
    message, report = new_gpu(devices=2).why_not(2)
    assert message == "there is no GPU 2: the driver shows 2"
    assert report == {"driver_version": 13000, "devices": 2, "major": 0, "minor": 0}
    assert new_gpu().why_not(-1)[0] == "there is no GPU -1: the driver shows 1"


def test_no_driver(new_gpu, recurrence):
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        pass
    else:
        pytest.skip("this machine has an NVIDIA driver")
    gpu = new_gpu(driver=None)
    message, report = gpu.why_not()
    assert message.startswith("there is no NVIDIA driver: libcuda.so.1: ")
    assert report == {"driver_version": 0, "devices": 0, "major": 0, "minor": 0}
    with pytest.raises(RuntimeError, match=r"kerasptb_lstm_recurrence_forward_float32_64 \(batch 3, .*: there is no"):
        recurrence((3, 7, 5, 32)).on(gpu)
    with pytest.raises(RuntimeError, match="there is no NVIDIA driver"):
        gpu.softmax_cross_entropy(
            {
                "logits": np.zeros((1, 20_000), np.float32),
                "bias": np.zeros(20_000, np.float32),
                "targets": np.zeros(1, np.int32),
                "scale": np.ones(1, np.float32),
            }
        )


def test_library_without_cuda_code(new_gpu, toolkit, compiled, tmp_path):
    launchers = toolkit.compile_launchers(tmp_path, "-DWITHOUT_CUDA_CODE")
    assert new_gpu(launchers=launchers).why_not()[0] == "built without CUDA code (there was no nvcc)"
    assert "compute capability" in new_gpu(launchers=launchers, major=8).why_not()[0]


def test_driver_that_does_not_take_the_code(new_gpu, toolkit, compiled, tmp_path):
    launchers = toolkit.compile_launchers(tmp_path, '-DFATBIN="something else than was agreed upon"')
    expected = "the driver (of CUDA 12.4) does not take our code: device kernel image is invalid (CUDA error 200)"
    assert new_gpu(launchers=launchers, version=12040).why_not()[0] == expected


def test_driver_that_is_older_than_the_code(new_gpu, toolkit, compiled, tmp_path, softmax_rows):
    launchers = toolkit.compile_launchers(tmp_path, "-DNVCC=13")
    assert new_gpu(launchers=launchers, version=13000).why_not()[0] == ""
    gpu = new_gpu(launchers=launchers, version=12090)
    assert gpu.why_not()[0].startswith("the code was made by nvcc 13, and the driver serves CUDA 12.9: it needs a")
    with pytest.raises(RuntimeError, match="made by nvcc 13"):
        gpu.softmax_cross_entropy(softmax_rows((2, 3)).inputs)


def test_asking_launches_nothing_and_makes_no_context(gpu):
    gpu.why_not()
    assert gpu.launches() == []
    assert gpu.contexts() == 0


def test_first_questions_at_once(new_gpu):
    assert new_gpu().reasons_at_once(8) == [""] * 8


@pytest.mark.parametrize(
    ("launch", "words"),
    [
        (("no_such_kernel", 1, 32, 0), "named symbol not found (CUDA error 500)"),
        ((CLUSTER_KERNEL, 12, 256, CLUSTER_SHARED), "invalid cluster size (CUDA error 912)"),
        ((CLUSTER_KERNEL, 8, 512, CLUSTER_SHARED), "too many resources requested for launch (CUDA error 701)"),
        ((CLUSTER_KERNEL, 8, 256, 300_000), "invalid argument (CUDA error 1)"),
        ((CLUSTER_KERNEL, 0, 256, CLUSTER_SHARED), "too large: it would take 0 blocks"),
        ((CLUSTER_KERNEL, 2**33, 256, CLUSTER_SHARED), "too large: it would take 8589934592 blocks"),
    ],
    ids=["unknown kernel", "broken cluster", "threads", "shared memory", "no blocks", "too many blocks"],
)
def test_refused_launches_name_kernel_shape_and_reason(gpu, launch, words):
    with pytest.raises(RuntimeError) as error:
        gpu.launch(*launch)
    assert str(error.value) == f"{launch[0]} (a test): {words}"
    assert gpu.launches() == []


@pytest.mark.parametrize("vocabulary", [3, 20_000], ids=["plain", "much shared memory"])
def test_first_launch_into_a_cuda_graph(new_gpu, softmax_rows, vocabulary):
    gpu = new_gpu()
    rows = softmax_rows((2, vocabulary))
    assert gpu.capture(True) == 1
    rows.check(gpu.softmax_cross_entropy(rows.inputs))
    assert gpu.capture(False) == 1  # the thread's mode is what it was


def test_stream_without_a_context(gpu, softmax_rows):
    with pytest.raises(RuntimeError, match=r"kerasptb_softmax.*: invalid device context \(CUDA error 201\)"):
        gpu.softmax_cross_entropy(softmax_rows((2, 3)).inputs, stream=None)
    with pytest.raises(RuntimeError, match="the GPU of the stream is not known: invalid device context"):
        gpu.softmax_cross_entropy(softmax_rows((1, 20_000)).inputs, stream=None)


def test_large_clusters_are_asked_for_on_each_gpu(new_gpu, bfloat16_recurrence):
    gpu = new_gpu(devices=2)
    assert [gpu.max_units(device=device) for device in (1, 0, 2)] == [512, 512, 256]  # there is no third
    assert gpu.max_units(bfloat16=False) == 256
    assert gpu.contexts() == 0  # what was made for the question is given up
    inputs = bfloat16_recurrence((1, 1, 1, 300)).forward_inputs()
    fresh = new_gpu(devices=2)  # no question before the launch
    for stream in (101, 100):
        np.testing.assert_array_equal(
            *(on.lstm_forward(inputs, bfloat16=True, stream=stream)["h_T"] for on in (gpu, fresh))
        )


def test_gpu_without_room_for_a_large_cluster(new_gpu, bfloat16_recurrence):
    gpu = new_gpu(major=12, cluster_blocks=8)
    assert gpu.why_not()[0] == ""
    assert gpu.max_units() == 256
    bfloat16_recurrence((1, 1, 1, 256)).on(gpu)
    with pytest.raises(
        RuntimeError,
        match=r"^kerasptb_lstm_recurrence_forward_bfloat16_512 \(.* units 300\): invalid cluster size .* 912\)",
    ):
        bfloat16_recurrence((1, 1, 1, 300)).on(gpu)


def test_first_question_after_room_while_a_graph_is_captured(new_gpu):
    gpu = new_gpu()
    assert gpu.capture(True) == 1
    assert gpu.max_units() == 512
    assert gpu.capture(False) == 1


def test_shared_memory_is_asked_for_on_each_gpu(new_gpu, softmax_rows):
    gpu = new_gpu(devices=3)
    rows = softmax_rows((1, 20_000))
    for device in (2, 0, 2):
        rows.check(gpu.softmax_cross_entropy(rows.inputs, stream=100 + device))
    assert gpu.granted() == [0, 2]
    assert gpu.contexts() == 0
