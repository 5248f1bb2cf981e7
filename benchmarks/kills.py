"""Kills trainings at random moments, lets them go on, and compares what they end with with one that was left alone.

    python -m benchmarks.kills [--data ptb] [--preset notebook] [--epochs 2] [--precision bfloat16] [--kills 10]

Prints how many trainings were killed in which phase, and whether the last checkpoint and the history are the same to
the bit. The command ends with status 1 if they are not.
"""

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

PROGRAM = [sys.executable, "-m", "kerasptb"]


def train(out, arguments, seconds=None):
    """Trains into a folder, or goes on; returns the exit status, None if it was killed after so many seconds."""
    begun = (out / "config.json").exists()
    command = [*PROGRAM, "train", *(["--resume"] if begun else arguments), "--out", str(out)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            complaints = process.communicate(timeout=seconds)[1]
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            return None
    if process.returncode:
        raise SystemExit(f"the training failed with status {process.returncode}: {complaints}")
    return process.returncode


def contents(run):
    """Returns the arrays of a run's last checkpoint, and its results by epoch without what depends on the clock."""
    with np.load(run / "resume.npz") as saved:
        arrays = {name: saved[name] for name in saved.files if name not in ("history", "place")}
    from kerasptb.run import load_run  # noqa: PLC0415

    rows = [{name: row[name] for name in row if name != "words_per_second"} for row in load_run(run).history]
    return arrays, rows


def main(arguments=None):
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", default="ptb")
    parser.add_argument("--preset", default="notebook")
    parser.add_argument("--epochs", default="2")
    parser.add_argument("--precision", default="bfloat16")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1, help="of the moments")
    options = parser.parse_args(arguments)
    names = ("data", "preset", "epochs", "precision")
    own = [text for name in names for text in (f"--{name}", getattr(options, name))]
    own += ["--seed", "1", "--checkpoint-minutes", "0.02"]
    draw = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        whole, parts = Path(folder, "whole"), Path(folder, "parts")
        begin = time.monotonic()
        train(whole, own)
        duration = time.monotonic() - begin
        kills = 0
        # Each start needs some seconds until it trains; a training that is killed too soon each time would never end.
        while kills < options.kills and train(parts, own, draw.uniform(1, max(duration / 2, 12))) is None:
            kills += 1
        train(parts, own)
        (arrays, rows), (expected, expected_rows) = contents(parts), contents(whole)
        same = rows == expected_rows and arrays.keys() == expected.keys()
        same = same and all(np.array_equal(arrays[name], expected[name]) for name in arrays)
    print(f"{kills} kills of a training of {duration:.0f} s: the results are {'the same' if same else 'NOT the same'}.")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
