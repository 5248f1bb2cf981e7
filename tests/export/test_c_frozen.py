"""Frozen models in C, beside Keras: random graphs, steps, 8 bits, sanitizers, clang, and Arm in emulation."""

import re
import shutil
import subprocess
import sys
from importlib.util import find_spec

import keras
import numpy as np
import pytest
from keras import layers
from random_graphs import outputs_of, random_model

import kerasptb
from kerasptb.export import export_c
from kerasptb.utils.errors import ExportError

pytestmark = pytest.mark.skipif(not shutil.which("gcc"), reason="there is no gcc")
WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror")
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
CLANG = (sys.executable, "-m", "ziglang", "cc")
needs_clang = pytest.mark.skipif(find_spec("ziglang") is None, reason="there is no clang")


def program_of(folder, kind, compiler=("gcc",), flags=SANITIZERS):
    """Compiles a program that reads rows of a file and writes outputs; of a step it keeps the state."""
    name = folder.name
    sizes = re.findall(rf"#define {name.upper()}_{kind.upper()}_(\w+) (\d+)", (folder / f"{name}.h").read_text())
    arrays = {array.lower(): int(size) for array, size in sizes}
    reads = "".join(f" && fread({a}, 4, {n}, stdin) == {n}" for a, n in arrays.items() if a.startswith("in"))
    writes = "".join(f"    fwrite({a}, 4, {n}, stdout);\n" for a, n in arrays.items() if a.startswith("out"))
    (folder / "main.c").write_text(
        f'#include "{name}.h"\n#include <stdio.h>\n\n'
        + "".join(f"static float {array}[{size}];\n" for array, size in arrays.items())
        + f"int main(void) {{\n  while (1{reads}) {{\n"
        f"    if (!{name}_{kind}({', '.join(arrays)})) return 3;\n{writes}  }}\n  return 0;\n}}\n"
    )
    sources = [str(folder / f"{name}.c"), str(folder / "main.c")]
    built = str(folder / kind)
    subprocess.run([*compiler, *WARNINGS, "-O1", *flags, *sources, "-o", built, "-lm"], check=True)
    return built


def run(command, arrays, shapes):
    """Returns the outputs of rows of some inputs."""
    rows = [np.concatenate([x[i].ravel() for x in arrays]) for i in range(len(arrays[0]))]
    done = subprocess.run(command, input=np.concatenate(rows).astype("float32").tobytes(), stdout=-1, check=True)
    numbers = np.frombuffer(done.stdout, "float32").reshape(len(rows), -1)
    parts = np.split(numbers, np.cumsum([int(np.prod(shape[1:])) for shape in shapes])[:-1], axis=1)
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]


def assert_close(found, expected, tolerance=1e-5):
    for y, wanted in zip(found, expected, strict=True):
        finite = np.isfinite(wanted)
        np.testing.assert_array_equal(np.isfinite(y), finite)
        scale = max(1.0, np.abs(wanted[finite]).max(initial=0))
        np.testing.assert_allclose(y[finite] / scale, wanted[finite] / scale, rtol=0, atol=tolerance)


def check(seed, folder, *compiler, before=(), **how):
    model, arrays = random_model(seed)
    expected = outputs_of(model, arrays)
    try:
        export_c(model, folder, float32=True)
    except ExportError as error:
        assert "has no form of such a layer" in str(error)
        return False
    built = program_of(folder, "predict", *compiler, **how)
    assert_close(run([*before, built], arrays, [y.shape for y in expected]), expected)
    return True


def forecaster():
    keras.utils.set_random_seed(2)
    first = layers.LSTM(12, return_sequences=True)
    return keras.Sequential([layers.Input((7, 3)), first, layers.GRU(9), layers.Dense(2)])


@pytest.mark.parametrize("seed", range(8))
def test_random_graphs(seed, tmp_path):
    check(seed, tmp_path / "m")


@pytest.mark.slow
@pytest.mark.parametrize("first", range(8, 500, 41))
def test_more_random_graphs(first, tmp_path):
    assert sum(check(seed, tmp_path / f"m{seed}") for seed in range(first, first + 41)) > 25


@pytest.mark.slow
@needs_clang
@pytest.mark.parametrize("seed", range(500, 512))
def test_clang_and_arm(seed, tmp_path):
    check(seed, tmp_path / "m", CLANG, flags=("-fsanitize=undefined",))
    if shutil.which("qemu-aarch64"):
        flags = ("-target", "aarch64-linux-musl", "-static")
        check(seed, tmp_path / "arm", CLANG, before=("qemu-aarch64",), flags=flags)


@pytest.mark.parametrize(("float32", "tolerance"), [(True, 1e-5), (False, 0.03)])
def test_steps_and_8_bits(float32, tolerance, tmp_path):
    model, x = forecaster(), np.random.default_rng(1).standard_normal((1, 7, 3)).astype("float32")
    export_c(model, tmp_path / "m", float32=float32)
    expected = outputs_of(model, [x])
    found = run([program_of(tmp_path / "m", "predict")], [x], [(1, 2)])
    assert_close(found, expected, tolerance)
    frozen = kerasptb.freeze(model)
    (steps,) = run([program_of(tmp_path / "m", "step")], [x[0]], [(7, 2)])
    state = None
    for t, y in enumerate(steps):
        wanted, state = frozen.step(x[:, t], state)
        assert_close([y], wanted, tolerance)
    assert_close(found, [steps[-1:]])
    assert (np.abs(found[0] - expected[0]).max() > 1e-5) == (not float32)


def test_a_masked_step_puts_out_what_was_before(tmp_path):
    inputs = keras.Input((6, 3))
    export_c(keras.Model(inputs, layers.LSTM(4)(layers.Masking()(inputs))), tmp_path / "m", float32=True)
    x = np.random.default_rng(1).standard_normal((6, 3)).astype("float32")
    x[[0, 3]] = 0
    (steps,) = run([program_of(tmp_path / "m", "step")], [x], [(6, 4)])
    assert not steps[0].any()
    assert steps[2].any()
    np.testing.assert_array_equal(steps[3], steps[2])


def test_an_input_that_is_no_sequence_has_no_steps(tmp_path):
    inputs = keras.Input((6, 3)), keras.Input((2,))
    y = layers.Concatenate()([layers.LSTM(4)(inputs[0]), layers.Dense(5)(inputs[1])])
    export_c(keras.Model(inputs, y), tmp_path / "m")
    header = (tmp_path / "m" / "m.h").read_text()
    assert "M_PREDICT_IN_1 2" in header
    assert "STEP" not in header


def test_a_program_in_cpp_links_it(tmp_path):
    """With a mask of minus infinity, which C has no digits for."""
    inputs = keras.Input((6, 3))
    export_c(keras.Model(inputs, layers.LSTM(4)(layers.Masking(-np.inf)(inputs))), tmp_path / "c", name="wave")
    source = '#include "wave.h"\nint main() { static float in[18], out[4]; return wave_predict(in, out) - 1; }\n'
    (tmp_path / "main.cc").write_text(source)
    subprocess.run(["gcc", *WARNINGS, "-c", tmp_path / "c" / "wave.c", "-o", tmp_path / "wave.o"], check=True)
    command = ["g++", "-I", tmp_path / "c", tmp_path / "main.cc", tmp_path / "wave.o", "-o", tmp_path / "main", "-lm"]
    subprocess.run(command, check=True)
    subprocess.run([tmp_path / "main"], check=True)


def test_ids_out_of_range_are_told(tmp_path):
    inputs = keras.Input((3,), dtype="int32")
    export_c(keras.Model(inputs, layers.LSTM(2)(layers.Embedding(5, 2)(inputs))), tmp_path / "m")
    built = program_of(tmp_path / "m", "predict")
    for ids, status in (([0, 4, 1], 0), ([0, 5, 1], 3), ([-1, 0, 1], 3)):
        done = subprocess.run([built], input=np.array(ids, "float32").tobytes(), stdout=-1, check=False)
        assert done.returncode == status


def test_models_without_a_shape_have_steps_alone(tmp_path):
    inputs = keras.Input((None, 3))
    export_c(keras.Model(inputs, layers.LSTM(2)(inputs)), tmp_path / "1-wave")
    header = (tmp_path / "1-wave" / "model_1_wave.h").read_text()
    assert "int model_1_wave_step(const float* in, float* state, float* out);" in header
    assert "predict(" not in header
    both = layers.Bidirectional(layers.LSTM(2))(inputs)
    with pytest.raises(ExportError, match="fixed shape, or a step"):
        export_c(keras.Model(inputs, both), tmp_path / "both")
    with pytest.raises(ExportError, match="which is taken"):
        export_c(forecaster(), tmp_path / "1-wave")


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("arm-none-eabi-gcc"), reason="there is no compiler for microcontrollers")
def test_a_microcontroller_compiles_it(tmp_path):
    export_c(forecaster(), tmp_path / "m")
    flags = ("-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16", "-O2", "-c")
    command = ["arm-none-eabi-gcc", *WARNINGS, *flags, tmp_path / "m" / "m.c", "-o", tmp_path / "m.o"]
    subprocess.run(command, check=True)
    sizes = subprocess.run(["arm-none-eabi-size", tmp_path / "m.o"], stdout=-1, text=True, check=True).stdout
    text, data, bss = map(int, sizes.splitlines()[1].split()[:3])
    assert text < 20_000
    assert data + bss < 4_000
