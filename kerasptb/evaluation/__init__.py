"""How good a model is on a text."""

from kerasptb.evaluation.continuous_cache import CacheSettings, evaluate_continuous_cache, tune_continuous_cache
from kerasptb.evaluation.counts import evaluate_counts
from kerasptb.evaluation.dynamic import (
    DynamicSettings,
    evaluate_dynamic,
    gradient_statistics,
    published_settings,
    tune_dynamic,
)
from kerasptb.evaluation.keyboard import (
    KeyboardEvaluation,
    Typist,
    check_cached,
    evaluate_keyboard,
)
from kerasptb.evaluation.nbest import (
    Hypothesis,
    Tuning,
    Weights,
    by_utterance,
    check_references,
    tune_weights,
    word_errors,
)
from kerasptb.evaluation.perplexity import (
    AdaptedEvaluation,
    Evaluation,
    TextEvaluation,
    evaluate_both,
    evaluate_perplexity,
    evaluate_split,
)
from kerasptb.evaluation.sentences import SentenceScore, perplexity_of, score_document, score_sentences
from kerasptb.evaluation.simulator import Simulator
from kerasptb.evaluation.typos import Share, TypingEvaluation, evaluate_typos

__all__ = [
    "AdaptedEvaluation",
    "CacheSettings",
    "DynamicSettings",
    "Evaluation",
    "Hypothesis",
    "KeyboardEvaluation",
    "SentenceScore",
    "Share",
    "Simulator",
    "TextEvaluation",
    "Tuning",
    "TypingEvaluation",
    "Typist",
    "Weights",
    "by_utterance",
    "check_cached",
    "check_references",
    "evaluate_both",
    "evaluate_continuous_cache",
    "evaluate_counts",
    "evaluate_dynamic",
    "evaluate_keyboard",
    "evaluate_perplexity",
    "evaluate_split",
    "evaluate_typos",
    "gradient_statistics",
    "perplexity_of",
    "published_settings",
    "score_document",
    "score_sentences",
    "tune_continuous_cache",
    "tune_dynamic",
    "tune_weights",
    "word_errors",
]
