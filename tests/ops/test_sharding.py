"""Operations whose rows replicas divide, under JAX, in a process that has no TensorFlow."""

from pathlib import Path

import pytest


@pytest.mark.slow
def test_rows_are_divided_and_nothing_changes(run_under_jax, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=2", prepend=" ")
    output = run_under_jax(Path(__file__).with_name("sharding_program.py"))
    assert output.strip().endswith("as on one device")
