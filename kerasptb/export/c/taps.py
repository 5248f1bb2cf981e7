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
from kerasptb.native import core
from kerasptb.reading.pieces import pieces_of

# In the order of LM_AZERTY and so on.
LAYOUTS = ("azerty", "portuguese", "qwerty", "qwertz")
_MOST_KEYS = 40


def fields_of_taps(tokenizer: Tokenizer, lexicon: Lexicon | None) -> dict[str, Any]:
    """Returns the fields of an `lm_model` that typing with errors needs."""
    trie = trie_of(pieces_of(tokenizer))
    known = core.Texts(map(fold_case, lexicon.words if lexicon else ())).hashes
    return {
        **trie.fields,
        "num_known": len(known),
        "known": known,
        "rates": np.array(dataclasses.astuple(Errors()), "float32"),
        **_keys(trie),
    }


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
