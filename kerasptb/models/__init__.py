"""Models."""

from kerasptb.models.language_model import LanguageModel, build_language_model
from kerasptb.models.tf1_checkpoint import load_tf1_checkpoint

__all__ = ["LanguageModel", "build_language_model", "load_tf1_checkpoint"]
