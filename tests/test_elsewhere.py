"""Systems without what Linux has: locks of files, forks, links, limits, and a native library."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

# As on Windows, whose Python has none of these.
WITHOUT = """
import os, signal, sys
sys.modules |= dict.fromkeys(("fcntl", "resource"))
for name in ("fork", "getuid", "sched_getaffinity", "symlink"):
    delattr(os, name)
del signal.SIGHUP
import kerasptb
"""


def printed(code, *arguments, **environment):
    command = [sys.executable, "-c", WITHOUT + code, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    return result.stdout.strip().splitlines()[-1]


def test_english_suggests(native_library):
    assert printed("print(kerasptb.load_run('english').suggest('I would like', 1)[0].word)") == "to"


def test_the_engine_runs_in_numpy_without_a_library(tmp_path):
    code = """
reader = kerasptb.load_reader("english")
print([round(kerasptb.evaluation.score_sentences(reader, [text]).__next__().log10_probability, 1)
       for text in ("She has never been there.", "She have never been there.")])
"""
    right, wrong = json.loads(printed(code, KERASPTB_CACHE=str(tmp_path)))
    assert -15 < wrong < right < -5


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize("library", [False, True], ids=["without the library", "with it"])
def test_a_model_trains_and_a_run_is_written(tmp_path, library, native_library):
    code = """
from kerasptb.cli import main
main(["train", "--data", "sample", "--preset", "sample", "--epochs", "1", "--out", sys.argv[1]])
model = kerasptb.load_run(sys.argv[1]).load_model()
batches = kerasptb.make_dataset(kerasptb.load_corpus("sample").train, model.batch_size, model.num_steps)
print(model.fit(batches, steps_per_epoch=5, verbose=0).history["perplexity"][0])
"""
    environment = {} if library else {"KERASPTB_CACHE": str(tmp_path / "cache")}
    assert 1 < float(printed(code, tmp_path / "run", **environment)) < 500
    assert {"config.json", "best.weights.h5", "resume.npz"} <= {path.name for path in Path(tmp_path, "run").iterdir()}


def test_the_library_says_where_it_is_compiled():
    code = """
from kerasptb.native import build
try:
    build.build(force=True)
except build.NativeBuildError as error:
    print(error)
"""
    assert printed(code) == "The native library is for Linux and macOS."
