"""Evaluations of a run that adapt to the text, with settings that are tuned once and kept in a file of the run."""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from kerasptb.data import Corpus
from kerasptb.evaluation.continuous_cache import CacheSettings, evaluate_continuous_cache, tune_continuous_cache
from kerasptb.evaluation.dynamic import DynamicSettings, evaluate_dynamic, gradient_statistics, tune_dynamic
from kerasptb.evaluation.perplexity import AdaptedEvaluation
from kerasptb.models import LanguageModel
from kerasptb.utils.files import read_json, write_json


class Adaptation:
    """How a run's model adapts: with settings that are tuned on the validation text of the run's corpus.

    They are tuned at first use, and again where the weights, the corpus or the words of a segment are others. The file
    is the run's adaptation.json; `report` is called with a line before they are tuned, and if they cannot be kept.
    """

    def __init__(self, path: Path, model: LanguageModel, corpus: Corpus, report: Callable[[str], Any]) -> None:
        self._path, self._model, self._corpus, self._report = path, model, corpus, report

    def evaluate(
        self, way: Literal["dynamic", "continuous cache"], ids: Sequence[int] | np.ndarray, num_steps: int | None
    ) -> AdaptedEvaluation:
        """Evaluates a text as `evaluate_dynamic` or `evaluate_continuous_cache` does."""
        if way == "continuous cache":
            return evaluate_continuous_cache(self._model, ids, self.cache_settings(), num_steps)
        num_steps, model, corpus = num_steps or 20, self._model, self._corpus
        statistics = gradient_statistics(model, corpus.train, num_steps)  # raises where the method is not possible
        settings = self._kept(
            "dynamic",
            DynamicSettings,
            lambda: tune_dynamic(model, corpus.valid, statistics, num_steps),
            num_steps=num_steps,
        )
        return evaluate_dynamic(model, ids, statistics, settings)

    def cache_settings(self) -> CacheSettings:
        """Returns the settings of the continuous cache."""
        return self._kept(
            "continuous_cache", CacheSettings, lambda: tune_continuous_cache(self._model, self._corpus.valid)
        )

    def _kept(self, method, kind, tune, **others):
        """Returns the settings that the file keeps for a method and what they depend on, or tunes and keeps them."""
        tuned_for = {"weights": _digest(self._model), "corpus": self._corpus.digest, **others}
        entry = self._read().get(method)
        if isinstance(entry, dict) and entry.get("tuned_for") == tuned_for:
            try:
                return kind(**entry["settings"])
            except (KeyError, TypeError, ValueError):
                pass  # a file that was written by hand
        name = method.replace("_", " ")
        self._report(f"Tuning the settings of {name} on the validation text; {self._path} will keep them.")
        settings = tune()
        entry = {"settings": dataclasses.asdict(settings), "tuned_for": tuned_for}
        try:
            write_json(self._path, {**self._read(), method: entry})  # beside what another process has tuned meanwhile
        except OSError as error:
            self._report(f"The settings could not be kept, and will be tuned again: {error.strerror}: {self._path}")
        return settings

    def _read(self):
        content = read_json(self._path)
        return content if isinstance(content, dict) else {}


def _digest(model):
    """Returns the SHA-256 of a model's weights, in hexadecimal."""
    digest = hashlib.sha256()
    for weight in model.get_weights():
        digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()
