"""The recurrence's kernels with products in bfloat16, and their launchers, on the emulated GPU.

Two references: each step in float64 from the results of the step before, rounded as the kernels round them, which
leaves float32's errors; and all steps in float64 without any rounding.
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
