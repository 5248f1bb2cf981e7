"""`LanguageModel` on PyTorch, in a process that has no TensorFlow, against the same on TensorFlow."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest

import kerasptb

pytestmark = pytest.mark.slow

PROGRAM = Path(__file__).with_name("training_program.py")


def test_trains_as_with_tensorflow(run_under_torch, tmp_path):
    with_torch = json.loads(run_under_torch(PROGRAM, tmp_path / "model.weights.h5").splitlines()[-1])
    with_tensorflow, _ = runpy.run_path(str(PROGRAM))["measure"]()
    assert with_torch.keys() == with_tensorflow.keys()
    for training, expected in with_tensorflow.items():
        assert with_torch[training].keys() == expected.keys()
        for name, values in expected.items():
            found = with_torch[training][name]
            np.testing.assert_allclose(found, values, rtol=1e-5, atol=1e-6, err_msg=f"{training}: {name}")


def test_a_run_is_trained_and_resumed_and_opens_with_tensorflow(run_under_torch, tmp_path):
    program = PROGRAM.with_name("run_program.py")
    assert run_under_torch(program, tmp_path).split()[-1] == "trained"
    run = kerasptb.load_run(tmp_path / "whole")
    ids = runpy.run_path(str(program))["IDS"][570:]
    found = kerasptb.models.evaluate_perplexity(run.model, ids, 1, 5, every_word=True)
    np.testing.assert_allclose(found, run.metrics["test_perplexity_every_word"], rtol=1e-5)


def test_what_it_does_as_a_layer_of_pytorch_and_what_it_refuses(run_under_torch):
    assert run_under_torch(PROGRAM.with_name("torch_program.py")).split("\n")[-2] == "as expected"
