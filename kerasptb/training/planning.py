"""A training before its first step: planned once, from what is asked for and a text that is opened once."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import os
import platform
import random
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

import kerasptb
from kerasptb.arguments import BatchArguments, ModelArguments, TrainingArguments, with_changes
from kerasptb.data import Corpus, DataError
from kerasptb.data.corpus import open_text, read_corpus
from kerasptb.data.streams import count_batches
from kerasptb.models import LanguageModel
from kerasptb.ops import platform as platforms
from kerasptb.ops.plan import default_precision
from kerasptb.optimizers import decay_of, rate_of
from kerasptb.presets import Facts, Recipe, get_preset
from kerasptb.run import Run, load_run
from kerasptb.runs.damage import RunError
from kerasptb.runs.files import METRICS
from kerasptb.runs.folder import check_free
from kerasptb.runs.request import Request
from kerasptb.runs.settings import CONFIG, NO_START, RunSettings, check_divides
from kerasptb.runs.text import TextRecord
from kerasptb.trainers import peers
from kerasptb.training.budget import fit_training
from kerasptb.training.start import Start, choose_start
from kerasptb.training.teacher import with_teacher
from kerasptb.utils.files import new_folder, write_json

# What a model that takes a run's weights does not take of it: they are the text's, the machine's, or drawn.
_NOT_INHERITED = ("vocabulary_size", "seed", "backend", "precision", "dtype", "name")


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
    request: Request,
    out: str | os.PathLike[str] | None,
    resume: bool,
    begin: float,
    callbacks: Sequence[keras.callbacks.Callback],
) -> tuple[Run, Plan]:
    """Returns the `Run` of a training, begun or resumed, and its `Plan`; what cannot be trained gets no folder."""
    opened, workers = [], peers.count()

    def by_first() -> str:
        opened.append(_resumed(request, out, workers) if resume else _begun(request, out, workers, begin, callbacks))
        return str(opened[0][0].folder)

    folder = peers.by_first(by_first)  # which plans, and the others open what it has written
    return opened[0] if workers == 1 else _resumed(Request(request.data), folder, workers)


def _begun(
    request: Request,
    out: str | os.PathLike[str] | None,
    workers: int,
    begin: float,
    callbacks: Sequence[keras.callbacks.Callback],
) -> tuple[Run, Plan]:
    """Makes the run folder of a new training."""
    if out is not None:
        check_free(out)  # before a text is read
    plan, made = plan_training(request, workers, begin, callbacks), None
    if out is None:
        name = f"{plan.settings.training.preset}-{datetime.datetime.now():%Y%m%d-%H%M%S}"
        out, made = new_folder(Path("runs") / name), True
    return Run.create(out, plan.settings, plan.corpus.vocabulary, made), plan


def _resumed(request: Request, folder: str | os.PathLike[str] | None, workers: int) -> tuple[Run, Plan]:
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


def plan_training(
    request: Request, workers: int, begin: float, callbacks: Sequence[keras.callbacks.Callback] = ()
) -> Plan:
    """Returns the `Plan` of a new training, which was asked for at the time `begin` of `time.monotonic`."""
    draft = draft_training(request, workers)
    settings, _ = draft.with_recipe(draft.facts)
    training = with_teacher(settings.training, draft.corpus.vocabulary, workers)
    check_divides(settings.model.batch_size, workers)
    # Before a model with a state of so many rows, or a folder, is made.
    check_texts(draft.corpus, settings.model.batch_size, settings.model.num_steps)
    if training.minutes is not None and workers > 1:
        raise ValueError("Expected epochs: what they take is timed in one process. Received: minutes with workers")
    deadline = None if training.minutes is None else begin + 60 * training.minutes
    left = None if deadline is None else lambda: deadline - time.monotonic()
    settings, recipe = fit_training(draft.corpus, draft.with_recipe, draft.facts, left, callbacks)
    model = LanguageModel(**settings.model.as_dict())
    settings = dataclasses.replace(
        settings,
        model=ModelArguments(**model.get_config()),  # with the name of its dtype policy
        training=dataclasses.replace(settings.training, teacher_digest=training.teacher_digest),
    )
    return Plan(settings, recipe, draft.corpus, model, draft.start.source, deadline)


def draft_training(request: Request, workers: int) -> Draft:
    """Returns the `Draft` of a new training, or search, whose text is opened and read."""
    text = open_text("auto" if request.data is None else request.data, request.format)
    start = choose_start(text, request)
    corpus = read_corpus(text, start.format)
    kind, reasons, minutes = corpus.vocabulary.kind, {}, request.training.get("minutes")
    if not isinstance(text, Corpus) and not start.format.says_tokens:
        reasons["tokens"] = f"<unk> is {'often' if kind == 'words' else 'seldom or never'} in the text"
    if start.preset is None:
        reasons["preset"] = f"the text is read in {kind}" if minutes is None else "it fills the minutes"
    words = len(corpus.vocabulary)
    if (size := request.model.get("vocabulary_size", words)) != words:
        raise DataError(f"Expected a model of the text's {words} {kind}. Received: vocabulary_size={size}")
    # The recipe of the tutorial counts epochs, not minutes.
    usual = "auto" if corpus.vocabulary.spells or minutes is not None else "notebook"
    return Draft(
        request=request,
        start=start,
        corpus=corpus,
        preset=start.preset or usual,
        workers=workers,
        seed=random.randrange(2**31),
        reasons={**reasons, **start.reasons},
    )


@dataclasses.dataclass(frozen=True)
class Draft:
    """A training of which only what the recipe says is open."""

    request: Request
    start: Start
    corpus: Corpus
    preset: str
    workers: int
    seed: int
    reasons: dict[str, str]

    @property
    def facts(self) -> Facts:
        """What the recipe may go by before anything is timed."""
        model = self.request.model
        dtype = keras.dtype_policies.get(model.get("dtype"))
        is_native = model.get("backend", "auto") in ("auto", "native") and dtype.name == "float32"
        return Facts(
            num_tokens=len(self.corpus.train),
            given={**_inherited(self.start.source), **model},
            started=self.start.source is not None,
            taught="teacher" in self.request.training,
            bfloat16=is_native and platforms.why_not_native("bfloat16") is None,
        )

    def with_recipe(self, facts: Facts) -> tuple[RunSettings, Recipe]:
        """Returns the settings of the training, the recipe's with what is asked for in their place, and the recipe."""
        recipe = get_preset(self.preset, facts)
        model, training = self._model(recipe), self._training(recipe)
        of_recipe = self._of_recipe(recipe, training.optimizer)
        settings = RunSettings(
            model=model,
            batches=BatchArguments(**{**recipe.batches, **self.request.batches}),
            training=training,
            recipe=of_recipe,
            data=TextRecord.of(self.corpus),
            versions=_versions(),
            reasons=self._reasons(recipe, {**model.as_dict(), **of_recipe}),
        )
        return settings, recipe

    def _model(self, recipe: Recipe) -> ModelArguments:
        model = _model_of(recipe, self.start.source, self.request)
        if model.get("seed") is None:  # a settings file may hold `null` for it, as for the precision
            model["seed"] = self.seed
        if model.get("precision") is None:
            # A run records its precision, so that it does not depend on the dtype policy of a later process.
            policy = keras.dtype_policies.get(model.get("dtype"))
            model["precision"] = recipe.precision or default_precision(model.get("backend", "auto"), policy)
        return ModelArguments(**{**model, "vocabulary_size": len(self.corpus.vocabulary)})

    def _training(self, recipe: Recipe) -> TrainingArguments:
        named = {**self.request.training, "preset": self.preset, "start_from": self.start.name}
        # Several processes are not timed.
        minutes = recipe.minutes if "epochs" not in named and self.workers == 1 else None
        return TrainingArguments(**{"epochs": recipe.epochs, "minutes": minutes, **named})

    def _of_recipe(self, recipe: Recipe, optimizer: str | None) -> dict[str, Any]:
        """Returns the settings of the recipe's own training."""
        settings, named = recipe.training_arguments(), self.request.recipe
        if optimizer is not None:
            settings.pop("beta_1", None)  # the other has its own
            settings["learning_rate"] = rate_of(optimizer)
            if "weight_decay" in settings or decay_of(optimizer):
                settings["weight_decay"] = decay_of(optimizer)
        if unknown := sorted(set(named) - set(settings)):
            raise ValueError(f"Expected training arguments among {sorted(settings)}. Received: {unknown}")
        return {**settings, **named}

    def _reasons(self, recipe: Recipe, settings: dict[str, Any]) -> dict[str, str]:
        """Returns the reasons of what was chosen, and neither named nor replaced."""
        of_recipe = {**recipe.model, **recipe.fitted, **recipe.settings, "precision": recipe.precision}
        kept = {name: reason for name, reason in recipe.reasons.items() if settings[name] == of_recipe[name]}
        reasons = {**self.reasons, **kept}
        return {name: reason for name, reason in reasons.items() if name not in self.request.named}


def _inherited(source: Run | None) -> dict[str, Any]:
    """Returns what a model takes of the settings of the run that it begins with."""
    arguments = {} if source is None else source.settings.model.as_dict()
    return {name: value for name, value in arguments.items() if name not in _NOT_INHERITED}


def _model_of(recipe: Recipe, source: Run | None, request: Request) -> dict[str, Any]:
    """Returns the arguments of a model: the recipe's, those of what it begins with, and what is asked for."""
    return with_changes({**with_changes(recipe.model, _inherited(source)), **recipe.fitted}, request.model)


def known_batch_size(request: Request) -> int | None:
    """Returns the rows of a batch of a new training before its text is opened; `None` if they go by the text."""
    if "batch_size" in request.model:
        return request.model["batch_size"]
    name, preset = (request.training.get(each) for each in ("start_from", "preset"))
    source = None if name in (None, NO_START) else load_run(name)
    if preset is None and source is not None:
        preset = source.settings.training.preset
    if preset is None or "batch_size" in (recipe := get_preset(preset)).fitted:
        return None
    return _model_of(recipe, source, request)["batch_size"]


def check_texts(corpus: Corpus, batch_size: int, num_steps: int) -> None:
    """Raises a `DataError` if a text is too short for a batch, or for an evaluation; the message names it."""
    for name, text in (("training", corpus.train), ("validation", corpus.valid)):
        try:
            count_batches(len(text), batch_size, num_steps)
        except DataError as error:
            raise DataError(str(error).replace("The text", f"The {name} text", 1)) from None
    if len(corpus.test) < 2:
        raise DataError(f"Expected a test text of at least two words. Received: {len(corpus.test)}")


def record_resumption(
    run: Run, corpus: Corpus, asked: Mapping[str, Any], done: int, report: Callable[[str], object]
) -> Run:
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


def report_differences(run: Run, report: Callable[[str], object]) -> None:
    """Says what has changed since the run began, and with it the last bits of what is computed."""
    now = _versions()
    other = {name: value for name, value in run.settings.versions.items() if now.get(name) != value}
    if changes := [f"{name} {value} (now {now.get(name, 'none')})" for name, value in other.items()]:
        report(f"The run began with {'; '.join(changes)}. Its last bits may be others than without an interruption.")


def _versions() -> dict[str, str]:
    return {
        "kerasptb": kerasptb.__version__,
        "python": platform.python_version(),
        keras.backend.backend(): importlib.metadata.version(keras.backend.backend()),
        "keras": keras.__version__,
        "numpy": np.__version__,
        "processors": platforms.processors(),
    }
