"""What a person types, and what is on the keys meanwhile: the server and the keyboard's evaluation ask here.

docs/keyboard.md defines it. The keys show the likeliest words that begin as typed, after the text before them; none of
`<eos>`, `<unk>` and what else names no word. With a memory of the words typed before, theirs are mixed in.
"""

from __future__ import annotations

import functools
import heapq
from collections.abc import Collection
from typing import Any

import numpy as np

from kerasptb.data import Tokenizer
from kerasptb.keyboard.channel import Channel, Taps
from kerasptb.keyboard.memory import WINDOW, Memory
from kerasptb.keyboard.tapped import Readings, search_taps, trie_of
from kerasptb.reading.context import Context
from kerasptb.reading.pieces import pieces_of
from kerasptb.reading.search import NextWords, Searching
from kerasptb.reading.typed import Typed, split
from kerasptb.reading.words import most_words, search_words


class Writer:
    """Splits what is typed, remembers its words, and finds what is on the keys.

    Args:
        tokenizer: a `Tokenizer`.
        exclude: words that are never on a key; `None` for those that nobody can type.
    """

    def __init__(self, tokenizer: Tokenizer, exclude: Collection[str] | None = None) -> None:
        self.tokenizer, self.pieces = tokenizer, pieces_of(tokenizer)
        self.exclude = self.pieces.unshown if exclude is None else frozenset(exclude)

    @property
    def most_words(self) -> int:
        """How many words can be on keys, or are looked for at most if they are of pieces."""
        return most_words(self.pieces, self.exclude)

    def split(self, text: str, complete: bool = True, memory: Memory | None = None) -> Typed:
        """Returns a text as `Typed`.

        Args:
            text: any text.
            complete: whether its last word is unfinished, unless something else than a letter follows it.
            memory: the words before, any of which may be the one that is being typed; `None` for none.
        """
        return split(self.tokenizer, text, complete, memory)

    def typed(self, whole: str, prefix: str) -> Typed:
        """Returns a text whose whole words and the beginning after them are known as `Typed`."""
        return Typed.after(self.tokenizer, whole, prefix)

    def remember(self, text: str, memory: Memory | None = None) -> Memory:
        """Returns the `Memory` after more text, whose last word is whole; before the first a line has ended."""
        parts = text.rsplit(None, WINDOW + 1)  # one more, so that the first of them does not seem to begin a line
        last = text[len(parts[0]) :] if len(parts) > WINDOW + 1 else text
        return (Memory() if memory is None else memory).extended(self.tokenizer.words_typed(last))

    def can_show(self, forms: Collection[str], memory: Memory | None) -> bool:
        """Whether keys can ever show a word, in one of its forms: words of pieces always, others if they are known."""
        remembered = () if memory is None else memory
        return not self.pieces.are_words or any(form in self.tokenizer or form in remembered for form in forms)

    def keys(
        self,
        context: Context,
        prefix: str,
        k: int,
        begins: bool = False,
        memory: Memory | None = None,
        at_least: float = 0.0,
    ) -> Searching[NextWords]:
        """Finds the k words on the keys; a generator as `search_words`, whose caller reads.

        Args:
            context: the `Context` after the whole words.
            prefix: see `Typed`, like `begins`.
            k: number of words.
            begins: whether the word comes without a space.
            memory: the words typed before; `None` for none.
            at_least: the least probability of a word that is looked for.

        Raises:
            DataError: if nothing was read yet and the model does not know how a text begins.
        """
        search = functools.partial(search_words, self.pieces, context, prefix, k, self.exclude, begins, at_least)
        if memory is None:
            return (yield from search())
        ids = memory.ids(self.tokenizer.token_to_id if self.pieces.are_words else {})
        found = yield from search(left_out=ids[ids >= 0], beside=memory.hashes)
        return self._mixed(found, context, prefix, k, memory, ids)

    def readings(
        self, context: Context, taps: Taps, channel: Channel, k: int, whole: bool, **options: Any
    ) -> Searching[Readings]:
        """Finds what taps may stand for: `search_taps`, of the words that may be on keys.

        With a letter that the model has in no piece, as one of characters has none but ASCII's, taps are no slips:
        then it finds the words that begin as they stand.

        Args:
            context: the `Context` after the whole words before, like the rest as in `search_taps`.
            taps: the `Taps` of the word.
            channel: the `Channel`.
            k: number of words.
            whole: whether they are all taps of the word.
            options: further arguments of `search_taps`.
        """
        search = search_taps(self.pieces, context, taps, channel, k, whole, self.exclude, **options)
        if whole or taps.text.isascii() or channel.hits(trie_of(self.pieces), taps, whole).may_be_words:
            return search
        return self._as_they_stand(search, context, taps, k, **options)

    def _as_they_stand(
        self,
        search: Searching[Readings],
        context: Context,
        taps: Taps,
        k: int,
        begins: bool = False,
        memory: Memory | None = None,
        **_: Any,
    ) -> Searching[Readings]:
        """Finds words that begin with taps; if there are none, what another search finds."""
        found = yield from self.keys(context, ("" if begins else " ") + taps.text, k, begins, memory)
        if not found.words:
            return (yield from search)
        return Readings(found.words, taps.text, dict(found.words).get(taps.text, 0.0), found.prefix_probability)

    def _mixed(
        self, found: NextWords, context: Context, prefix: str, k: int, memory: Memory, ids: np.ndarray
    ) -> NextWords:
        """Returns what was found, mixed with a memory. A word that was not found has no probability of the model."""
        of_model, shares = memory.shares
        places = memory.beginning(prefix.removeprefix(" "))
        for place in memory.places_of(self.exclude):  # few, for which NumPy's functions of sets are slow
            places = places[places != place]
        model = self._of_model(found, context, memory, places, ids)
        mixed = of_model * model + shares[places]
        best = np.argsort(-mixed, kind="stable")[:k]
        words = [(word, of_model * probability) for word, probability in found.words if word not in memory]
        words += [(memory.lexicon[places[i]], min(float(mixed[i]), 1.0)) for i in best]
        beside = model.sum() if self.pieces.are_words else 0.0  # which the search has left out
        total = of_model * (found.prefix_probability + beside) + shares[places].sum()
        return NextWords(heapq.nlargest(k, words, key=lambda pair: pair[1]), min(float(total), 1.0))

    def _of_model(
        self, found: NextWords, context: Context, memory: Memory, places: np.ndarray, ids: np.ndarray
    ) -> np.ndarray:
        """Returns the model's probabilities of the words at some places of a memory, float [M].

        Words of pieces have what was found. Words that are tokens have their own, and those that the model cannot
        write share that of `<unk>`.
        """
        if not self.pieces.are_words:
            known = dict(found.words)
            return np.array([known.get(memory.lexicon[place], 0.0) for place in places])
        logs, unk_id = context.known(), self.tokenizer.unk_id
        values = np.where(ids[places] >= 0, np.exp(logs[ids[places]]), 0.0)
        if unk_id is not None:
            new = np.where(ids < 0, memory.counts, 0)
            values += np.exp(float(logs[unk_id])) / max(new.sum() + np.count_nonzero(new), 1) * new[places]
        return values
