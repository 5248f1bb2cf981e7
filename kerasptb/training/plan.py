"""A training before its first step: planned once, from what is asked for and a text that is opened once."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import platform
import random
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np

import kerasptb
from kerasptb.arguments import BatchArguments, ModelArguments, TrainingArguments, with_changes
from kerasptb.data import Corpus, DataError
from kerasptb.data.corpus import open_text, read_corpus
from kerasptb.models import LanguageModel
from kerasptb.ops import platform as platforms
from kerasptb.optimizers import decay_of, rate_of
from kerasptb.presets import Facts, Recipe, get_preset
from kerasptb.run import Run
from kerasptb.runs.damage import RunError
from kerasptb.runs.files import METRICS
from kerasptb.runs.folder import check_free
from kerasptb.runs.request import Request
from kerasptb.runs.settings import CONFIG, RunSettings, check_divides
from kerasptb.runs.text import TextRecord
from kerasptb.trainers import peers
from kerasptb.training.budget import fit_training
from kerasptb.training.recipe import check_texts, has_bfloat16, precision_of, usual_preset
from kerasptb.training.start import Start, choose_start
from kerasptb.training.teacher import with_teacher
from kerasptb.utils.files import new_folder, write_json

# What a model that takes a run's weights does not take of it: they are the text's, the machine's, or drawn.
_NOT_INHERITED = ("vocabulary_size", "seed", "backend", "precision", "dtype", "name")


@dataclasses.dataclass(frozen=True)
class Plan:
    """A training that may begin, or go on."""

    settings: RunSettings  # all that is recorded
    corpus: Corpus
    model: LanguageModel  # with weights as at the beginning
    source: Run | None = None  # whose weights it begins with, if it has been opened
    deadline: float | None = None  # when its minutes end, in seconds of `time.monotonic`; None if it goes on


def open_run(request, out, resume, begin, callbacks):
    """Returns the `Run` of a training, begun or resumed, and its `Plan`; what cannot be trained gets no folder."""
    opened, workers = [], peers.count()

    def by_first():
        opened.extend(_resumed(request, out, workers) if resume else _begun(request, out, workers, begin, callbacks))
        return str(opened[0].folder)

    folder = peers.by_first(by_first)  # which plans, and the others open what it has written
    return opened if workers == 1 else _resumed(Request(request.data), folder, workers)


def _begun(request, out, workers, begin, callbacks):
    """Makes the run folder of a new training."""
    if out is not None:
        check_free(out)  # before a text is read
    plan, made = plan_training(request, workers, begin, callbacks), None
    if out is None:
        name = f"{plan.settings.training.preset}-{datetime.datetime.now():%Y%m%d-%H%M%S}"
        out, made = new_folder(Path("runs") / name), True
    return Run.create(out, plan.settings, plan.corpus.vocabulary, made), plan


def _resumed(request, folder, workers):
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
    return run, Plan(settings, corpus, LanguageModel(**settings.model.as_dict()))


def plan_training(request, workers, begin, callbacks=()):
    """Returns the `Plan` of a new training, which was asked for at the time `begin` of `time.monotonic`."""
    draft = draft_training(request, workers)
    facts = draft.facts
    settings = draft.settings(facts)
    training = with_teacher(settings.training, draft.corpus.vocabulary, workers)
    check_divides(settings.model.batch_size, workers)
    # Before a model with a state of so many rows, or a folder, is made.
    check_texts(draft.corpus, settings.model.batch_size, settings.model.num_steps)
    if training.minutes is not None and workers > 1:
        raise ValueError("Expected epochs: what they take is timed in one process. Received: minutes with workers")
    deadline = None if training.minutes is None else begin + 60 * training.minutes
    left = None if deadline is None else lambda: deadline - time.monotonic()
    settings = fit_training(draft.corpus, draft.settings, facts, left, callbacks)
    model = LanguageModel(**settings.model.as_dict())
    settings = dataclasses.replace(
        settings,
        model=ModelArguments(**model.get_config()),  # with the name of its dtype policy
        training=dataclasses.replace(settings.training, teacher_digest=training.teacher_digest),
    )
    return Plan(settings, draft.corpus, model, draft.start.source, deadline)


def draft_training(request, workers):
    """Returns the `Draft` of a new training, or search, whose text is opened and read."""
    text = open_text("auto" if request.data is None else request.data, request.format)
    start = choose_start(text, request)
    corpus = read_corpus(text, start.format)
    kind, reasons = corpus.vocabulary.kind, {}
    if not isinstance(text, Corpus) and not start.format.says_tokens:
        reasons["tokens"] = f"<unk> is {'often' if kind == 'words' else 'seldom or never'} in the text"
    if start.preset is None:
        reasons["preset"] = "it fills the minutes" if "minutes" in request.training else f"the text is read in {kind}"
    words = len(corpus.vocabulary)
    if (size := request.model.get("vocabulary_size", words)) != words:
        raise DataError(f"Expected a model of the text's {words} {kind}. Received: vocabulary_size={size}")
    return Draft(
        request=request,
        start=start,
        corpus=corpus,
        preset=start.preset or usual_preset(corpus, request.training.get("minutes")),
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
        return Facts(
            num_tokens=len(self.corpus.train),
            given={**self._inherited, **model},
            started=self.start.source is not None,
            taught="teacher" in self.request.training,
            bfloat16=has_bfloat16(model.get("backend", "auto"), model.get("dtype")),
        )

    def settings(self, facts: Facts) -> RunSettings:
        """Returns the settings of the training: the recipe's, with what is asked for in their place."""
        recipe = get_preset(self.preset, facts)
        model, training = self._model(recipe), self._training(recipe)
        of_recipe = self._of_recipe(recipe, training.optimizer)
        return RunSettings(
            model=model,
            batches=BatchArguments(**{**recipe.batches, **self.request.batches}),
            training=training,
            recipe=of_recipe,
            data=TextRecord.of(self.corpus),
            versions=_versions(),
            reasons=self._reasons(recipe, {**model.as_dict(), **of_recipe}),
        )

    @property
    def _inherited(self) -> dict[str, Any]:
        """What the model takes of the settings of the run that it begins with."""
        arguments = {} if self.start.source is None else self.start.source.settings.model.as_dict()
        return {name: value for name, value in arguments.items() if name not in _NOT_INHERITED}

    def _model(self, recipe: Recipe) -> ModelArguments:
        model = with_changes({**with_changes(recipe.model, self._inherited), **recipe.fitted}, self.request.model)
        # A run records its precision, so that it does not depend on the dtype policy of a later process.
        precision = precision_of(recipe, model.get("backend", "auto"), model.get("dtype"))
        chosen = {"seed": self.seed, "precision": precision}  # a settings file may hold `null` for them
        chosen = {name: value for name, value in chosen.items() if model.get(name) is None}
        return ModelArguments(**{**model, **chosen, "vocabulary_size": len(self.corpus.vocabulary)})

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


def record_resumption(run, corpus, asked, done, report):
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

    def write():
        write_json(run.folder / CONFIG, settings.to_config())
        (run.folder / METRICS).unlink(missing_ok=True)  # the results of fewer epochs

    peers.by_first(write)
    return dataclasses.replace(run, settings=settings)


def report_differences(run, report):
    """Says what has changed since the run began, and with it the last bits of what is computed."""
    now = _versions()
    other = {name: value for name, value in run.settings.versions.items() if now.get(name) != value}
    if changes := [f"{name} {value} (now {now.get(name, 'none')})" for name, value in other.items()]:
        report(f"The run began with {'; '.join(changes)}. Its last bits may be others than without an interruption.")


def _versions():
    return {
        "kerasptb": kerasptb.__version__,
        "python": platform.python_version(),
        keras.backend.backend(): importlib.metadata.version(keras.backend.backend()),
        "keras": keras.__version__,
        "numpy": np.__version__,
        "processors": platforms.processors(),
    }
