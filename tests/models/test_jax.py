"""`LanguageModel` on JAX, in a process that has no TensorFlow, against the same on TensorFlow."""

import json
import runpy
from pathlib import Path

import numpy as np

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
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=2")
    assert run_under_jax(PROGRAM.with_name("replicas_program.py")).split("\n")[-2] == "as on one device"
