"""The tables of typing with errors: a trie of tokens, the words that are known, and keys."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from kerasptb.data import Tokenizer
from kerasptb.data.lexicon import Lexicon
from kerasptb.data.tokenizers.prefixes import fold_case
from kerasptb.keyboard.channel import Errors, Keyboard
from kerasptb.keyboard.tapped import trie_of
from kerasptb.keyboard.taps import Trie
from kerasptb.reading.pieces import pieces_of

# In the order of LM_AZERTY and so on.
LAYOUTS = ("azerty", "portuguese", "qwerty", "qwertz")
_MOST_KEYS = 40


def fields_of_taps(tokenizer: Tokenizer, lexicon: Lexicon | None) -> dict[str, Any]:
    """Returns the fields of `lm_model` from `num_symbols` on: four sizes, and from `symbols` up to the matrices."""
    trie = trie_of(pieces_of(tokenizer))
    known = np.unique([_hash(fold_case(word)) for word in lexicon.words] if lexicon else []).astype("uint32")
    return {
        "num_symbols": len(trie.symbols),
        "num_nodes": len(trie.letters),
        "space": trie.space,
        "num_known": len(known),
        "symbols": np.array(list(map(ord, trie.symbols)), "uint32"),
        "nodes": np.stack([trie.letters, trie.ends, trie.pieces], axis=1).astype("int32"),
        "known": known,
        "rates": np.array(dataclasses.astuple(Errors()), "float32"),
        **_keys(trie),
    }


def _hash(text: str) -> int:
    """Returns the low bits of `lm_hash`."""
    value = 14695981039346656037
    for byte in text.encode():
        value = (value ^ byte) * 1099511628211 % (1 << 64)
    return value % (1 << 32)


def _keys(trie: Trie) -> dict[str, np.ndarray]:
    """Returns what is known of the keys of the layouts."""
    layouts, symbols = [Keyboard(name) for name in LAYOUTS], list(trie.symbols)
    keys = np.zeros((len(layouts), _MOST_KEYS), "uint32")
    centres, shapes = np.zeros((*keys.shape, 2), "float32"), np.zeros((len(layouts), 2), "float32")
    hits = np.zeros((*keys.shape, _MOST_KEYS), "float32")
    key_of, is_plain = np.zeros((len(layouts), len(symbols)), "int8"), np.zeros((len(layouts), len(symbols)), "uint8")
    for i, keyboard in enumerate(layouts):
        number = len(keyboard.layout.keys)
        keys[i, :number] = list(map(ord, keyboard.layout.keys))
        centres[i, :number], shapes[i] = keyboard.layout.centres, (keyboard.layout.height, keyboard.width)
        hits[i, :number, :number] = keyboard.of_keys
        key_of[i], _, plain, _ = keyboard.table_of(symbols)
        is_plain[i] = plain < 1
    return {
        "keys": keys,
        "key_shapes": shapes,
        "key_centres": centres,
        "key_hits": hits,
        "key_of": key_of,
        "is_plain": is_plain,
    }
