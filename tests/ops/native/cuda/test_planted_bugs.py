"""The tests of the kernels are themselves tested: each of these bugs, planted into a copy of the sources, is caught.

A bug is (file, replacements), a replacement (text, instead, occurrences). A source without the text fails the test:
then the bug has to be planted anew.
"""

import concurrent.futures
import shutil

import numpy as np
import pytest

FORWARD, BACKWARD, SHARED = "lstm_forward.cu", "lstm_backward.cu", "lstm.cuh"
SOFTMAX, SUMS = "softmax_cross_entropy.cu", "column_sums.cu"
# What a bug in a file is in, and the check that has to notice.
AFFECTED = {
    FORWARD: ([FORWARD], "recurrence"),
    BACKWARD: ([BACKWARD], "recurrence"),
    SHARED: ([FORWARD, BACKWARD], "recurrence"),
    SOFTMAX: ([SOFTMAX], "softmax"),
    SUMS: ([SUMS], "softmax"),
}
# Three, and not four, rows of a cluster; a kernel's units all used, and not; steps enough for the barriers between.
RECURRENCES = [(3, 4, 2, 64), (6, 3, 2, 100)]
RECURRENCE_SEEDS = range(4)
SOFTMAX_SEEDS = range(3)

BUGS = {
    # The barriers.
    "forward: no barrier between steps": (
        FORWARD,
        [("      cluster_arrive();\n", "", 1), ("    if (more) cluster_wait();\n", "", 1)],
    ),
    "forward: arrives before it has sent h": (
        FORWARD,
        [
            ("      cluster_arrive();\n", "", 1),
            ("      float* const target =", "      cluster_arrive();\n      float* const target =", 1),
        ],
    ),
    "forward: does not wait for the blocks to begin": (FORWARD, [("  cluster_sync();", "  __syncthreads();", 1)]),
    "forward: does not wait for what was staged": (
        FORWARD,
        [("units, rank, first);\n    __syncthreads();\n", "units, rank, first);\n", 1)],
    ),
    "forward: stages over what is still read": (
        FORWARD,
        [("    __syncthreads();\n    stage_recurrent_kernel", "    stage_recurrent_kernel", 1)],
    ),
    "backward: no barrier of the cluster": (
        BACKWARD,
        [("    cluster_arrive();\n", "", 1), ("    cluster_wait();\n", "", 1)],
    ),
    "backward: no barrier before the product": (
        BACKWARD,
        [("a.c0[position]};\n    __syncthreads();\n", "a.c0[position]};\n", 1)],
    ),
    "backward: does not wait for the blocks to begin": (BACKWARD, [("  cluster_sync();", "  __syncthreads();", 1)]),
    "backward: a barrier that not all threads reach": (
        BACKWARD,
        [("a.c0[position]};\n    __syncthreads();\n", "a.c0[position]};\n    if (owner) __syncthreads();\n", 1)],
    ),
    # The double buffers.
    "forward: one buffer": (
        FORWARD,
        [("h_buffers + (t % 2) * H", "h_buffers", 1), ("((t + 1) % 2 * H + unit)", "(unit)", 1)],
    ),
    "forward: reads the buffer that it writes": (
        FORWARD,
        [("h_buffers + (t % 2) * H", "h_buffers + (t + 1) % 2 * H", 1)],
    ),
    "backward: one buffer": (BACKWARD, [("parts + t % 2 * kBlocks * kPart", "parts", 1)]),
    # The guards.
    "forward: batch unguarded": (FORWARD, [("batch < a.batch && unit < units", "unit < units", 1)]),
    "forward: units unguarded": (FORWARD, [("batch < a.batch && unit < units", "batch < a.batch", 1)]),
    "forward: h0 unguarded": (
        FORWARD,
        [("k < units && first_batch + row < a.batch", "first_batch + row < a.batch", 1)],
    ),
    "backward: batch unguarded": (BACKWARD, [("batch < a.batch && unit < units", "unit < units", 1)]),
    "backward: units unguarded": (BACKWARD, [("batch < a.batch && unit < units", "batch < a.batch", 1)]),
    "staging: rows unguarded": (SHARED, [("k < units && unit < units", "unit < units", 1)]),
    "staging: columns unguarded": (SHARED, [("k < units && unit < units", "k < units", 1)]),
    # The mathematics.
    "forward: x of the step before": (FORWARD, [("    xz += 4 * units;\n", "", 1)]),
    "forward: without the bias": (FORWARD, [(" + x[1] + bias[1]", " + x[1]", 1)]),
    "forward: gates mixed up": (FORWARD, [("tanhf(half ? own[0] : other[0])", "tanhf(half ? own[1] : other[1])", 1)]),
    "backward: slope of o": (BACKWARD, [("tanh_c * s.o * (1.0f - s.o)", "tanh_c * s.o", 1)]),
    "backward: slope of g": (BACKWARD, [("1.0f - s.g * s.g", "1.0f - s.g", 1)]),
    "backward: dc is not handed on through f": (BACKWARD, [("      dc *= now.f;\n", "", 1)]),
    "backward: c0 forgotten": (BACKWARD, [("t > 1 ? *(c_seq - units) : a.c0[position]", "*(c_seq - units)", 1)]),
    "backward: a block's part is left out": (BACKWARD, [("from < kBlocks;", "from < kBlocks - 1;", 1)]),
    "reduction: lanes keep the wrong half": (SHARED, [("(lane & mask) != 0;", "(lane & mask) == 0;", 1)]),
    # The softmax.
    "softmax: maximum not taken off": (SOFTMAX, [("z[j] = expf(z[j] - maximum)", "z[j] = expf(z[j])", 2)]),
    "softmax: sum not rescaled": (SOFTMAX, [("    own_total *= expf(largest - larger);\n", "", 1)]),
    "softmax: threads' sums not rescaled": (
        SOFTMAX,
        [("own_total * expf(largest - maximum)", "own_total", 1)],
    ),
    "softmax: maximum of one warp": (SOFTMAX, [("warp < static_cast<int>(blockDim.x) / 32", "warp < 1", 1)]),
    "softmax: no barrier before the warps' numbers are read": (SOFTMAX, [("  __syncthreads();\n", "", 1)]),
    "softmax: sums written over maxima": (SOFTMAX, [("shared + kSoftmaxScratch / 2", "shared", 2)]),
    "softmax: large targets unguarded": (SOFTMAX, [("target >= 0 && target < size", "target >= 0", 1)]),
    "softmax: negative targets unguarded": (SOFTMAX, [("target >= 0 && target < size", "target < size", 1)]),
    "softmax: fours that are none": (SOFTMAX, [("a.vocabulary % 4 == 0 && ", "", 1)]),
    "softmax: target's gradient without the one": (SOFTMAX, [("e[j] - total : e[j]", "e[j] : e[j]", 1)]),
    "softmax: scale ignored": (SOFTMAX, [("a.scale[blockIdx.x] / total", "1.0f / total", 1)]),
    # The column sums.
    "sums: columns unguarded": (SUMS, [("column < a.columns", "true", 1)]),
    "sums: no barrier": (SUMS, [("  __syncthreads();\n", "", 1)]),
    "sums: a warp counted twice": (SUMS, [("int i = 1;", "int i = 0;", 1)]),
    "sums: a row left out": (SUMS, [("r = group; r < a.rows", "r = group + 1; r < a.rows", 1)]),
}


# In the launchers and the driver layer; with the name of the file.
HOST_BUGS = {
    "driver: code not allowed to load during a capture": (
        "cuda_driver.cc",
        [("  const MayLoadCode permission;\n", "", 1)],
    ),
    "driver: shared memory not asked for": ("cuda_driver.cc", [("  if (needed <= bytes) return", "  return", 1)]),
    "driver: a context stays current": (
        "cuda_driver.cc",
        [("const int popped = d.cuCtxPopCurrent(&context);", "const int popped = 0;", 1)],
    ),
    "driver: the block's size for the grid's": (
        "cuda_driver.cc",
        [("static_cast<unsigned>(a.blocks), 1, 1,", "static_cast<unsigned>(a.threads), 1, 1,", 1)],
    ),
    "launcher: rows that fill no cluster left out": ("lstm_cuda.cc", [("(batch + kClusterRows - 1)", "batch", 1)]),
    "launcher: a kernel too small": (
        "lstm_cuda.cc",
        [("units <= 64 ? kernels.of_64", "units <= 100 ? kernels.of_64", 1)],
    ),
    "launcher: no column sums": (
        "softmax_cross_entropy_cuda.cc",
        [("  return column_sums({a.rows, a.vocabulary, a.dlogits, a.dbias}, stream);", '  return "";', 1)],
    ),
}


@pytest.fixture(scope="module")
def checks(recurrence, softmax_rows):
    """By name, what raises if an emulated GPU computes anything wrong."""
    cases = {
        "one": softmax_rows((3, 1003)),
        "fours": softmax_rows((3, 64)),
        "streamed": softmax_rows((2, 14_000)),
        "huge": softmax_rows((2, 333), scale=1e4),
        "huge and streamed": softmax_rows((1, 13_001), scale=1e4),
    }
    for rows in cases.values():
        assert set(rows.exact) == {"loss", "dlogits", "dbias"}

    def check_recurrence(gpu):
        for seed in RECURRENCE_SEEDS:
            gpu.schedule(seed)
            for shape in RECURRENCES:
                recurrence(shape).check(gpu)

    def check_softmax(gpu):
        gpu.configure(shared_bytes=0)
        for seed in SOFTMAX_SEEDS:
            gpu.schedule(seed)
            for name, rows in cases.items():
                found = gpu.softmax_cross_entropy(rows.inputs)
                if "huge" in name:
                    np.testing.assert_allclose(found["loss"], rows.exact["loss"], rtol=1e-6)
                else:
                    rows.check(found)
        inputs = dict(cases["fours"].inputs)
        inputs["targets"] = np.array([-1, 64, -5], np.int32)
        found = gpu.softmax_cross_entropy(inputs)
        assert np.isnan(found["loss"]).all()
        assert np.isnan(found["dlogits"]).all()

    def check_host(gpu):
        gpu.capture(True)
        large = softmax_rows((2, 20_000))
        large.check(gpu.softmax_cross_entropy(large.inputs))
        for shape in RECURRENCES:
            recurrence(shape).check(gpu)
        assert gpu.contexts() == 0

    return {"recurrence": check_recurrence, "softmax": check_softmax, "host": check_host}


@pytest.fixture(scope="module")
def objects(toolkit, tmp_path_factory):
    """The object file of every source, by its name, without bugs."""
    folder = tmp_path_factory.mktemp("objects")
    kernels = [toolkit.sources / "cuda" / name for name in (FORWARD, BACKWARD, SOFTMAX, SUMS)]
    return {
        source.name: toolkit.compile_emulated(source, folder, "-O1") for source in (*toolkit.driver_sources, *kernels)
    }


@pytest.fixture(scope="module")
def caught(toolkit, compiled, objects, checks, tmp_path_factory):
    """Plants bugs, given by name: what was noticed of each, None if nothing."""

    def plant(name, path, replacements):
        text = path.read_text()
        for old, new, occurrences in replacements:
            assert text.count(old) == occurrences, f"{name}: {old!r} is {text.count(old)} times in {path.name}"
            text = text.replace(old, new)
        path.write_text(text)

    def libraries(name, file, replacements):
        """The launchers and the driver, with the bug in one of them, and the check for it."""
        folder = tmp_path_factory.mktemp("planted")
        shutil.copytree(toolkit.sources, folder / "src")
        launchers, driver = compiled
        if file not in AFFECTED:
            plant(name, folder / "src" / file, replacements)
            return toolkit.compile_launchers(folder, "-Wno-error", sources=folder / "src"), driver, checks["host"]
        path = folder / "src" / "cuda" / file
        plant(name, path, replacements)
        affected, check = AFFECTED[file]
        # A bug may leave something unused.
        changed = {
            other: toolkit.compile_emulated(path.with_name(other), folder, "-O1", "-Wno-error") for other in affected
        }
        return launchers, toolkit.link_driver(folder, (objects | changed).values()), checks[check]

    def try_bug(*bug):
        launchers, driver, check = libraries(*bug)
        gpu = toolkit.EmulatedGpu(launchers, driver)
        try:
            check(gpu)
        except (RuntimeError, AssertionError) as error:
            return str(error).strip() or "a wrong number"
        finally:
            gpu.close()
        return None

    def try_all(bugs):
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            answers = pool.map(lambda name: try_bug(name, *bugs[name]), bugs)
            return dict(zip(bugs, answers, strict=True))

    return try_all


def test_copies_without_a_bug_pass(caught):
    assert set(caught({file: (file, []) for file in (FORWARD, SOFTMAX, "cuda_driver.cc")}).values()) == {None}


def test_every_bug_is_caught(caught):
    noticed = caught(BUGS | HOST_BUGS)
    survivors = [name for name, what in noticed.items() if what is None]
    assert not survivors, survivors
    # Not because they do not run at all.
    for name, words in {
        "backward: a barrier that not all threads reach": "deadlock",
        "sums: columns unguarded": "out of bounds",
        "softmax: threads' sums not rescaled": "Not equal to tolerance",
        "driver: code not allowed to load during a capture": "operation not permitted when stream is capturing",
        "driver: shared memory not asked for": "invalid argument",
    }.items():
        assert words in noticed[name], noticed[name]
