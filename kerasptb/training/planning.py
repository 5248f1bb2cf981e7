"""A training before its first step: planned once, from what is asked for and a text that is opened once."""

from __future__ import annotations

import dataclasses
import datetime
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kerasptb.arguments import ModelArguments
from kerasptb.data import Corpus
from kerasptb.models import LanguageModel
from kerasptb.presets import Recipe, get_preset
from kerasptb.run import Run
from kerasptb.runs.damage import RunError
from kerasptb.runs.files import METRICS
from kerasptb.runs.folder import check_free
from kerasptb.runs.request import Request
from kerasptb.runs.settings import CONFIG, RunSettings, check_divides
from kerasptb.trainers import peers
from kerasptb.training.budget import fit_training
from kerasptb.training.draft import draft_training, versions
from kerasptb.training.fitting import Callbacks
from kerasptb.training.teacher import with_teacher
from kerasptb.utils.files import new_folder, write_json
from kerasptb.utils.types import Folder, Report


@dataclasses.dataclass(frozen=True)
class Plan:
    """A training that may begin, or go on."""

    settings: RunSettings  # all that is recorded
    recipe: Recipe  # which trains by these settings
    corpus: Corpus
    model: LanguageModel  # with weights as at the beginning
    source: Run | None = None  # whose weights it begins with, if it has been opened
    deadline: float | None = None  # when its minutes end, in seconds of `time.monotonic`; None if it goes on


def open_run(
    request: Request, out: Folder | None, resume: bool, begin: float, callbacks: Callbacks
) -> tuple[Run, Plan]:
    """Returns the `Run` of a training, begun or resumed, and its `Plan`; what cannot be trained gets no folder."""
    opened, workers = [], peers.count()

    def by_first() -> str:
        opened.append(_resumed(request, out, workers) if resume else _begun(request, out, workers, begin, callbacks))
        return str(opened[0][0].folder)

    folder = peers.by_first(by_first)  # which plans, and the others open what it has written
    return opened[0] if workers == 1 else _resumed(Request(request.data), folder, workers)


def _begun(request: Request, out: Folder | None, workers: int, begin: float, callbacks: Callbacks) -> tuple[Run, Plan]:
    """Makes the run folder of a new training."""
    if out is not None:
        check_free(out)  # before a text is read
    plan, made = plan_training(request, workers, begin, callbacks), None
    if out is None:
        name = f"{plan.settings.training.preset}-{datetime.datetime.now():%Y%m%d-%H%M%S}"
        out, made = new_folder(Path("runs") / name), True
    return Run.create(out, plan.settings, plan.corpus.vocabulary, made), plan


def _resumed(request: Request, folder: Folder | None, workers: int) -> tuple[Run, Plan]:
    """Opens a run folder; raises if what is asked for contradicts the run."""
    run = Run.open_resumed(folder)
    settings, text = run.settings, run.settings.data
    check_divides(settings.model.batch_size, workers)
    try:
        settings.check_asked(request, run.vocabulary)
    except ValueError as error:
        raise RunError(f"A resumed run keeps its settings: {run.folder} has {error}") from None
    corpus = request.data if isinstance(request.data, Corpus) else run.load_corpus(request.data)
    if corpus.digest != text.digest:
        raise RunError(
            f"A resumed run keeps its text: {run.folder} was trained on {text.source}. "
            f"Received: {corpus.source}, another text or vocabulary"
            f"{' (each version of Python has a sample of its own)' if text.name == corpus.name == 'sample' else ''}"
        )
    with_teacher(settings.training, run.vocabulary, workers)
    model = LanguageModel(**settings.model.as_dict())
    return run, Plan(settings, get_preset(settings.training.preset), corpus, model)


def plan_training(request: Request, workers: int, begin: float, callbacks: Callbacks = ()) -> Plan:
    """Returns the `Plan` of a new training, which was asked for at the time `begin` of `time.monotonic`."""
    draft = draft_training(request, workers)
    settings, _ = draft.with_recipe(draft.facts)
    training = with_teacher(settings.training, draft.corpus.vocabulary, workers)
    check_divides(settings.model.batch_size, workers)
    # Before a model with a state of so many rows, or a folder, is made.
    draft.check_texts()
    if training.minutes is not None and workers > 1:
        raise ValueError("Expected epochs: what they take is timed in one process. Received: minutes with workers")
    deadline = None if training.minutes is None else begin + 60 * training.minutes
    left = None if deadline is None else lambda: deadline - time.monotonic()
    settings, recipe = fit_training(draft, left, callbacks)
    model = LanguageModel(**settings.model.as_dict())
    settings = dataclasses.replace(
        settings,
        model=ModelArguments(**model.get_config()),  # with the name of its dtype policy
        training=dataclasses.replace(settings.training, teacher_digest=training.teacher_digest),
    )
    return Plan(settings, recipe, draft.corpus, model, draft.start.source, deadline)


def record_resumption(run: Run, corpus: Corpus, asked: Mapping[str, Any], done: int, report: Report) -> Run:
    """Writes what a resumed training changes of a run, of what is asked and the place of its text; returns the run.

    These are its number of epochs, which it has no minutes for then, and its counts.
    """
    settings, changes = run.settings, {"counts": asked["counts"]} if "counts" in asked else {}
    if (epochs := asked.get("epochs")) is not None:
        if epochs < done:
            report(f"{done} epochs are done already, and `epochs` counts all of them: none is left to train.")
        changes |= {"epochs": max(epochs, done), "minutes": None}
    reasons = {name: reason for name, reason in settings.reasons.items() if name not in changes}
    settings = dataclasses.replace(
        settings, training=dataclasses.replace(settings.training, **changes), reasons=reasons
    )
    if corpus.location is not None:  # the text may have moved
        settings = dataclasses.replace(settings, data=dataclasses.replace(settings.data, location=corpus.location))

    def write() -> None:
        write_json(run.folder / CONFIG, settings.to_config())
        (run.folder / METRICS).unlink(missing_ok=True)  # the results of fewer epochs

    peers.by_first(write)
    return dataclasses.replace(run, settings=settings)


def report_differences(run: Run, report: Report) -> None:
    """Says what has changed since the run began, and with it the last bits of what is computed."""
    now = versions()
    other = {name: value for name, value in run.settings.versions.items() if now.get(name) != value}
    if changes := [f"{name} {value} (now {now.get(name, 'none')})" for name, value in other.items()]:
        report(f"The run began with {'; '.join(changes)}. Its last bits may be others than without an interruption.")
