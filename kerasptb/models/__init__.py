"""Models."""

from kerasptb.models.evaluation import evaluate_perplexity
from kerasptb.models.language_model import LanguageModel, build_language_model

__all__ = [
    "LanguageModel",
    "build_language_model",
    "evaluate_perplexity",
]
