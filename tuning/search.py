"""Searches for a better model: what `kerasptb tune` does, callable from a script."""

import contextlib
import dataclasses
import datetime
import importlib.util
import json
import os
import pickle
import random
import shlex
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import keras_tuner as kt

import kerasptb
from kerasptb.data.sources.source import TextSource, is_there
from kerasptb.runs.settings import NO_START
from kerasptb.training.budget import describe_length
from kerasptb.training.planning import draft_training
from kerasptb.training.start import describe_start, recorded_start
from kerasptb.tuning import leaderboard, plots
from kerasptb.tuning.around import around_recipe, request_of
from kerasptb.tuning.oracles import FAILING
from kerasptb.tuning.progress import Progress
from kerasptb.tuning.records import PROJECT, SEARCH, TrialView, rank, read_trials, reset_attempts
from kerasptb.tuning.search_space import LanguageModelSpace, overrides_fit
from kerasptb.tuning.settings import START_ARGUMENTS, SearchArguments, SearchSettings
from kerasptb.tuning.workers import LocalCluster
from kerasptb.utils.files import lock_folder, new_folder, read_json, write_json
from kerasptb.utils.types import Backend, Precision, Tokens

PLOTS = "plots"

_WAIT_FOR_CHIEF = 600  # seconds


class SearchError(RuntimeError):
    """Raised if a search cannot begin or go on as asked, if it found nothing, or if failing trials have ended it."""


@dataclasses.dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
        folder: its folder.
        trials: list of `TrialView`, the best first, those that failed last.
        run: the best trial's `kerasptb.Run`, in FOLDER/best; `None` if a space of the user's own left none.
        stop_reason: why the search ended before its last trial; `None` if it did not.
    """

    folder: Path
    trials: list[TrialView]
    run: "kerasptb.Run | None"
    stop_reason: str | None


def tune(
    data: kerasptb.Corpus | TextSource | None = None,
    space: str | kt.HyperModel | Callable[[kt.HyperParameters], Any] | None = None,
    *,
    tuner: Literal["random", "bayesian", "hyperband"] | None = None,
    trials: int | None = None,
    epochs: int | None = None,
    minutes: float | None = None,
    start_from: str | os.PathLike[str] | None = None,
    max_parameters: int | None = None,
    workers: int | None = None,
    max_hours: float | None = None,
    seed: int | None = None,
    tokens: Tokens | None = None,
    tokenizer: str | os.PathLike[str] | None = None,
    vocabulary_size: int | None = None,
    keep_lines: bool | None = None,
    backend: Backend | None = None,
    precision: Precision | None = None,
    steps_per_epoch: int | None = None,
    early_stopping: bool | None = None,
    max_failures: int | None = None,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    verbose: bool = True,
) -> SearchResult | None:
    """Searches for the model and training settings of lowest validation perplexity.

    A trial's score is the validation perplexity of its best epoch. The validation text is read as 60 streams, as in the
    notebook, whatever batches the trial trained with. The test text is not used.

    Args:
        data: what `kerasptb.load_corpus` takes; `None` for "auto".
        space: the search space: a `LanguageModelSpace`; the name of a recipe to search around (`None` for "notebook",
            or for "auto" of a text that is read in subwords or characters); a `keras_tuner.HyperModel`; or a
            function from hyperparameters to a compiled `kerasptb.LanguageModel`, whose weights are drawn anew for the
            training. A HyperModel with a `fit` of its own may train any model. The search calls `fit(hp, model,
            corpus=..., epochs=..., callbacks=..., verbose=0)`, which returns a History, a dict with "val_perplexity",
            or that number.
        tuner: "random", "bayesian" or "hyperband"; `None` for "bayesian".
        trials: number of trials; `None` for 20. A search that is resumed may be given more.
        epochs: epochs of a trial that is not stopped; `None` for 15, or as often as the recipe reads a text at most.
        minutes: time of a trial on this machine, in place of epochs. What fits is laid out once, for the recipe, by the
            time of some steps: epochs, and the part of the text that each reads, of every trial.
        start_from: what every trial begins with, in a search around a recipe: the folder of a run, "english" or "none",
            as for `kerasptb.train`, and by default as there. All models have that run's sizes then, and a text in
            subwords is cut by its tokenizer.
        max_parameters: the most parameters a model may have; `None` for the notebook's 3,955,088, or for those of a
            larger recipe that is named. A `LanguageModelSpace` keeps within it. A model of another space that exceeds
            it is not trained; its trial is recorded as rejected.
        workers: number of worker processes on this machine, each with its share of the cores, beside a chief; `None`
            runs one trial after another in this process.
        max_hours: time limit in hours, counted from this start. After it no trial begins, and running trials stop at
            the end of their epoch.
        seed: seed of the draws and of every training. In one process the same seed gives the same result to the
            bit. With several workers the result also depends on their timing. `None` draws a seed and keeps it in
            search.json.
        tokens: "words", "subwords" or "characters", see `kerasptb.load_corpus`; `None` for what suits the text.
        tokenizer: a tokenizer.json to cut the text with; `None` for one of its own.
        vocabulary_size: the most tokens, see `kerasptb.load_corpus`. `None` for all words, or for what suits the text.
        keep_lines: whether each line is a paragraph, see `kerasptb.load_corpus`; `None` for what suits the text.
        backend: see `kerasptb.LanguageModel`.
        precision: see `kerasptb.LanguageModel`; `None` for "float32", or as a recipe wishes that is named.
        steps_per_epoch: batches of an epoch, the first ones of the text; `None` for all.
        early_stopping: end hopeless trials early (see `TrialEarlyStopping`); Hyperband does so itself. `None` for True.
        max_failures: number of failures for one reason after which the search ends; `None` for 3.
        out: the search's folder, new or empty unless `resume`; `None` for `runs/search-TIME`.
        resume: go on with the search in `out`. At most the running trials' current epochs are lost.
        verbose: print the progress, and the leaderboard.

    Returns:
        A `SearchResult`; `None` if KerasTuner's environment variables make this process a worker.

    Raises:
        ValueError: if an argument or the data are wrong.
        SearchError: if the folder does not fit what is asked, no trial has completed, or trials failing for one reason
            ended the search. The results so far are in the folder.
        WorkersFailedError: if the chief or a worker died again and again.
        KeyboardInterrupt: if interrupted; the folder holds the results so far, and `resume=True` goes on.
    """
    named = SearchArguments.asked(
        trials=trials,
        epochs=epochs,
        minutes=minutes,
        start_from=recorded_start(start_from),
        tuner=tuner,
        max_parameters=max_parameters,
        steps_per_epoch=steps_per_epoch,
        tokens=tokens,
        tokenizer=None if tokenizer is None else str(Path(tokenizer).absolute()),
        vocabulary_size=vocabulary_size,
        keep_lines=keep_lines,
        backend=backend,
        precision=precision,
        seed=seed,
        early_stopping=early_stopping,
        max_failures=max_failures,
    )
    workers = START_ARGUMENTS["workers"].read(workers)
    max_hours = START_ARGUMENTS["max_hours"].read(max_hours)
    role = _role()
    if role == "worker":
        return _work(data, space, out)
    if epochs is not None and minutes is not None and not resume:
        raise ValueError(f"Expected epochs or minutes. Received both: epochs={epochs!r} and minutes={minutes!r}")
    if resume and not out:
        raise SearchError("Resuming needs the search's folder: name it with --out.")
    folder = Path(out) if out else Path("runs") / f"search-{datetime.datetime.now():%Y%m%d-%H%M%S}"
    record = _resume(folder, named) if resume else _begin(folder, named)
    _check_packages(record["tuner"])
    record["deadline"] = None if max_hours is None else time.time() + 3600 * max_hours
    if is_of_recipe := not resume and (space is None or isinstance(space, str)):
        record["preset"] = space
    elif not resume:
        _begin_with_nothing(record, space)
    data, draft = _read(data, folder, record)
    corpus = draft.corpus
    if is_of_recipe:
        space = around_recipe(draft, record, named, workers)
    space = _prepare_space(_choose_space(space, record), record, corpus)
    if isinstance(data, kerasptb.Corpus):  # so that its text, read again, has this vocabulary
        vocabulary = corpus.vocabulary
        record |= {"tokens": vocabulary.kind, "keep_lines": corpus.format.keeps_lines}
        record["vocabulary_size"] = vocabulary.limit
    record |= {
        "data": data if data in ("auto", "ptb", "sample") else corpus.location or corpus.name,
        "text": {"source": corpus.source, "digest": corpus.digest},
        "space": _describe(space),
    }
    if workers is not None:
        _check_picklable(space)
    json.dumps(record)  # raises, before the folder is made, if JSON cannot hold them
    if out:
        folder.mkdir(parents=True, exist_ok=True)
    else:
        folder = new_folder(folder)
    busy = SearchError(f"Another search is at work in {folder}. Wait for its end, or name another --out.")
    with lock_folder(folder, busy):
        return _search(folder, record, space, corpus, workers, role, resume, verbose)


def main(arguments=None):
    """Runs `kerasptb tune`; returns its exit status."""
    from kerasptb.cli import main as run_command  # noqa: PLC0415  (it imports this module)

    return run_command(["tune", *(sys.argv[1:] if arguments is None else arguments)])


def _search(folder, record, space, corpus, workers, role, resume, verbose):
    write_json(folder / SEARCH, record)
    reset_attempts(folder)
    settings = _settings(folder, record)
    report = print if verbose else lambda *_, **__: None
    report(f"Data: {corpus.source} ({corpus.vocabulary.kind}: vocabulary {len(corpus.vocabulary):,})")
    report(
        f"Search: {settings.trials} trials, {settings.tuner}, at most {settings.max_parameters:,} parameters, "
        f"seed {settings.seed}"
    )
    if isinstance(space, LanguageModelSpace):
        report(textwrap.fill(f"Searched around {space.preset}: {space.describe()}", 100, subsequent_indent="  "))
        report(f"Each trial begins with {describe_start(settings.start_from)}.")
    report(f"Length of a trial: {describe_length(settings.minutes, settings.epochs, settings.parts)}")
    report(f"Search folder: {folder}", flush=True)
    try:
        with Progress(folder, settings.trials, settings.deadline) if verbose else contextlib.nullcontext():
            _run(settings, space, corpus, workers, role, resume)
    except KeyboardInterrupt:
        _summarize(settings, record, report)
        command = f"kerasptb tune --out {shlex.quote(str(folder))} --resume"
        report(f"Interrupted. To go on: {command if isinstance(space, LanguageModelSpace) else 'resume=True'}")
        raise
    return _check(_summarize(settings, record, report), report)


def _check_picklable(space):
    """Raises unless the space can be sent to another process."""
    try:
        pickle.dumps(space)
    except (AttributeError, TypeError, pickle.PicklingError) as error:
        raise ValueError(
            "Expected, with workers, a space that stands in a module, which each process imports for itself. "
            f"Received: space={space!r} ({error})"
        ) from None


def _run(settings, space, corpus, workers, role, resume):
    if workers is not None and role is None:
        LocalCluster(settings, space, corpus, workers).run()
        return
    from kerasptb.tuning.trials import run_process  # noqa: PLC0415  (with workers, this process trains nothing)

    host = os.environ.get("KERASTUNER_ORACLE_IP")
    if role == "chief" and host not in ("127.0.0.1", "localhost", "::1"):
        print(
            f"Warning: the chief listens on {host}, and asks nobody who they are: whoever reaches the port can steer "
            "the search. Use a private network.",
            file=sys.stderr,
        )
    # A resumed chief leaves the running trials to the workers that have them.
    run_process(settings, space, corpus, keep_running=role == "chief" and resume)


def _work(data, space, out):
    """Joins the search that a chief, perhaps on another machine, has begun in a shared folder."""
    from kerasptb.tuning.trials import run_process  # noqa: PLC0415

    if out is None:
        raise ValueError("A worker needs the search's folder, shared with the chief: name it with --out.")
    folder = Path(out)
    give_up = time.time() + _WAIT_FOR_CHIEF
    while (record := read_json(folder / SEARCH)) is None:
        if time.time() > give_up:
            raise SearchError(f"No chief has begun a search in {folder} for {_WAIT_FOR_CHIEF} seconds.")
        time.sleep(1)
    _, draft = _read(data, folder, record)
    space = _prepare_space(_choose_space(space, record), record, draft.corpus)
    run_process(_settings(folder, record), space, draft.corpus)


def _role():
    """Returns what KerasTuner's environment variables make this process: "chief", "worker", or `None`."""
    if "KERASTUNER_ORACLE_IP" not in os.environ:
        return None
    if missing := [name for name in ("KERASTUNER_ORACLE_PORT", "KERASTUNER_TUNER_ID") if name not in os.environ]:
        raise ValueError(f"Expected {' and '.join(missing)} beside KERASTUNER_ORACLE_IP in the environment.")
    return "chief" if "chief" in os.environ["KERASTUNER_TUNER_ID"] else "worker"


def _check_packages(tuner):
    """Raises if packages are missing, before one trial after another fails for it."""
    needed = {"tensorboard": "tensorboard"}
    if tuner == "bayesian":
        needed |= {"sklearn": "scikit-learn", "scipy": "scipy"}
    if missing := [package for module, package in needed.items() if importlib.util.find_spec(module) is None]:
        raise SearchError(f"The search needs packages that are not installed: pip install {' '.join(missing)}")


def _begin(folder, named):
    """Returns the arguments of a new search, a dict."""
    if folder.exists() and any(folder.iterdir()):
        raise SearchError(
            f"{folder} is not empty. Name another folder with --out, or go on with the search in it with --resume."
        )
    return SearchArguments(**{"seed": random.randrange(2**31 - 1), **named}).to_config()


def _resume(folder, named):
    """Returns the arguments of the search in the folder, a dict; raises if it does not keep them."""
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
    return {**record, **named}


def _begin_with_nothing(record, space):
    """Records that the trials of a space that is no recipe's name begin with nothing; raises for what needs one."""
    for name in ("start_from", "minutes"):
        if record[name] not in (None, NO_START):
            raise ValueError(
                f"Expected, with {name}, a search around a recipe: its name in place of a space, or none. "
                f"Received: {name}={record[name]!r} with space={space!r}"
            )
    record |= {"preset": None, "start_from": NO_START}


def _read(data, folder, record):
    """Returns `data` or its default, and a training's `Draft`; raises if the search has begun with another text."""
    begun = record.get("text")
    if data is None:
        data = record.get("data", "auto")
        if data not in ("auto", "ptb", "sample") and not is_there(data):
            raise SearchError(f"The text of {folder} is not at {data}, or came from no file. Name it with --data.")
    draft = draft_training(request_of(data, record), workers=1)
    corpus = draft.corpus
    # "auto" may find another text on another day, or on a worker's machine. The trials would not be comparable.
    if begun is not None and corpus.digest != begun["digest"]:
        raise SearchError(
            f"A search keeps its text: {folder} was begun with {begun['source']}. Received: {corpus.source}, another "
            "text or vocabulary. Name the search's own with --data."
        )
    return data, draft


def _settings(folder, record):
    return SearchSettings(**SearchArguments.named(record), folder=folder, deadline=record["deadline"])


def _choose_space(space, record):
    """Returns the space of a search: what is asked for, or recorded, if both must be the same."""
    recorded = record.get("space")
    if recorded is None:
        return space
    if space is None or space == record["preset"]:
        if recorded["class"] != _describe(LanguageModelSpace)["class"]:
            raise SearchError(f"This search has a space of its own, {recorded['class']}: pass it to tuning.tune.")
        return LanguageModelSpace.from_config(recorded["config"])
    if recorded != (asked := _describe(space)):
        raise SearchError(
            f"A search that is resumed keeps its space, {recorded['class']} {recorded['config'] or ''}. "
            f"Received: {asked['class']} {asked['config'] or ''}"
        )
    return space


def _prepare_space(space, record, corpus):
    """Returns the space, prepared for the data; raises for what no search can draw from."""
    if isinstance(space, LanguageModelSpace):
        space.prepare(
            len(corpus.vocabulary),
            **{name: record[name] for name in ("epochs", "max_parameters", "backend", "precision", "seed")},
            num_words=min(len(corpus.train), len(corpus.valid)),
        )
        return space
    if isinstance(space, type) or not (isinstance(space, kt.HyperModel) or callable(space)):
        raise ValueError(f"Expected a keras_tuner.HyperModel or a function from hp to a model. Received: {space!r}")
    # A space of the user's own decides what it builds and how it trains.
    trains = isinstance(space, kt.HyperModel) and overrides_fit(space)
    for name in ("backend", "precision", *(["steps_per_epoch"] if trains else [])):
        if record[name] is not None:
            raise ValueError(f"A space of your own has its own {name}. Received: {name}={record[name]!r}")
    return space


def _describe(space):
    """Returns how a search records its space; a recipe by its name."""
    if isinstance(space, str):
        return {**_describe(LanguageModelSpace), "config": {"preset": space}}
    kind = space if hasattr(space, "__qualname__") else type(space)  # a function, or the type of an object
    config = space.get_config() if isinstance(space, LanguageModelSpace) else None
    return {"class": f"{kind.__module__}.{kind.__qualname__}", "config": config}


def _summarize(settings, record, report):
    """Writes what a search has found so far; returns its `SearchResult`."""
    folder, trials = settings.folder, read_trials(settings.folder)
    oracle = read_json(folder / PROJECT / "oracle.json") or {}
    leaderboard.write_csv(trials, folder / leaderboard.CSV)
    plots.plot_search(trials, folder / PLOTS)
    text = {name: record[name] for name in ("data", "tokens", "tokenizer", "vocabulary_size", "keep_lines")}
    run = leaderboard.save_best(folder, trials, text, report)
    if trials:
        report(leaderboard.format_table(trials))
    statuses = [trial.status for trial in trials]
    counts = [f"{statuses.count(status)} {status.lower()}" for status in dict.fromkeys(sorted(statuses))]
    pictures = f", {folder / PLOTS}" if (folder / PLOTS).exists() else ""
    report(f"Trials: {', '.join(counts) or 'none'}. Results: {folder / leaderboard.CSV}{pictures}")
    if run is not None:
        report(
            f"The best as a run: {run.folder}, as a script: {folder / leaderboard.SCRIPT}. To train it longer: "
            f"kerasptb train --resume --out {shlex.quote(str(run.folder))} --epochs N"
        )
    report(f"All trials in TensorBoard: tensorboard --logdir {shlex.quote(str(folder / PROJECT))}", flush=True)
    return SearchResult(folder, rank(trials), run, oracle.get("stop_reason"))


def _check(result, report):
    """Raises if the search failed; KerasTuner itself ends silently when every trial has failed."""
    early = f"The search ended early: {(result.stop_reason or '').rstrip('.')}."
    if FAILING in early:
        raise SearchError(f"{early} What it had found is in {result.folder}")
    if all(trial.score is None for trial in result.trials):
        reasons = dict.fromkeys(str(trial.record.reason) for trial in result.trials if trial.status == "FAILED")
        why = "; ".join(reasons) or result.stop_reason or "none has ended"
        raise SearchError(f"No trial of the search has completed: {why}. See {result.folder}")
    if result.stop_reason:
        report(early)
    return result


if __name__ == "__main__":
    sys.exit(main())
