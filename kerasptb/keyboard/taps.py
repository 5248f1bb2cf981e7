"""How likely it is that taps on keys come from letters, and the pieces of words that they may come from.

Whoever means the letters c_1 ... c_m hits the taps t_1 ... t_n: each letter once, or not at all, or in exchange with
the letter before it, and after each letter there may be further taps, on the same key or on any. Of a text, the row q
has the probability q[j] that its letters become the first j taps, r is the row of the text without its last letter b,
and that of the text and another letter c is

    p[j] = omitted(c) q[j] + hit P(t_j | c) q[j-1] + exchanged P(t_j-1 | c) P(t_j | b) r[j-2]
           + (doubled P(t_j | c) + stray(t_j)) p[j-1]

the forward algorithm of a pair hidden Markov model (Durbin et al., 1998, "Biological Sequence Analysis", chapter 4),
with the edits of Damerau (1964, "A technique for computer detection and correction of spelling errors"). If the taps
may be the beginning of a word only, letters after the last tap cost nothing.

P(t | c) is relative to the letter for which the tap is likeliest, so that no tap is worth more than one, and the sum of
a row bounds that of all texts that begin so. Pieces lie in a trie, which is walked as far as the bound allows: by the
core in C (`native/src/core/taps.c`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

# What sorts behind all letters.
_SPACE = "\U0010ffff"


class Trie:
    """Pieces by their letters, in the order in which one walks them; those that begin with a space come last.

    Args:
        texts: what the pieces write, `None` for those that are left out.

    Attributes:
        symbols: mapping from a character to its number, S of them; that of the space is the last.
        nodes: int32 [N, 3], of each node its symbol, the node after its last descendant, and the index of the piece
            that ends there, -1 for none.
        space: the node of the space, of which those of all later nodes are descendants; N for none.
    """

    def __init__(self, texts: Sequence[str | None]) -> None:
        characters = sorted(set().union(*filter(None, texts)) - {" "})
        self.symbols = {character: symbol for symbol, character in enumerate([*characters, " "])}
        nodes: list[list[int]] = []
        path: list[list[int]] = []
        before = ""
        for text, piece in sorted((text.replace(" ", _SPACE), piece) for piece, text in enumerate(texts) if text):
            same = 0
            while same < min(len(before), len(text) - 1) and before[same] == text[same]:
                same += 1
            for node in path[same:]:
                node[1] = len(nodes)
            del path[same:]
            for letter in text[same:].replace(_SPACE, " "):
                path.append([self.symbols[letter], 0, -1])
                nodes.append(path[-1])
            path[-1][2], before = piece, text
        for node in path:
            node[1] = len(nodes)
        self.nodes = np.array(nodes, "int32").reshape(-1, 3)
        spaces = np.flatnonzero(self.nodes[:, 0] == self.symbols[" "])
        self.space = int(spaces[0]) if len(spaces) else len(nodes)

    @property
    def fields(self) -> dict[str, Any]:
        """Its fields of an `lm_model`."""
        return {
            "num_symbols": len(self.symbols),
            "num_nodes": len(self.nodes),
            "space": self.space,
            "symbols": np.array(list(map(ord, self.symbols)), "uint32"),
            "nodes": self.nodes,
        }
