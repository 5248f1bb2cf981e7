"""A trained run to hand on: what is needed to use it, in a quarter of the bytes."""

import dataclasses
import os
import shutil
from pathlib import Path

from kerasptb.export.destination import atomic_folder
from kerasptb.export.source import run_of
from kerasptb.runs import Run
from kerasptb.runs.files import METRICS, QUANTIZED, WORDS
from kerasptb.runs.quantized import save_quantized
from kerasptb.runs.settings import CONFIG
from kerasptb.training.teacher import NO_TEACHER
from kerasptb.utils.files import write_json


def export_run(run: Run | str | os.PathLike[str], folder: str | os.PathLike[str]) -> Path:
    """Writes a run folder of the best weights in 8 bits, with the settings, the results and the tokenizer.

    It serves where the run does, on any machine, but for what needs its text or its checkpoint: `train --resume`, and
    evaluations that adapt. Nothing in it tells where the text or the run lay.

    Args:
        run: a `Run`, or the path of its folder.
        folder: the folder to write; new or empty.

    Returns:
        The folder, a `Path`.

    Raises:
        ExportError: if it is no run that is given, or the folder is taken.
        RunError: if the run has no weights yet.
        OSError: if a file cannot be written.
    """
    run = run_of(run)
    model = run.load_model(backend="keras", precision="float32")
    settings = dataclasses.replace(
        run.settings,
        model=dataclasses.replace(run.settings.model, backend="auto", precision="float32"),
        training=dataclasses.replace(run.settings.training, start_from=None, **NO_TEACHER),
        # Whoever gets it reads texts of their own, whose lines are not those of its text.
        data=dataclasses.replace(
            run.settings.data, location=None, source=run.settings.data.name, keep_lines=None, wrapped=None
        ),
    )
    with atomic_folder(folder) as temporary:
        save_quantized(model, temporary / QUANTIZED)
        run.vocabulary.save(temporary / run.vocabulary.FILE)
        if (run.folder / WORDS).exists():
            shutil.copyfile(run.folder / WORDS, temporary / WORDS)
        if run.metrics:  # without those of the counts, which stay behind
            metrics = {name: value for name, value in run.metrics.items() if "with_counts" not in name}
            write_json(temporary / METRICS, metrics)
        write_json(temporary / CONFIG, settings.to_config())
    return Path(folder)
