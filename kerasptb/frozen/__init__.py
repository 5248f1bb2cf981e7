"""Keras models that run without Keras: a graph of layers as a value, its file, and what computes it."""

from kerasptb.frozen.graph import Graph
from kerasptb.frozen.network import FrozenNetwork, load_frozen

__all__ = ["FrozenNetwork", "Graph", "load_frozen"]
