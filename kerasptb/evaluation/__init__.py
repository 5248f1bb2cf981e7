"""How good a model is on a text."""

from kerasptb.evaluation.adaptation import KeptSettings
from kerasptb.evaluation.continuous_cache import CacheSettings, evaluate_continuous_cache, tune_continuous_cache
from kerasptb.evaluation.counted_perplexity import evaluate_counts
from kerasptb.evaluation.nbest import (
    Hypothesis,
    Tuning,
    Weights,
    by_utterance,
    check_references,
    tune_weights,
    word_errors,
)
from kerasptb.evaluation.perplexity import AdaptedEvaluation, Evaluation, TextEvaluation, evaluate_text
from kerasptb.evaluation.sentences import SentenceScore, perplexity_of, score_document, score_sentences

__all__ = [
    "AdaptedEvaluation",
    "CacheSettings",
    "Evaluation",
    "Hypothesis",
    "KeptSettings",
    "SentenceScore",
    "TextEvaluation",
    "Tuning",
    "Weights",
    "by_utterance",
    "check_references",
    "evaluate_continuous_cache",
    "evaluate_counts",
    "evaluate_text",
    "perplexity_of",
    "score_document",
    "score_sentences",
    "tune_continuous_cache",
    "tune_weights",
    "word_errors",
]
