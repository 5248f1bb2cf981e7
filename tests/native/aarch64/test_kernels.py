"""The library for 64-bit Arm: all of it links, and its kernels give float64's results on an emulated processor."""

import concurrent.futures
import importlib.util
import os
import platform
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from kerasptb.native import build


def of(path):
    """The module of other tests, whose examples and exact results these share."""
    spec = importlib.util.spec_from_file_location(f"shared_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


NATIVE = Path(__file__).parents[1]
OPS = NATIVE.with_name("ops")
lstm = of(OPS / "test_lstm.py")
cells = of(OPS / "test_native_cells.py")
adamw = of(OPS / "test_clipped_adamw.py")
sgd = adamw.sgd
norm = of(OPS / "test_global_norm.py")
dropout = of(OPS / "test_dropout.py")
linear = of(NATIVE / "test_linear_cross_entropy.py")
softmax = of(NATIVE / "test_softmax_cross_entropy.py")

pytestmark = pytest.mark.slow

COMPILER, EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64"
LSTM_OUTPUTS = ("h_seq", "h_T", "c_T", "dx", "dh0", "dc0", "dkernel", "drecurrent_kernel", "dbias")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Runs an operation of `kernels.cc`: (name, sizes, input arrays, output shapes) to output arrays."""
    for program in (COMPILER, EMULATOR):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    folder = tmp_path_factory.mktemp("aarch64")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(platform, "machine", lambda: "aarch64")
        units = build.translation_units()
    assert not any("avx" in name for name, _, _ in units)
    flags = ("-DKERASPTB_LEVEL=baseline", f"-I{build.SOURCES}")
    units.append(("program", Path(__file__).parent / "kernels.cc", flags))

    def compile_unit(unit):
        name, source, own_flags = unit
        path = folder / f"{name}.o"
        build.run([COMPILER, *build.COMMON_FLAGS, *own_flags, "-c", str(source), "-o", str(path)])
        return str(path)

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compile_unit, units))
    # Every object, as in the library: nothing that they call is missing.
    build.run([COMPILER, "-static", "-pthread", *objects, "-o", str(folder / "kernels")])

    def run(operation, sizes, arrays, shapes, threads=2):
        result = subprocess.run(
            [EMULATOR, folder / "kernels", operation, *map(str, sizes)],
            input=b"".join(np.ascontiguousarray(array).tobytes() for array in arrays),
            env=os.environ | {"KERASPTB_THREADS": str(threads)},
            capture_output=True,
            check=True,
        )
        flat = np.frombuffer(result.stdout, np.float32)
        ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
        assert ends[-1] == len(flat)
        return [part.reshape(shape) for part, shape in zip(np.split(flat, ends[:-1]), shapes, strict=True)]

    return run


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("shape", lstm.SHAPES, ids=str)
def test_lstm_layer(run, shape, threads):
    B, T, _, H = shape
    inputs, upstream = lstm.example(shape)
    arrays = [array.astype(np.float32) for array in (*inputs, *upstream)]
    shapes = [(B, T, H), (B, H), (B, H), *(array.shape for array in inputs)]
    found = run("lstm", shape, arrays, shapes, threads)
    found = {name: array.astype(np.float64) for name, array in zip(LSTM_OUTPUTS, found, strict=True)}
    lstm.assert_as_exact_as_the_framework(found, shape)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("shape", [*cells.SHAPES[:-1], cells.REPEATED], ids=str)
@pytest.mark.parametrize("name", cells.NAMES)
def test_layer_of_another_cell(run, name, shape, threads):
    inputs, upstream = cells.example(name, shape)
    arrays = [array.astype(np.float32) for array in (*inputs, *upstream)]
    shapes = [array.shape for array in (*upstream, *inputs)]
    found = [array.astype(np.float64) for array in run(name, shape, arrays, shapes, threads)]
    cells.assert_exact(name, shape, (found[: len(upstream)], found[len(upstream) :]))


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("shape", linear.SHAPES, ids=str)
def test_linear_cross_entropy(run, shape, threads):
    h, kernel, bias, targets, scale = linear.example(shape)
    shapes = [targets.shape, h.shape, kernel.shape, bias.shape]
    found = run("linear_cross_entropy", shape, (h, kernel, bias, targets, scale), shapes, threads)
    linear.assert_close(found, linear.exact(h, kernel, bias, targets, scale))


@pytest.mark.parametrize("shape", softmax.SHAPES, ids=str)
def test_softmax_cross_entropy(run, shape):
    logits, bias, targets, scale = softmax.example(shape)
    shapes = [targets.shape, logits.shape, bias.shape]
    found = run("softmax_cross_entropy", shape, (logits, bias, targets, scale), shapes)
    for array, expected in zip(found, softmax.exact(logits, bias, targets, scale), strict=True):
        np.testing.assert_allclose(array, expected, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("threads", [1, 3])
def test_global_norm(run, threads):
    for shape in norm.SHAPES:
        (array,) = norm.example([shape])
        (found,) = run("global_norm", (array.size,), (array,), [()], threads)
        np.testing.assert_allclose(found, norm.exact([array]), rtol=1e-6)


@pytest.mark.parametrize("clip", [0.5, 1e4])
@pytest.mark.parametrize("operation", ["clipped_sgd", "clipped_adamw"])
def test_step_of_all_variables(run, operation, clip):
    weights, means, squares, gradients = adamw.example(shapes=[(4097,)], sparse=[(50, 7, 40)])
    options = sgd.of_all({"weight_decay": 0.3, "average_momentum": 0.75}, weights)
    alpha = adamw.RATE * np.sqrt(1 - adamw.BETA_2) / (1 - adamw.BETA_1)
    scalars = [adamw.RATE, clip, 0.75, alpha, 1 - adamw.BETA_1, 1 - adamw.BETA_2, adamw.EPSILON]
    (of_matrix, of_dense), (matrix, dense) = gradients, weights
    before = list(zip(weights, options["averages"], means, squares, strict=True))
    arrays = [np.float32(scalars), np.float32(options["weight_decays"][::-1]), *before[1], of_dense, *before[0]]
    sizes = (dense.size, *matrix.shape, len(of_matrix[0]))
    found = run(operation, sizes, [*arrays, *of_matrix], [w.shape for w in (dense, matrix) for _ in range(4)])
    found = list(zip(found[4:], found[:4], strict=True))  # weights, averages, means, squares of both
    if operation == "clipped_sgd":
        expected = (*sgd.exact(weights, gradients, adamw.RATE, clip, **options), means, squares)
    else:
        weights, means, squares, of_weights = adamw.exact(weights, means, squares, gradients, 1, clip, **options)
        expected = (weights, of_weights, means, squares)
    adamw.assert_equal(found, expected)


@pytest.mark.parametrize("shape", dropout.SHAPES, ids=str)
def test_dropout(run, shape):
    x, keep_prob = dropout.example(shape), np.array([0.75], "float32")
    (found,) = run("dropout", (x.size,), (x, np.array(dropout.SEED, "int32"), keep_prob), [shape])
    expected = np.where(dropout.kept(shape, 0.25), x / keep_prob, 0)
    np.testing.assert_allclose(found, expected, rtol=3e-7, atol=0)
