"""Kernels, launchers and emulator with checks of every memory access and of undefined behaviour compiled in."""

import concurrent.futures
import shutil
import subprocess

import numpy as np
import pytest

from kerasptb.native import build

pytestmark = pytest.mark.slow

FLAGS = ("-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined")


@pytest.fixture(scope="module")
def environment(toolchain):
    """Environment variables of a process that may load code compiled with `FLAGS`."""
    # The runtimes must be loaded first, and libstdc++ with them, so that the first finds the functions to intercept.
    runtimes = []
    for name in ("libasan.so", "libubsan.so", "libstdc++.so.6"):
        command = [*build.find_compiler(), f"-print-file-name={name}"]
        path = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        if path == name:
            pytest.skip(f"the compiler has no {name}")
        runtimes.append(path)
    return {
        "LD_PRELOAD": " ".join(runtimes),
        # All leaks are Python's own, at exit. The second check would map another stack for each of thousands of fibers.
        "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0",
        "KERASPTB_EXACT_ALLOCATIONS": "1",
    }


@pytest.fixture(scope="module")
def launchers(toolkit, tmp_path_factory):
    return toolkit.compile_launchers(tmp_path_factory.mktemp("sanitized"), *FLAGS)


@pytest.fixture(scope="module")
def objects(toolkit, launchers):
    """The object files of the driver and of each kernel, by the names of their sources."""
    recurrence = ("lstm_forward.cu", "lstm_backward.cu", "lstm_forward_bfloat16.cu", "lstm_backward_bfloat16.cu")
    kernels = (*recurrence, "softmax_cross_entropy.cu", "column_sums.cu")
    sources = [*toolkit.driver_sources, *(toolkit.sources / "cuda" / name for name in kernels)]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        paths = pool.map(lambda source: toolkit.compile_emulated(source, launchers.parent, *FLAGS), sources)
        return {source.name: path for source, path in zip(sources, paths, strict=True)}


@pytest.fixture(scope="module")
def sanitized_gpu(toolkit, launchers, objects, environment):
    gpu = toolkit.EmulatedGpu(launchers, toolkit.link_driver(launchers.parent, objects.values(), *FLAGS), environment)
    yield gpu
    assert gpu.close() == ""


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (3, 3, 2, 50), (5, 2, 2, 100), (2, 2, 3, 200)], ids=str)
def test_recurrence(sanitized_gpu, recurrence, shape, seed):
    sanitized_gpu.schedule(seed)
    recurrence(shape).check(sanitized_gpu)
    sanitized_gpu.lstm_forward(recurrence(shape).forward_inputs(), keep=False)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (9, 3, 2, 50), (2, 2, 2, 200), (2, 2, 2, 301)], ids=str)
def test_recurrence_in_bfloat16(sanitized_gpu, bfloat16_recurrence, shape, seed):
    sanitized_gpu.schedule(seed)
    bfloat16_recurrence(shape).check(sanitized_gpu)
    sanitized_gpu.lstm_forward(bfloat16_recurrence(shape).forward_inputs(), keep=False, bfloat16=True)


@pytest.mark.parametrize("shape", [(1, 1), (3, 31), (2, 1000), (2, 13_001)], ids=str)
def test_softmax(sanitized_gpu, softmax_rows, shape):
    rows = softmax_rows(shape)
    for shared_bytes in (232_448, 0):
        sanitized_gpu.configure(shared_bytes=shared_bytes)
        for in_place in (False, True):
            rows.check(sanitized_gpu.softmax_cross_entropy(rows.inputs, in_place=in_place))
        rows.check(sanitized_gpu.softmax_cross_entropy(rows.inputs, gradient=False))


@pytest.mark.parametrize("target", [-1, 31, 2**31 - 1, -(2**31)])
def test_targets_out_of_range_touch_nothing(sanitized_gpu, softmax_rows, target):
    inputs = softmax_rows((3, 31)).inputs
    inputs["targets"][:] = target
    assert np.isnan(sanitized_gpu.softmax_cross_entropy(inputs)["loss"]).all()


@pytest.mark.parametrize(
    ("file", "guard", "instead"),
    [
        ("lstm_backward.cu", "owner && batch < a.batch && unit < units", "owner && unit < units"),
        ("lstm_forward_bfloat16.cu", "there = first_batch + r < a.batch;", "there = true;"),
    ],
)
def test_a_read_past_an_end_is_seen(
    toolkit, launchers, objects, environment, recurrence, bfloat16_recurrence, tmp_path, file, guard, instead
):
    shutil.copytree(toolkit.sources, tmp_path / "src")
    path = tmp_path / "src" / "cuda" / file
    assert path.read_text().count(guard) == 1
    path.write_text(path.read_text().replace(guard, instead))
    changed = {path.name: toolkit.compile_emulated(path, tmp_path, *FLAGS)}
    driver = toolkit.link_driver(tmp_path, (objects | changed).values(), *FLAGS)
    gpu = toolkit.EmulatedGpu(launchers, driver, environment)
    with pytest.raises(RuntimeError, match="AddressSanitizer: heap-buffer-overflow"):
        (bfloat16_recurrence if "bfloat16" in file else recurrence)((3, 3, 2, 50)).on(gpu)
