"""The tests of the kernels are themselves tested: each of these bugs, planted into a copy of the sources, is caught.

A bug is (file, replacements), a replacement (text, instead, occurrences). A source without the text fails the test:
then the bug has to be planted anew.
"""

import concurrent.futures
import shutil

import numpy as np
import pytest

pytestmark = pytest.mark.slow

FORWARD, BACKWARD, SHARED = "lstm_forward.cu", "lstm_backward.cu", "lstm.cuh"
FORWARD_16, BACKWARD_16, SHARED_16 = "lstm_forward_bfloat16.cu", "lstm_backward_bfloat16.cu", "lstm_bfloat16.cuh"
SOFTMAX, SUMS = "softmax_cross_entropy.cu", "column_sums.cu"
# For a file with a bug: the kernels' sources to compile again, and the check that must notice it.
AFFECTED = {
    FORWARD: ([FORWARD], "recurrence"),
    BACKWARD: ([BACKWARD], "recurrence"),
    SHARED: ([FORWARD, BACKWARD], "recurrence"),
    FORWARD_16: ([FORWARD_16], "bfloat16"),
    BACKWARD_16: ([BACKWARD_16], "bfloat16"),
    SHARED_16: ([FORWARD_16, BACKWARD_16], "bfloat16"),
    SOFTMAX: ([SOFTMAX], "softmax"),
    SUMS: ([SUMS], "softmax"),
}
# Three rows of a cluster's four; all units of a kernel, and fewer; enough steps for the barriers between them.
RECURRENCES = [(3, 4, 2, 64), (6, 3, 2, 100)]
RECURRENCES_16 = [(9, 4, 2, 128), (6, 3, 2, 101), (1, 3, 2, 250)]
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
    "backward: slope of o": (SHARED, [("tanh_c * s.o * (1.0f - s.o)", "tanh_c * s.o", 1)]),
    "backward: slope of g": (SHARED, [("1.0f - s.g * s.g", "1.0f - s.g", 1)]),
    "backward: dc is not handed on through f": (BACKWARD, [("      dc *= now.f;\n", "", 1)]),
    "backward: c0 forgotten": (BACKWARD, [("t > 1 ? *(c_seq - units) : a.c0[position]", "*(c_seq - units)", 1)]),
    "backward: a block's part is left out": (BACKWARD, [("from < kBlocks;", "from < kBlocks - 1;", 1)]),
    "reduction: lanes keep the wrong half": (SHARED, [("(lane & mask) != 0;", "(lane & mask) == 0;", 1)]),
    # The recurrence in bfloat16: barriers and buffers, guards, the mathematics, and who has which number.
    "bfloat16 forward: no barrier between steps": (
        FORWARD_16,
        [("      cluster_arrive();\n", "", 1), ("    if (more) cluster_wait();\n", "", 1)],
    ),
    "bfloat16 forward: arrives before it has sent h": (
        FORWARD_16,
        [
            ("      cluster_arrive();\n", "", 1),
            ("      uint16_t* const target =", "      cluster_arrive();\n      uint16_t* const target =", 1),
        ],
    ),
    "bfloat16 forward: does not wait for the blocks to begin": (
        FORWARD_16,
        [("  cluster_sync();", "  __syncthreads();", 1)],
    ),
    "bfloat16 forward: one buffer": (
        FORWARD_16,
        [("t % 2 * kBuffer;", "0;", 1), ("(t + 1) % 2 * kBuffer", "0", 1)],
    ),
    "bfloat16 backward: no barrier of the cluster": (
        BACKWARD_16,
        [("    cluster_arrive();\n", "", 1), ("    cluster_wait();\n", "", 1)],
    ),
    "bfloat16 backward: no barrier before the product": (
        BACKWARD_16,
        [("a.c0[position]};\n    __syncthreads();\n", "a.c0[position]};\n", 1)],
    ),
    "bfloat16 backward: one buffer": (BACKWARD_16, [("parts + t % 2 * kBlocks * kPart", "parts", 1)]),
    "bfloat16 backward: a block's part is left out": (BACKWARD_16, [("from < kBlocks;", "from < kBlocks - 1;", 1)]),
    "bfloat16 forward: batch unguarded": (FORWARD_16, [("batch < a.batch && unit < units", "unit < units", 1)]),
    "bfloat16 forward: units unguarded": (FORWARD_16, [("batch < a.batch && unit < units", "batch < a.batch", 1)]),
    "bfloat16 forward: odd unit of h0 unguarded": (FORWARD_16, [("there && k + 1 < units", "there && k < units", 1)]),
    "bfloat16 backward: batch unguarded": (BACKWARD_16, [("batch < a.batch && unit < units", "unit < units", 1)]),
    "bfloat16 backward: units unguarded": (BACKWARD_16, [("batch < a.batch && unit < units", "batch < a.batch", 1)]),
    "bfloat16 backward: dc is not handed on through f": (BACKWARD_16, [("    dc *= now.f;\n", "", 1)]),
    "bfloat16 backward: dc from dh of the step alone": (
        BACKWARD_16,
        [("dc += dh * now.dc_of_dh;", "dc += now.dh * now.dc_of_dh;", 1)],
    ),
    "bfloat16 backward: dz of a gate in another's place": (
        BACKWARD_16,
        [("pack_bfloat16(d[2], d[3])", "pack_bfloat16(d[3], d[2])", 1)],
    ),
    "bfloat16 forward: gates of the rows mixed up": (
        FORWARD_16,
        [("lane / 4 % 2 + i % 2 * 2;", "lane / 4 % 2 * 2 + i % 2;", 1)],
    ),
    "bfloat16 forward: weights of another pair": (
        FORWARD_16,
        [("first_k(m, i / 2, lane)", "first_k(m, i % 2, lane)", 1)],
    ),
    "bfloat16 forward: halves of the operand swapped": (
        FORWARD_16,
        [("weights[m], rows.x, rows.y", "weights[m], rows.y, rows.x", 1)],
    ),
    "bfloat16 forward: a sum left out": (FORWARD_16, [(" + (sums[2][i] + sums[3][i])", " + sums[2][i]", 1)]),
    "bfloat16 forward: units sent in another order": (FORWARD_16, [("lane & 16 ?", "lane & 8 ?", 1)]),
    "bfloat16 forward: a block that gets nothing": (FORWARD_16, [("+ q, four)", ", four)", 1)]),
    "bfloat16 backward: eight rows of units mixed up": (BACKWARD_16, [("i % 2 * 8)", "i / 2 * 8)", 1)]),
    "bfloat16 backward: product in another's units": (BACKWARD_16, [("lane / 8 * 2;", "lane / 4;", 1)]),
    "bfloat16: k of the wrong pair": (SHARED_16, [("pair * 2;", "(1 - pair) * 4;", 1)]),
    "bfloat16: rows of the batch mixed up": (
        SHARED_16,
        [("lane % 4 * 2 + lane / 4 % 2", "lane % 4 * 2 + 1 - lane / 4 % 2", 1)],
    ),
    "bfloat16: lanes keep the wrong column": (SHARED_16, [("(lane & 4) != 0", "(lane & 4) == 0", 1)]),
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
        "driver.cc",
        [("  const MayLoadCode permission;\n", "", 2)],
    ),
    "driver: shared memory not asked for": (
        "driver.cc",
        [("  if (has_much_shared(a)) {", "  if (false) {", 1)],
    ),
    "driver: large clusters not asked for": (
        "driver.cc",
        [("if (error.empty() && has_large_cluster(a))", "if (false)", 1)],
    ),
    "driver: a primary context is kept": ("driver.cc", [("  d.cuDevicePrimaryCtxRelease(handle);\n", "", 1)]),
    "driver: a context stays current": (
        "driver.cc",
        [("const int popped = d.cuCtxPopCurrent(&context);", "const int popped = 0;", 1)],
    ),
    "driver: the block's size for the grid's": (
        "driver.cc",
        [("static_cast<unsigned>(a.blocks), 1, 1,", "static_cast<unsigned>(a.threads), 1, 1,", 1)],
    ),
    "launcher: rows that fill no cluster left out": (
        "lstm_launcher.cc",
        [("(batch + pass.cluster_rows - 1)", "batch", 1)],
    ),
    "launcher: a kernel too small": (
        "lstm_launcher.cc",
        [("while (units > kernel->units)", "while (units > 2 * kernel->units)", 1)],
    ),
    "launcher: no column sums": (
        "softmax_cross_entropy_launcher.cc",
        [("  return column_sums({a.rows, a.vocabulary, a.dlogits, a.dbias}, stream);", '  return "";', 1)],
    ),
}


@pytest.fixture(scope="module")
def checks(recurrence, bfloat16_recurrence, softmax_rows):
    """The checks by name: functions that raise if an emulated GPU computes anything wrong."""
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

    def check_bfloat16(gpu):
        for seed in RECURRENCE_SEEDS:
            gpu.schedule(seed)
            for shape in RECURRENCES_16:
                bfloat16_recurrence(shape).check(gpu)

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
        assert gpu.max_units() == 512
        bfloat16_recurrence((1, 1, 1, 300)).check(gpu)
        assert gpu.contexts() == 0

    return {"recurrence": check_recurrence, "bfloat16": check_bfloat16, "softmax": check_softmax, "host": check_host}


@pytest.fixture(scope="module")
def objects(toolkit, tmp_path_factory):
    """The object files of the driver and of the launchers, two dicts by the names of the sources, without bugs."""
    folder = tmp_path_factory.mktemp("objects")
    names = {name for files, _ in AFFECTED.values() for name in files}
    kernels = [toolkit.sources / "cuda" / name for name in sorted(names)]
    return [
        {source.name: compile_it(source, folder) for source in sources}
        for compile_it, sources in (
            (toolkit.compile_emulated, (*toolkit.driver_sources, *kernels)),
            (toolkit.compile_host, toolkit.host_sources),
        )
    ]


@pytest.fixture(scope="module")
def caught(toolkit, compiled, objects, checks, tmp_path_factory):
    """A function that plants bugs, given by name, and returns for each the error noticed; None if nothing."""

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
        of_driver, of_launchers = objects
        path = folder / "src" / "cuda" / file
        plant(name, path, replacements)
        lenient = "-Wno-error"  # a bug may leave a variable unused
        if file not in AFFECTED:
            changed = {file: toolkit.compile_host(path, folder, lenient)}
            return toolkit.link_launchers(folder, (of_launchers | changed).values()), driver, checks["host"]
        affected, check = AFFECTED[file]
        changed = {other: toolkit.compile_emulated(path.with_name(other), folder, lenient) for other in affected}
        return launchers, toolkit.link_driver(folder, (of_driver | changed).values()), checks[check]

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
    files = (FORWARD, FORWARD_16, SOFTMAX, "driver.cc")
    assert set(caught({file: (file, []) for file in files}).values()) == {None}


def test_every_bug_is_caught(caught):
    noticed = caught(BUGS | HOST_BUGS)
    survivors = [name for name, what in noticed.items() if what is None]
    assert not survivors, survivors
    # The bugs are caught by what they do, not because the kernels do not run at all.
    for name, words in {
        "backward: a barrier that not all threads reach": "deadlock",
        "sums: columns unguarded": "out of bounds",
        "softmax: threads' sums not rescaled": "Not equal to tolerance",
        "driver: code not allowed to load during a capture": "operation not permitted when stream is capturing",
        "driver: shared memory not asked for": "invalid argument",
    }.items():
        assert words in noticed[name], noticed[name]
