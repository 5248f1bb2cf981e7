"""How good a model is on a text."""

from kerasptb.evaluation.perplexity import Evaluation, evaluate_both, evaluate_perplexity, evaluate_split

__all__ = ["Evaluation", "evaluate_both", "evaluate_perplexity", "evaluate_split"]
