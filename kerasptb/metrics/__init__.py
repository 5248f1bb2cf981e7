"""Metrics."""

from kerasptb.metrics.perplexity import Perplexity

__all__ = ["Perplexity"]
