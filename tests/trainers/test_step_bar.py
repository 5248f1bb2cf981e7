import numpy as np
import pytest

from kerasptb.models import LanguageModel

V, B, T = 23, 4, 5
X = np.random.default_rng(0).integers(0, V, (3 * B, T)).astype("int32")


@pytest.fixture(scope="module")
def model():
    model = LanguageModel(V, 6, 7, B, T, backend="reference", seed=1)
    model.compile(steps_per_execution=4, jit_compile=False)
    return model


@pytest.mark.parametrize("method", ["fit", "evaluate", "predict"])
def test_no_step_past_the_last_is_counted(no_steps, model, capsys, method):
    getattr(model, method)(X, *([] if method == "predict" else [X]), batch_size=B, verbose=1)
    shown = capsys.readouterr().out
    assert "3/3" in shown
    assert "4/3" not in shown
