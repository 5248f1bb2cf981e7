"""The native operations under Keras on PyTorch, in a process that has no TensorFlow."""

from pathlib import Path

import pytest


@pytest.mark.slow
def test_values_and_gradients_are_the_references(run_under_torch):
    output = run_under_torch(Path(__file__).with_name("torch_program.py"))
    assert output.strip().endswith("as the reference")
