"""A search before its trials: begun around a recipe or in a space of one's own, taken up again, or joined."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
from collections.abc import Callable, Mapping, Set
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias, cast

import keras_tuner as kt

from kerasptb.arguments import BatchArguments
from kerasptb.data import Corpus
from kerasptb.data.sources.source import TextSource, is_there
from kerasptb.data.text_format import USUAL, TextFormat, open_tokenizer
from kerasptb.runs.request import Request
from kerasptb.runs.settings import NO_START, RunSettings
from kerasptb.training.budget import fit_training
from kerasptb.training.draft import Draft, draft_training
from kerasptb.tuning.records import PROJECT, SEARCH
from kerasptb.tuning.search_space import LanguageModelSpace, count_parameters, overrides_fit, trains_any_model
from kerasptb.tuning.settings import SearchArguments, SearchSettings
from kerasptb.utils import children
from kerasptb.utils.files import read_json
from kerasptb.utils.processors import available_processors
from kerasptb.utils.types import Tokens

Space: TypeAlias = kt.HyperModel | Callable[[kt.HyperParameters], Any]

_NAMED_TEXTS = ("auto", "ptb", "sample")


class SearchError(RuntimeError):
    """Raised if a search cannot begin or go on as asked, if it found nothing, or if failing trials have ended it."""


@dataclasses.dataclass(frozen=True)
class Search:
    """A search that may begin, or go on."""

    settings: SearchSettings
    space: Space  # prepared for the text
    corpus: Corpus


def begin(
    folder: Path,
    asked: SearchArguments,
    named: Set[str],
    deadline: float | None,
    data: Corpus | TextSource | None,
    space: str | Space | None,
    workers: int | None,
) -> Search:
    """Returns a new search, around a recipe or in a space; some of what is asked for was named."""
    if data is None:  # who trains a model of their own may have no use for a text
        data = "sample" if isinstance(space, kt.HyperModel) and trains_any_model(space) else "auto"
    if space is None or isinstance(space, str):
        draft = draft_training(_request(data, asked, space), workers=1)
        asked, training = _around(draft, asked, named, workers)
        preset, corpus = draft.preset, draft.corpus
        space = LanguageModelSpace.around_training(training)
    else:
        preset, asked = None, _with_nothing(asked, space)
        corpus = draft_training(_request(data, asked), workers=1).corpus
    _prepare(space, asked, corpus)
    record = {**asked.as_dict(), "preset": preset, "space": _describe(space), "deadline": deadline}
    return Search(SearchSettings(**record | _record(data, corpus), folder=folder), space, corpus)


def take_up(
    settings: SearchSettings, data: Corpus | TextSource | None = None, space: str | Space | None = None
) -> Search:
    """Returns a search that has begun; raises if what is given is not its text, or not its space."""
    if data is None:
        data = settings.data
        if data not in _NAMED_TEXTS and not is_there(data):
            raise SearchError(
                f"The text of {settings.folder} is not at {data}, or came from no file. Name it with --data."
            )
    corpus = draft_training(_request(data, settings, settings.preset, is_known=True), workers=1).corpus
    # "auto" may find another text on another day, or on a worker's machine. The trials would not be comparable.
    if corpus.digest != settings.text["digest"]:
        raise SearchError(
            f"A search keeps its text: {settings.folder} was begun with {settings.text['source']}. "
            f"Received: {corpus.source}, another text or vocabulary. Name the search's own with --data."
        )
    space = _same_space(settings, space)
    _prepare(space, settings, corpus)
    return Search(dataclasses.replace(settings, **_record(data, corpus)), space, corpus)


def recorded(folder: Path, named: Mapping[str, Any], deadline: float | None) -> SearchSettings:
    """Returns the settings of the search in a folder; raises if it does not keep what is named."""
    record = read_json(folder / SEARCH)
    if record is None:
        raise SearchError(f"Expected a folder made by `kerasptb tune`. Received: {folder}, which has no search.json.")
    oracle = read_json(folder / PROJECT / "oracle.json") or {}
    if gone := [name for name in oracle.get("start_order", []) if not (folder / PROJECT / f"trial_{name}").exists()]:
        raise SearchError(
            f"A search goes on with all its trials. Received: {folder}, in which the folders of trials "
            f"{', '.join(gone)} are missing."
        )
    for name, value in named.items():
        if SearchArguments.fields()[name].fixed and value != record[name]:
            raise SearchError(
                f"A search that is resumed keeps its settings: {folder} has {name}={record[name]!r}. "
                f"Received: {name}={value!r}"
            )
    return SearchSettings(**{**record, **named, "deadline": deadline}, folder=folder)


def _request(
    data: Corpus | TextSource, asked: SearchArguments, preset: str | None = None, is_known: bool = False
) -> Request:
    """Returns the request of the training that a search is around; a corpus that the search knows is as it is."""
    tokens = cast(Tokens | None, asked.tokens)
    format = TextFormat(tokens, open_tokenizer(asked.tokenizer), asked.vocabulary_size, asked.keep_lines)
    length = {"epochs": asked.epochs} if asked.minutes is None else {"minutes": asked.minutes}
    training = {"preset": preset, "start_from": asked.start_from, **length}
    model = {name: getattr(asked, name) for name in ("backend", "precision", "seed")}
    return Request(
        data=data,
        format=USUAL if is_known and isinstance(data, Corpus) else format,
        model={name: value for name, value in model.items() if value is not None},
        batches=BatchArguments.asked(steps_per_epoch=asked.steps_per_epoch),
        training={name: value for name, value in training.items() if value is not None},
    )


def _around(
    draft: Draft, asked: SearchArguments, named: Set[str], workers: int | None
) -> tuple[SearchArguments, RunSettings]:
    """Returns what the trials around a training that was drafted have in common, and the training's settings."""
    if named.isdisjoint(("epochs", "minutes")):
        _, recipe = draft.with_recipe(draft.facts)
        epochs = {"epochs": int(min(asked.epochs, recipe.most_passes))}
        request = dataclasses.replace(draft.request, training={**draft.request.training, **epochs})
        draft = dataclasses.replace(draft, request=request)
    settings = lay_out(draft, workers)
    most = asked.max_parameters
    if "max_parameters" not in named:
        most = max(most, count_parameters(**settings.model.as_dict()))
    asked = dataclasses.replace(
        asked,
        start_from=settings.training.start_from or NO_START,
        tokens=draft.start.format.tokens,
        epochs=settings.training.epochs,
        parts=settings.batches.parts,
        precision=settings.model.precision,
        max_parameters=most,
    )
    return asked, settings


def lay_out(draft: Draft, workers: int | None) -> RunSettings:
    """Returns the `RunSettings` of the training that was drafted; minutes are timed in all workers at once."""
    if draft.request.training.get("minutes") is None or workers is None:
        return _fit(draft)
    variables = children.thread_variables(max(available_processors() // workers, 1))
    with (
        children.environment({"TF_FORCE_GPU_ALLOW_GROWTH": "true", **variables}),
        ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), children.write_to, (os.devnull,)) as pool,
    ):
        fitted = [pool.submit(_fit, draft) for _ in range(workers)]
        return min((each.result() for each in fitted), key=lambda each: each.training.epochs / each.batches.parts)


def _fit(draft: Draft) -> RunSettings:
    """Returns the `RunSettings` of the training that was drafted, whose minutes are filled in this process."""
    minutes = draft.request.training.get("minutes")
    if minutes is None:
        return fit_training(draft)[0]
    draft.check_texts()
    return fit_training(draft, lambda: 60 * minutes)[0]  # timing is no trial's


def _with_nothing(asked: SearchArguments, space: Space) -> SearchArguments:
    """Returns what is asked for, with trials that begin with nothing; raises for what needs a recipe's name."""
    for name in ("start_from", "minutes"):
        if (value := getattr(asked, name)) not in (None, NO_START):
            raise ValueError(
                f"Expected, with {name}, a search around a recipe: its name in place of a space, or none. "
                f"Received: {name}={value!r} with space={space!r}"
            )
    return dataclasses.replace(asked, start_from=NO_START)


def _record(data: Corpus | TextSource, corpus: Corpus) -> dict[str, Any]:
    """Returns what a search records of its text, a dict."""
    place = data if data in _NAMED_TEXTS else corpus.location or corpus.name
    record: dict[str, Any] = {"data": place, "text": {"source": corpus.source, "digest": corpus.digest}}
    if isinstance(data, Corpus):  # so that its text, read again, has this vocabulary
        vocabulary, keep_lines = corpus.vocabulary, corpus.format.keeps_lines
        record |= {"tokens": vocabulary.kind, "keep_lines": keep_lines, "vocabulary_size": vocabulary.limit}
    return record


def _same_space(settings: SearchSettings, space: str | Space | None) -> Space:
    """Returns the space of a search that has begun, which must be what is given, if anything is."""
    kept = settings.space
    if space is None or space == settings.preset:
        if kept["class"] != _describe(LanguageModelSpace)["class"]:
            raise SearchError(f"This search has a space of its own, {kept['class']}: pass it to tuning.tune.")
        return LanguageModelSpace.from_config(kept["config"])
    if kept != (asked := _describe(space)):
        raise SearchError(
            f"A search that is resumed keeps its space, {kept['class']} {kept['config'] or ''}. "
            f"Received: {asked['class']} {asked['config'] or ''}"
        )
    return space


def _prepare(space: Space, asked: SearchArguments, corpus: Corpus) -> None:
    """Prepares a space for the text; raises for what no search can draw from."""
    if isinstance(space, LanguageModelSpace):
        space.prepare(
            len(corpus.vocabulary),
            **{name: getattr(asked, name) for name in ("epochs", "max_parameters", "backend", "precision", "seed")},
            num_words=min(len(corpus.train), len(corpus.valid)),
        )
        return
    if isinstance(space, type) or not (isinstance(space, kt.HyperModel) or callable(space)):
        raise ValueError(f"Expected a keras_tuner.HyperModel or a function from hp to a model. Received: {space!r}")
    # A space of the user's own decides what it builds and how it trains.
    trains = isinstance(space, kt.HyperModel) and overrides_fit(space)
    for name in ("backend", "precision", *(["steps_per_epoch"] if trains else [])):
        if (value := getattr(asked, name)) is not None:
            raise ValueError(f"A space of your own has its own {name}. Received: {name}={value!r}")


def _describe(space: str | Space) -> dict[str, Any]:
    """Returns how a search records its space; a recipe by its name."""
    if isinstance(space, str):
        return {**_describe(LanguageModelSpace), "config": {"preset": space}}
    kind = space if hasattr(space, "__qualname__") else type(space)  # a function, or the type of an object
    config = space.get_config() if isinstance(space, LanguageModelSpace) else None
    return {"class": f"{kind.__module__}.{kind.__qualname__}", "config": config}
