"""Every instruction set and number of threads computes the same, in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kerasptb import native

NATIVE = Path(__file__).parent
OPS = NATIVE.with_name("ops")
SCRIPT = f"""
import sys
import numpy as np
sys.path[:0] = [{str(NATIVE)!r}, {str(OPS)!r}]
import test_clipped_adamw, test_clipped_sgd, test_dropout, test_global_norm, test_lstm, test_native_cells as cells
import test_linear_cross_entropy as linear, test_lstm_layer as layer, test_softmax_cross_entropy as softmax
from kerasptb import native
for shape in test_lstm.SHAPES:
    found = test_lstm.values_and_gradients(shape, "float32", "native")
    test_lstm.assert_as_exact_as_the_framework(found, shape)
    again = test_lstm.values_and_gradients(shape, "float32", "native")
    assert all(np.array_equal(found[name], again[name]) for name in found), shape
for shape in test_lstm.MASKED_SHAPES[2:8:2]:
    test_lstm.test_native_masks_are_as_exact_as_the_framework(None, shape)
for name in cells.NAMES:
    for shape in (*cells.SHAPES, cells.REPEATED):
        cells.test_values_and_gradients(None, name, shape)
    cells.test_masks(None, name, (20, 8, 6, 33))
for shape in layer.SHAPES:
    layer.test_inference_gives_the_bits_of_the_forward_pass(None, "float32", shape, False)
linear.test_few_words_limit_is_where_the_kernels_change(None, 300)
for shape in test_dropout.SHAPES:
    test_dropout.test_keeps_what_the_numbers_say(None, shape, 0.5, "native")
for shape in test_global_norm.SHAPES:
    test_global_norm.test_of_one_tensor(None, "native", shape)
for clip in (None, 0.5):
    for options in ({{}}, {{"weight_decay": 0.3, "average_momentum": 0.75}}):
        test_clipped_sgd.test_all_variables(None, "native", clip, options)
        test_clipped_adamw.test_all_variables(None, "native", clip, options)
for shape in softmax.SHAPES:
    softmax.test_loss_and_gradient(None, shape)
for shape in linear.SHAPES:
    linear.test_loss_and_gradients(None, shape)
    linear.test_a_transposed_kernel_gives_the_same(None, shape)
for order in ("rising", "falling", "two peaks"):
    for num_words in (12, 60):
        linear.test_the_largest_logit_may_be_anywhere(None, order, num_words)
print(native.cpu_level(), native.thread_count())
"""


@pytest.mark.slow
@pytest.mark.parametrize(("level", "threads"), [("baseline", 2), ("avx2", 1), ("avx512", 5)])
def test_level_and_threads(native_library, level, threads):
    if native.loader.CPU_LEVELS.index(native.cpu_level()) < native.loader.CPU_LEVELS.index(level):
        pytest.skip(f"this processor has no {level}")
    environment = os.environ | {"KERASPTB_CPU": level, "KERASPTB_THREADS": str(threads)}
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == [level, str(threads)]


def test_bfloat16_without_amx(native_library):
    levels = native.loader.CPU_LEVELS
    if levels.index(native.cpu_level()) < levels.index("avx512bf16"):
        pytest.skip("this processor has no avx512bf16")
    if native.cpu_level() == "avx512bf16":
        pytest.skip("this processor has no AMX, so the other tests run these kernels")
    environment = os.environ | {"KERASPTB_CPU": "avx512bf16"}
    chosen = "all_gradients or with_masks or loss_per_word or summed_loss or transposed or any_number_of_threads"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", chosen, OPS / "test_bfloat16.py"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "skipped" not in result.stdout
