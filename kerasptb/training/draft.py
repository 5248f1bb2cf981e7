"""A training of which only what its recipe says is open: the text is read, and what it begins with is chosen."""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import platform
import random
from typing import Any

import keras
import numpy as np

import kerasptb
from kerasptb.arguments import BatchArguments, ModelArguments, TrainingArguments, with_changes
from kerasptb.data import Corpus, DataError
from kerasptb.data.corpus import open_text, read_corpus
from kerasptb.data.streams import count_batches
from kerasptb.ops import platform as platforms
from kerasptb.ops.plan import default_precision
from kerasptb.optimizers.by_name import decay_of, rate_of
from kerasptb.presets import Facts, Recipe, get_preset
from kerasptb.run import Run, load_run
from kerasptb.runs.request import Request
from kerasptb.runs.settings import NO_START, RunSettings
from kerasptb.runs.text import TextRecord
from kerasptb.training.start import Start, choose_start

# What a model that takes a run's weights does not take of it: they are the text's, the machine's, or drawn.
_NOT_INHERITED = ("vocabulary_size", "seed", "backend", "precision", "dtype", "name")


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

    @functools.cached_property
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
            versions=versions(),
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
        settings, named = dict(recipe.settings), self.request.recipe
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

    def check_texts(self) -> None:
        """Raises a `DataError` if a text is too short for a batch, or for an evaluation; the message names it."""
        model = self.with_recipe(self.facts)[0].model
        for name, text in (("training", self.corpus.train), ("validation", self.corpus.valid)):
            try:
                count_batches(len(text), model.batch_size, model.num_steps)
            except DataError as error:
                raise DataError(str(error).replace("The text", f"The {name} text", 1)) from None
        if len(self.corpus.test) < 2:
            raise DataError(f"Expected a test text of at least two words. Received: {len(self.corpus.test)}")


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


def versions() -> dict[str, str]:
    """Returns what the last bits of a training depend on."""
    return {
        "kerasptb": kerasptb.__version__,
        "python": platform.python_version(),
        keras.backend.backend(): importlib.metadata.version(keras.backend.backend()),
        "keras": keras.__version__,
        "numpy": np.__version__,
        "processors": platforms.processors(),
    }
