import json
import re

import numpy as np
import pytest

from kerasptb.data import Vocabulary
from kerasptb.runs import RunError
from kerasptb.training.recorder import Recorder

MODEL = {"vocabulary_size": 2, "embedding_size": 3, "units": [3], "batch_size": 2, "num_steps": 2}
SOUND = {"epoch": 1, "perplexity": 3.0, "val_perplexity": 4.0, "learning_rate": 1.0, "words_per_second": 100.0}


@pytest.mark.parametrize(
    "row", [{**SOUND, "val_perplexity": float("nan")}, {**SOUND, "perplexity": 10**400}, {"epoch": 1, "loss": 2.0}]
)
def test_an_epoch_without_its_results_is_damage(tmp_path, make_run, row):
    run = make_run(tmp_path, Vocabulary(["the", "<unk>"]), MODEL)
    np.savez(tmp_path / "resume.npz", history=json.dumps([row]), place='{"batch": 0, "logs": {}}')
    with pytest.raises(RunError, match=re.escape(f"{tmp_path / 'resume.npz'} is damaged: ")):
        Recorder(run)
