"""The files of a run folder: everything that a training writes.

    RUN/
      config.json          the model's, the training's and the data's settings
      vocabulary.txt       one word a line, in the order of the ids; or
      tokenizer.json       the subwords or characters
      best.weights.h5      the weights of the epoch with the lowest validation perplexity
      best.copy.weights.h5 the same again: no training comes by them twice
      last.weights.h5      the weights of the last whole epoch
      weights.int8.npz     the best weights in 8 bits, in place of all these, if `kerasptb export --format run` wrote it
      words.txt            the words that the training text has more than once, the most frequent first
      counts.npy           the training text, the order of its positions, and how much its counts weigh
      resume.npz           the latest checkpoint: all that the training depends on
      resume.before.npz    the checkpoint before
      history.csv          a row for each epoch
      metrics.json         the results
      curves.png           both perplexities and the learning rate over the epochs
      explain.txt          what ran, and why nothing faster did, of the latest start
      adaptation.json      settings of evaluations that adapt, and the weights that they were tuned for
      logs/                for TensorBoard

Files are written under a temporary name and then renamed, so that none is ever incomplete.
"""

from __future__ import annotations

import contextlib
import csv
import os
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kerasptb.runs.damage import RunError
from kerasptb.runs.settings import CONFIG
from kerasptb.utils.files import HeldFolder, atomic_write, lock_folder

VOCABULARIES = ("vocabulary.txt", "tokenizer.json")
METRICS = "metrics.json"
HISTORY = "history.csv"
CURVES = "curves.png"
RESUME = "resume.npz"
RESUME_BEFORE = "resume.before.npz"
LOGS = "logs"
EXPLANATION = "explain.txt"
ADAPTATION = "adaptation.json"
BEST_COPY = "best.copy.weights.h5"
QUANTIZED = "weights.int8.npz"
COUNTS = "counts.npy"
WORDS = "words.txt"
ENGLISH = "english"
IN_THE_PACKAGE = Path(__file__).with_name(ENGLISH)

_FILES = {
    CONFIG,
    *VOCABULARIES,
    METRICS,
    HISTORY,
    CURVES,
    RESUME,
    RESUME_BEFORE,
    EXPLANATION,
    ADAPTATION,
    COUNTS,
    WORDS,
    "best.weights.h5",
    BEST_COPY,
    "last.weights.h5",
}


def remove(folder: str | os.PathLike[str], itself: bool = True) -> None:
    """Removes the files of a run from its folder, and nothing else that is there.

    The folder goes too, if `itself`, and if nothing is left in it, unless it is a link or the working directory.
    """
    folder = Path(folder)
    for name in _FILES:
        (folder / name).unlink(missing_ok=True)
    for file in (folder / LOGS).rglob("events.out.tfevents.*"):
        file.unlink(missing_ok=True)
    for empty in (*(folder / LOGS).glob("*/"), folder / LOGS, *([folder] if itself else [])):
        with contextlib.suppress(OSError):
            empty.rmdir()


@contextlib.contextmanager
def lock_run(folder: str | os.PathLike[str]) -> Iterator[HeldFolder]:
    """Locks a run folder while the body runs, and yields the `HeldFolder`; raises a `RunError` if it is in use.

    It first removes unfinished files of killed trainings.
    """
    folder = Path(folder)
    busy = RunError(f"Another training is at work in {folder}. Wait for its end, or name another --out.")
    with lock_folder(folder, busy) as held:
        for leftover in folder.glob(".*"):
            # `atomic_write` names its folders this way; only those for files of a run are removed.
            if leftover.is_dir() and leftover.name[1:].rpartition(".")[0] in _FILES:
                shutil.rmtree(leftover, ignore_errors=True)
        yield held


def resume_command(folder: str | os.PathLike[str]) -> str:
    """Returns the command that goes on with a training."""
    return f"kerasptb train --resume --out {shlex.quote(str(folder))}"


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes rows, such as those of `Run.history`, as a complete CSV file; a value may be in some of them only."""
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        writer.writerows(rows)
