from .evaluation import evaluate_both as evaluate_both
from .evaluation import evaluate_perplexity as evaluate_perplexity
from .evaluation import evaluate_split as evaluate_split
from .language_model import LanguageModel as LanguageModel
from .language_model import build_language_model as build_language_model
from .portable import portable_model as portable_model
from .tf1_checkpoint import load_tf1_checkpoint as load_tf1_checkpoint

__all__: list[str]
