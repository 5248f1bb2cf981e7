"""The layers with Keras on other backends than TensorFlow."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_plain_operations_give_what_keras_gives(backend):
    if find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, Path(__file__).with_name("plain_program.py")]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.stdout.endswith("as Keras\n"), result.stderr[-2000:]


@pytest.mark.slow
def test_masked_steps_and_a_state_give_what_keras_gives_under_jax(run_under_jax):
    assert run_under_jax(Path(__file__).with_name("masked_program.py")).endswith("as Keras\n")
