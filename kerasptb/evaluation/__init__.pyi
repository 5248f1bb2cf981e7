from .continuous_cache import CacheSettings as CacheSettings
from .continuous_cache import evaluate_continuous_cache as evaluate_continuous_cache
from .continuous_cache import tune_continuous_cache as tune_continuous_cache
from .nbest import Hypothesis as Hypothesis
from .nbest import Tuning as Tuning
from .nbest import Weights as Weights
from .nbest import tune_weights as tune_weights
from .nbest import word_errors as word_errors
from .pairs import MinimalPair as MinimalPair
from .pairs import PairsAccuracy as PairsAccuracy
from .pairs import PairsEvaluation as PairsEvaluation
from .pairs import evaluate_pairs as evaluate_pairs
from .pairs import read_pairs as read_pairs
from .perplexity import AdaptedEvaluation as AdaptedEvaluation
from .perplexity import Evaluation as Evaluation
from .perplexity import TextEvaluation as TextEvaluation
from .perplexity import evaluate_text as evaluate_text
from .sentences import SentenceScore as SentenceScore
from .sentences import score_document as score_document
from .sentences import score_sentences as score_sentences
from .share import Share as Share

__all__: list[str]
