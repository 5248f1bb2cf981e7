"""How good a model is on a text."""

from kerasptb.evaluation.adaptation import cache_settings, evaluate_run_continuous_cache, evaluate_run_dynamic
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
    published_settings,
    tune_dynamic,
)
from kerasptb.evaluation.keyboard import KeyboardEvaluation, Typist, evaluate_keyboard, evaluate_keyboard_on_text
from kerasptb.evaluation.perplexity import Evaluation, evaluate_both, evaluate_perplexity, evaluate_split

__all__ = [
    "CacheEvaluation",
    "CacheSettings",
    "DynamicEvaluation",
    "DynamicSettings",
    "Evaluation",
    "KeyboardEvaluation",
    "Typist",
    "cache_settings",
    "evaluate_both",
    "evaluate_continuous_cache",
    "evaluate_dynamic",
    "evaluate_keyboard",
    "evaluate_keyboard_on_text",
    "evaluate_perplexity",
    "evaluate_run_continuous_cache",
    "evaluate_run_dynamic",
    "evaluate_split",
    "gradient_statistics",
    "published_settings",
    "tune_continuous_cache",
    "tune_dynamic",
]
