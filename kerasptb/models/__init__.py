"""Models."""

from kerasptb.models.evaluation import evaluate_both, evaluate_perplexity, evaluate_split
from kerasptb.models.language_model import LanguageModel, build_language_model
from kerasptb.models.portable import portable_model

__all__ = [
    "LanguageModel",
    "build_language_model",
    "evaluate_both",
    "evaluate_perplexity",
    "evaluate_split",
    "portable_model",
]
