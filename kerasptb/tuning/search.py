"""Searches for a better model: what `kerasptb tune` does, callable from a script."""

import contextlib
import dataclasses
import datetime
import functools
import json
import os
import pickle
import random
import shlex
import sys
import textwrap
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import keras_tuner as kt

import kerasptb
from kerasptb.data.sources.source import TextSource
from kerasptb.training.budget import describe_length
from kerasptb.training.start import describe_start, recorded_start
from kerasptb.tuning import leaderboard, plots
from kerasptb.tuning.begun import Search, SearchError, Space, begin, recorded, take_up
from kerasptb.tuning.oracles import FAILING
from kerasptb.tuning.progress import Progress
from kerasptb.tuning.records import PROJECT, SEARCH, TrialView, rank, read_trials, reset_attempts
from kerasptb.tuning.search_space import LanguageModelSpace
from kerasptb.tuning.settings import START_ARGUMENTS, SearchArguments, SearchSettings
from kerasptb.tuning.workers import LocalCluster
from kerasptb.utils.files import lock_folder, new_folder, read_json, write_json
from kerasptb.utils.types import Backend, Precision, Report, Tokens

PLOTS = "plots"

_WAIT_FOR_CHIEF = 600  # seconds


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
        data: what `kerasptb.load_corpus` takes; `None` for "auto", or for "sample", which is small and in the package,
            where a HyperModel that is no `LanguageModelSpace` has a `fit` of its own.
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
    given = SearchArguments.named(locals())  # the arguments: there is nothing else yet
    if tokenizer is not None:
        given["tokenizer"] = str(Path(tokenizer).absolute())
    named = SearchArguments.asked(**{**given, "start_from": recorded_start(start_from)})
    workers = START_ARGUMENTS["workers"].read(workers)
    max_hours = START_ARGUMENTS["max_hours"].read(max_hours)
    role = _role()
    if role == "worker":
        _work(data, space, out)
        return None
    if epochs is not None and minutes is not None and not resume:
        raise ValueError(f"Expected epochs or minutes. Received both: epochs={epochs!r} and minutes={minutes!r}")
    if resume and not out:
        raise SearchError("Resuming needs the search's folder: name it with --out.")
    folder = Path(out) if out else Path("runs") / f"search-{datetime.datetime.now():%Y%m%d-%H%M%S}"
    deadline = None if max_hours is None else time.time() + 3600 * max_hours
    if resume:
        settings = recorded(folder, named, deadline)
        _check_packages(settings.tuner)
        search = take_up(settings, data, space)
    else:
        if folder.exists() and any(folder.iterdir()):
            raise SearchError(
                f"{folder} is not empty. Name another folder with --out, or go on with the search in it with --resume."
            )
        asked = SearchArguments(**{"seed": random.randrange(2**31 - 1), **named})
        _check_packages(asked.tuner)
        search = begin(folder, asked, named.keys(), deadline, data, space, workers)
    if workers is not None:
        _check_picklable(search.space)
    json.dumps(search.settings.to_config())  # raises, before the folder is made, if JSON cannot hold them
    if out:
        folder.mkdir(parents=True, exist_ok=True)
    else:
        folder = new_folder(folder)
        search = dataclasses.replace(search, settings=dataclasses.replace(search.settings, folder=folder))
    busy = SearchError(f"Another search is at work in {folder}. Wait for its end, or name another --out.")
    with lock_folder(folder, busy):
        return _search(search, workers, role, resume, verbose)


def _search(search: Search, workers: int | None, role: str | None, resume: bool, verbose: bool) -> SearchResult:
    settings, space, corpus = search.settings, search.space, search.corpus
    write_json(settings.folder / SEARCH, settings.to_config())
    reset_attempts(settings.folder)
    report: Report = functools.partial(print, flush=True) if verbose else lambda line: None
    report(f"Data: {corpus.source} ({corpus.vocabulary.kind}: vocabulary {len(corpus.vocabulary):,})")
    report(
        f"Search: {settings.trials} trials, {settings.tuner}, at most {settings.max_parameters:,} parameters, "
        f"seed {settings.seed}"
    )
    if isinstance(space, LanguageModelSpace):
        report(textwrap.fill(f"Searched around {space.preset}: {space.describe()}", 100, subsequent_indent="  "))
        report(f"Each trial begins with {describe_start(settings.start_from)}.")
    report(f"Length of a trial: {describe_length(settings.minutes, settings.epochs, settings.parts)}")
    if settings.epochs < settings.parts:
        share = f"{settings.epochs}/{settings.parts}"
        report(f"A trial reads {share} of the text: ranks so early are mostly noise. More --minutes rank what lasts.")
    report(f"Search folder: {settings.folder}")
    try:
        with Progress(settings.folder, settings.trials, settings.deadline) if verbose else contextlib.nullcontext():
            _run(search, workers, role, resume)
    except KeyboardInterrupt:
        _summarize(settings, report)
        command = f"kerasptb tune --out {shlex.quote(str(settings.folder))} --resume"
        report(f"Interrupted. To go on: {command if isinstance(space, LanguageModelSpace) else 'resume=True'}")
        raise
    return _check(_summarize(settings, report), report)


def _check_picklable(space: Space) -> None:
    """Raises unless the space can be sent to another process."""
    try:
        pickle.dumps(space)
    except (AttributeError, TypeError, pickle.PicklingError) as error:
        raise ValueError(
            "Expected, with workers, a space that stands in a module, which each process imports for itself. "
            f"Received: space={space!r} ({error})"
        ) from None


def _run(search: Search, workers: int | None, role: str | None, resume: bool) -> None:
    if workers is not None and role is None:
        LocalCluster(search.settings, search.space, search.corpus, workers).run()
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
    run_process(search.settings, search.space, search.corpus, keep_running=role == "chief" and resume)


def _work(
    data: kerasptb.Corpus | TextSource | None, space: str | Space | None, out: str | os.PathLike[str] | None
) -> None:
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
    search = take_up(SearchSettings(**record, folder=folder), data, space)
    run_process(search.settings, search.space, search.corpus)


def _role() -> str | None:
    """Returns what KerasTuner's environment variables make this process: "chief", "worker", or `None`."""
    if "KERASTUNER_ORACLE_IP" not in os.environ:
        return None
    if missing := [name for name in ("KERASTUNER_ORACLE_PORT", "KERASTUNER_TUNER_ID") if name not in os.environ]:
        raise ValueError(f"Expected {' and '.join(missing)} beside KERASTUNER_ORACLE_IP in the environment.")
    return "chief" if "chief" in os.environ["KERASTUNER_TUNER_ID"] else "worker"


def _check_packages(tuner: str) -> None:
    """Raises if packages are missing, before one trial after another fails for it."""
    needed = {"tensorboard": "tensorboard"} if find_spec("tensorflow") else {}
    if tuner == "bayesian":
        needed |= {"sklearn": "scikit-learn", "scipy": "scipy"}
    if missing := [package for module, package in needed.items() if find_spec(module) is None]:
        raise SearchError(f"The search needs packages that are not installed: pip install {' '.join(missing)}")


def _summarize(settings: SearchSettings, report: Report) -> SearchResult:
    """Writes what a search has found so far; returns its `SearchResult`."""
    folder, trials = settings.folder, read_trials(settings.folder)
    oracle = read_json(folder / PROJECT / "oracle.json") or {}
    leaderboard.write_csv(trials, folder / leaderboard.CSV)
    plots.plot_search(trials, folder / PLOTS)
    run = leaderboard.save_best(settings, trials, report)
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
    if find_spec("tensorflow"):  # which writes the logs
        report(f"All trials in TensorBoard: tensorboard --logdir {shlex.quote(str(folder / PROJECT))}")
    return SearchResult(folder, rank(trials), run, oracle.get("stop_reason"))


def _check(result: SearchResult, report: Report) -> SearchResult:
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
