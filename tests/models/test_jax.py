"""`LanguageModel` on JAX, in a process that has no TensorFlow, against the same on TensorFlow."""

import json
import os
import runpy
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from kerasptb.utils import children

pytestmark = pytest.mark.slow

PROGRAM = Path(__file__).with_name("training_program.py")


def test_trains_as_with_tensorflow(run_under_jax, tmp_path):
    with_jax = json.loads(run_under_jax(PROGRAM, tmp_path / "model.weights.h5").splitlines()[-1])
    with_tensorflow, _ = runpy.run_path(str(PROGRAM))["measure"]()
    assert with_jax.keys() == with_tensorflow.keys()
    for training, expected in with_tensorflow.items():
        assert with_jax[training].keys() == expected.keys()
        for name, values in expected.items():
            np.testing.assert_allclose(
                with_jax[training][name], values, rtol=1e-5, atol=1e-6, err_msg=f"{training}: {name}"
            )
    # Five batches an epoch: the first five losses are steps from equal weights.
    np.testing.assert_allclose(with_jax["clipped"]["losses"][:5], with_tensorflow["clipped"]["losses"][:5], rtol=1e-5)


def test_a_run_is_trained_and_resumed(run_under_jax, tmp_path):
    assert run_under_jax(PROGRAM.with_name("run_program.py"), tmp_path).split()[-1] == "trained"


def test_two_replicas_train_as_one_device(run_under_jax, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=2", prepend=" ")
    assert run_under_jax(PROGRAM.with_name("replicas_program.py")).split("\n")[-2] == "as on one device"


def test_two_processes_train_as_one(native_library, tmp_path):
    if find_spec("jax") is None:
        pytest.skip("JAX is not installed")
    alone, *together = _processes(1, tmp_path)[0], *_processes(2, tmp_path)
    assert "give them a `make_dataset` or a `keras.utils.PyDataset`" in together[0].pop("refused")
    assert alone.pop("refused") == ""
    together[1].pop("refused")
    whole = [[6, 16], [6, 16], [6, 12], [6, 12]]
    assert alone.pop("told") == [{"process": 0}, [[0, 2]], True, "ValueError: no more", True, [[0, 3], [0, 3]], whole]
    gathered, agreed = [[0, 2], [1, 2]], [[1, 3], [1, 3]]
    assert together[0].pop("told") == [{"process": 0}, gathered, True, "ValueError: no more", True, agreed, whole]
    assert together[1].pop("told") == [{"process": 0}, gathered, False, "SystemExit: 1", True, agreed, whole]
    assert together[0] == together[1]  # to the bit
    for name, expected in alone.items():
        np.testing.assert_allclose(together[0][name], expected, rtol=1e-5, atol=1e-6, err_msg=name)


def _processes(count, folder):
    """What each of several processes says, which train together on this machine."""
    program = [sys.executable, PROGRAM.with_name("processes_program.py"), folder]
    started = [
        subprocess.Popen(
            program, env={**os.environ, **variables}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for variables in children.roles(count, threads=1)
    ]
    said = [process.communicate(timeout=200) for process in started]
    assert [process.returncode for process in started] == [0] * count, said
    return [json.loads(output.splitlines()[-1]) for output, _ in said]
