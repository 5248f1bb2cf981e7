"""The layers with Keras on other backends than TensorFlow."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent


def run(backend, *arguments):
    """Runs Python with Keras on a backend."""
    if find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False, cwd=HERE
    )


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_plain_operations_give_what_keras_gives(backend):
    result = run(backend, HERE / "plain_program.py")
    assert result.stdout.endswith("as Keras\n"), result.stderr[-2000:]


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_keras_own_tests_pass(backend, native_library):
    pytest.importorskip("keras.src.layers.rnn.rnn_test", reason="this wheel of Keras has no tests")
    result = run(backend, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", HERE / "test_keras_own.py")
    assert result.returncode == 0, result.stdout[-3000:]
    assert int(re.search(r"(\d+) passed", result.stdout)[1]) > 90


def test_stateful_models_of_keras_train_under_torch_once_accelerated(run_under_torch):
    assert run_under_torch(HERE / "stateful_program.py").endswith("trained\n")


def test_masked_steps_and_a_state_give_what_keras_gives_under_jax(run_under_jax):
    assert run_under_jax(Path(__file__).with_name("masked_program.py")).endswith("as Keras\n")
