"""Runs trained networks without a framework: NumPy arrays in, NumPy arrays out, states as values.

`network.py` is the network, on the native library or in NumPy; the others read one from files.
"""

from kerasptb.engine.network import Network, entropies, open_network

__all__ = ["Network", "entropies", "open_network"]
