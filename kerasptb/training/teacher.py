"""The run that a training's model learns from, its teacher."""

import dataclasses
import hashlib

import keras

from kerasptb.arguments import TrainingArguments
from kerasptb.data import Tokenizer
from kerasptb.models import LanguageModel
from kerasptb.run import Run, load_run
from kerasptb.runs.damage import RunError
from kerasptb.utils.types import Folder


def open_teacher(folder: Folder) -> Run:
    """Returns the `Run` of a teacher; raises a `RunError` if it is none, or has no weights."""
    try:
        run = load_run(folder)
    except RunError as error:
        raise RunError(f"A teacher is a run with weights. {error}") from None
    if not run.weights_path("best").exists():
        raise RunError(f"A teacher is a run with weights. Received: {folder}, where no epoch has ended yet")
    return run


def with_teacher(training: TrainingArguments, vocabulary: Tokenizer, workers: int = 1) -> TrainingArguments:
    """Returns the settings of a training with the digest of its teacher's weights, which stays what is recorded."""
    if training.teacher is None:
        return training
    if workers > 1 or (backend := keras.backend.backend()) != "tensorflow":
        received = f"{workers} workers" if workers > 1 else f"KERAS_BACKEND={backend}"
        raise ValueError(f"A teacher needs KERAS_BACKEND=tensorflow, and one worker. Received: {received}")
    run = open_teacher(training.teacher)
    with run.weights_path("best").open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != (training.teacher_digest or digest):
        raise RunError(f"The teacher of a resumed training has the weights it had. Received: {run.folder}, with others")
    if run.vocabulary.digest != vocabulary.digest:
        raise RunError(
            "A teacher reads the same tokens as the model that learns from it. Received: "
            f"{run.folder}, with other {run.vocabulary.kind} than this text's {vocabulary.kind}"
        )
    return dataclasses.replace(training, teacher_digest=digest)


def load_teacher(training: TrainingArguments, model: LanguageModel) -> LanguageModel | None:
    """Returns the trained `LanguageModel` of a training's teacher, to run on what `model` does; `None` without one."""
    if training.teacher is None:
        return None
    return load_run(training.teacher).load_model(backend=model.backend, precision=model.precision)
