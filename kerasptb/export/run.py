"""A trained run to hand on: what is needed to use it, in a quarter of the bytes."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

from kerasptb.engine.files import write_in_8_bits
from kerasptb.export.destination import atomic_folder
from kerasptb.export.source import AnyRun, run_of
from kerasptb.runs.files import ENGLISH, METRICS, QUANTIZED, WORDS
from kerasptb.runs.settings import CONFIG
from kerasptb.utils.files import write_json
from kerasptb.utils.types import StrPath

# The settings of a training without a teacher.
_NO_TEACHER: dict[str, Any] = {"teacher": None, "teacher_weight": None, "teacher_digest": None}


def export_run(run: AnyRun, folder: StrPath) -> Path:
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
    network = run.using(backend="reference", precision="float32").load_network()
    settings = dataclasses.replace(
        run.settings,
        model=dataclasses.replace(run.settings.model, backend="auto", precision="float32"),
        # Paths of this machine do not travel; what `english` had read, its cards are to say.
        training=dataclasses.replace(
            run.settings.training,
            start_from=ENGLISH if run.settings.training.start_from == ENGLISH else None,
            **_NO_TEACHER,
        ),
        # Whoever gets it reads texts of their own, whose lines are not those of its text.
        data=dataclasses.replace(
            run.settings.data, location=None, source=run.settings.data.name, keep_lines=None, wrapped=None
        ),
    )
    with atomic_folder(folder) as temporary:
        write_in_8_bits(temporary / QUANTIZED, run.settings.model, network)
        run.vocabulary.save(temporary / run.vocabulary.FILE)
        if (run.folder / WORDS).exists():
            shutil.copyfile(run.folder / WORDS, temporary / WORDS)
        if run.metrics:  # without those of the counts, which stay behind
            metrics = {name: value for name, value in run.metrics.items() if "with_counts" not in name}
            write_json(temporary / METRICS, metrics)
        write_json(temporary / CONFIG, settings.to_config())
    return Path(folder)
