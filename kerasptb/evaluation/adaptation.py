"""Evaluation that adapts to the text, with settings that are tuned once and kept in a file of the run."""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kerasptb.data import Corpus
from kerasptb.evaluation.continuous_cache import (
    CacheEvaluation,
    CacheSettings,
    evaluate_continuous_cache,
    tune_continuous_cache,
)
from kerasptb.evaluation.dynamic import (
    DynamicEvaluation,
    DynamicSettings,
    evaluate_dynamic,
    gradient_statistics,
    tune_dynamic,
)
from kerasptb.models import LanguageModel
from kerasptb.utils.files import read_json, write_json


def evaluate_run_dynamic(
    kept: Path,
    model: LanguageModel,
    ids: Sequence[int] | np.ndarray,
    corpus: Corpus,
    num_steps: int | None = None,
    report: Callable[[str], Any] = print,
) -> DynamicEvaluation:
    """Evaluates a run's model on a text by `evaluate_dynamic`, with the settings of the run.

    Settings are tuned on the validation text at first use, and again when the weights, the corpus or the words of a
    segment are others than they were tuned for. They are kept in a file.

    Args:
        kept: the file that keeps settings, a run's adaptation.json.
        model: its `LanguageModel`.
        ids: int32 [N], the text to evaluate.
        corpus: the `Corpus` that the run was trained on.
        num_steps: words of a segment; `None` for 20.
        report: called with a line of text before the settings are tuned, and if they cannot be kept.

    Returns:
        A `DynamicEvaluation`.

    Raises:
        DataError, ValueError: as `evaluate_dynamic`.
    """
    num_steps = num_steps or 20
    statistics = gradient_statistics(model, corpus.train, num_steps)  # raises where the method is not possible
    settings = _kept_settings(
        kept,
        "dynamic",
        DynamicSettings,
        {**_tuned_for(model, corpus), "num_steps": num_steps},
        lambda: tune_dynamic(model, corpus.valid, None, num_steps, statistics),
        report,
    )
    return evaluate_dynamic(model, ids, None, settings, statistics)


def evaluate_run_continuous_cache(
    kept: Path,
    model: LanguageModel,
    ids: Sequence[int] | np.ndarray,
    corpus: Corpus,
    num_steps: int | None = None,
    report: Callable[[str], Any] = print,
) -> CacheEvaluation:
    """Evaluates a run's model on a text by `evaluate_continuous_cache`, with the settings of the run.

    Args:
        kept: as in `evaluate_run_dynamic`, like the others.
        model: the model.
        ids: the text.
        corpus: of the run.
        num_steps: words of a row that the model reads at once; the result does not depend on it.
        report: called with a line of text.

    Returns:
        A `CacheEvaluation`.
    """
    return evaluate_continuous_cache(model, ids, cache_settings(kept, model, corpus, report), num_steps)


def cache_settings(
    kept: Path, model: LanguageModel, corpus: Corpus, report: Callable[[str], Any] = print
) -> CacheSettings:
    """Returns the `CacheSettings` of a run, tuned on the validation text at first use.

    Args:
        kept: as in `evaluate_run_dynamic`, like the others.
        model: the model.
        corpus: of the run.
        report: called with a line of text.
    """
    return _kept_settings(
        kept,
        "continuous_cache",
        CacheSettings,
        _tuned_for(model, corpus),
        lambda: tune_continuous_cache(model, corpus.valid),
        report,
    )


def _kept_settings(path, method, kind, tuned_for, tune, report):
    """Returns the settings that a file keeps for a method and what they depend on, or tunes and keeps them."""
    kept = read_json(path)
    entry = kept.get(method) if isinstance(kept, dict) else None
    if isinstance(entry, dict) and entry.get("tuned_for") == tuned_for:
        try:
            return kind(**entry["settings"])
        except (KeyError, TypeError, ValueError):
            pass  # a file that was written by hand
    report(f"Tuning the settings of {method.replace('_', ' ')} on the validation text; {path} will keep them.")
    settings = tune()
    now = read_json(path)  # what another process has tuned meanwhile
    entry = {"settings": dataclasses.asdict(settings), "tuned_for": tuned_for}
    try:
        write_json(path, {**(now if isinstance(now, dict) else {}), method: entry})
    except OSError as error:
        report(f"The settings could not be kept, and will be tuned again: {error.strerror}: {path}")
    return settings


def _tuned_for(model, corpus):
    """Returns what settings depend on: digests of the model's weights and of the corpus."""
    digest = hashlib.sha256()
    for weight in model.get_weights():
        digest.update(np.ascontiguousarray(weight).tobytes())
    return {"weights": digest.hexdigest(), "corpus": corpus.digest}
