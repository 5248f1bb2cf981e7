from .language_model import LanguageModel as LanguageModel
from .language_model import build_language_model as build_language_model
from .tf1_checkpoint import load_tf1_checkpoint as load_tf1_checkpoint

__all__: list[str]
