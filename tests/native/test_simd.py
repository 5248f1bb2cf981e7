"""Accuracy of the vector functions at every level that this processor has."""

import ctypes
import subprocess
from pathlib import Path

import numpy as np
import pytest

from kerasptb.native import build

# For each function: the largest error in units of the last place of float32, over the arguments below.
LARGEST_ERRORS = {"exp": 1.5, "exp2": 1.5, "tanh": 3.5, "sigmoid": 3.0}
SOURCE = """
#include "common/simd.h"
using namespace kerasptb::KERASPTB_LEVEL;
#define EXPORT(name) \\
  extern "C" void name(const float* in, float* out, long size) { \\
    for (long i = 0; i + kLanes <= size; i += kLanes) store(out + i, kerasptb::KERASPTB_LEVEL::name(load(in + i))); \\
  }
EXPORT(exp) EXPORT(exp2) EXPORT(tanh) EXPORT(sigmoid)
extern "C" int lanes() { return kLanes; }
extern "C" void sums4(const float* in, float* out) {
  const Float x[4] = {load(in), load(in + kLanes), load(in + 2 * kLanes), load(in + 3 * kLanes)};
  sums(x, out);
}
extern "C" void partial(const float* in, float* out, long count) { store(out, load(in, count) + 1.0f, count); }
"""
EXACT = {"exp": np.exp, "exp2": np.exp2, "tanh": np.tanh, "sigmoid": lambda x: 1 / (1 + np.exp(-x))}


def supported_levels():
    flags = Path("/proc/cpuinfo").read_text().split()
    return [
        name
        for name, needed in {"baseline": [], "avx2": ["avx2", "fma"], "avx512": ["avx512f", "avx512dq"]}.items()
        if all(flag in flags for flag in needed)
    ]


@pytest.fixture(scope="module", params=supported_levels())
def functions(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "functions.cc").write_text(SOURCE)
    flags = [flag for flag in build.COMMON_FLAGS if flag != "-fvisibility=hidden"]
    command = [
        *flags,
        *build.LEVELS[request.param],
        f"-DKERASPTB_LEVEL={request.param}",
        f"-I{build.SOURCES}",
        "-shared",
    ]
    try:
        compiler = build.find_compiler()
    except build.NativeBuildError as error:
        pytest.skip(str(error))
    library = folder / "functions.so"
    subprocess.run([*compiler, *command, str(folder / "functions.cc"), "-o", str(library)], check=True)
    return ctypes.CDLL(str(library))


def run(function, x):
    x = np.ascontiguousarray(x, np.float32)
    assert x.size % 16 == 0
    out = np.empty_like(x)
    pointer = ctypes.POINTER(ctypes.c_float)
    function(x.ctypes.data_as(pointer), out.ctypes.data_as(pointer), ctypes.c_long(x.size))
    return out


@pytest.mark.parametrize("name", LARGEST_ERRORS)
def test_error_in_units_of_the_last_place(functions, name):
    small = np.float32(2.0) ** np.linspace(-40, 6.4, 100_000, dtype=np.float32)
    x = np.concatenate([small, -small, np.linspace(-85, 85, 400_000, dtype=np.float32)])[: 16 * 37_500]
    exact = EXACT[name](x.astype(np.float64))
    errors = np.abs(run(getattr(functions, name), x) - exact) / np.spacing(np.abs(exact).astype(np.float32))
    assert errors.max() <= LARGEST_ERRORS[name], x[errors.argmax()]


def test_ends_of_the_range(functions):
    x = np.zeros(16, np.float32)
    x[:6] = [-np.inf, np.inf, np.nan, -1e30, 1e30, -0.0]
    assert run(functions.exp, x)[0] == 0
    assert run(functions.exp, x)[3] == 0
    assert run(functions.exp, x)[1] > 2e38
    np.testing.assert_array_equal(run(functions.tanh, x)[[0, 1, 3, 4, 5]], [-1, 1, -1, 1, 0])
    np.testing.assert_allclose(run(functions.sigmoid, x)[[0, 1, 3, 4, 5]], [0, 1, 0, 1, 0.5], atol=1e-37)
    for name in LARGEST_ERRORS:
        assert np.isnan(run(getattr(functions, name), x)[2])


def test_sums_and_parts_of_vectors(functions):
    lanes = functions.lanes()
    x = np.arange(4 * lanes, dtype=np.float32)
    out = np.full(lanes, -7.0, np.float32)
    pointer = ctypes.POINTER(ctypes.c_float)
    functions.sums4(x.ctypes.data_as(pointer), out.ctypes.data_as(pointer))
    np.testing.assert_array_equal(out[:4], x.reshape(4, lanes).sum(axis=1))
    for count in range(lanes + 1):
        out[:] = -7
        functions.partial(x.ctypes.data_as(pointer), out.ctypes.data_as(pointer), ctypes.c_long(count))
        np.testing.assert_array_equal(out, [*(x[:count] + 1), *[-7] * (lanes - count)])
