"""Readers that many requests share: one joins what they ask at the same time, one remembers what was read.

Both wrap a reader and know no model. All methods must be called in one event loop.
"""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from kerasptb.reading import Reader
from kerasptb.reading.context import Beginning, Context
from kerasptb.serving.batching import Batcher
from kerasptb.serving.memory import SHORT_TOKENS, Recent, SharedRead, key_of, keys_of, spans

# The number of texts whose contexts are remembered. Each holds the probability of every token, so there are fewer with
# larger vocabularies. With 10,000 tokens, and half as many read, they take about 44 MB.
_MAX_CONTEXTS = 512
_MIN_CONTEXTS = 64
_MAX_PROBABILITIES = 2**24
_MAX_BATCH = 32
# So many beginnings of words, of one request each, are read together.
_MAX_SEARCHES = 8
# A long text takes a second or a few, so few may wait.
_MAX_LONG_WAITING = 32


class BatchedReader:
    """Has a `Reader` read what arrives while it is busy together, in its next call."""

    def __init__(self, reader: Reader) -> None:
        self.tokenizer, self.initial = reader.tokenizer, reader.begin()
        self._reader = reader
        self._short = Batcher(reader.read_together, _MAX_BATCH)
        self._searches = Batcher(self._after_all, _MAX_SEARCHES)
        self._resume = Batcher(reader.resume, _MAX_BATCH)
        self._long: Batcher[tuple[Context, np.ndarray], Context] = Batcher(
            lambda texts: [reader.read(*text) for text in texts], 1, _MAX_LONG_WAITING
        )
        self._scores: Batcher[Iterator[np.ndarray], np.ndarray] = Batcher(
            lambda scores: list(map(next, scores)), 1, _MAX_LONG_WAITING
        )
        self.batchers = self._short, self._searches, self._resume, self._long, self._scores

    async def read(self, context: Context, ids: np.ndarray) -> Context:
        """Returns the `Context` after a few tokens, or a piece of a long text."""
        return await (self._short if len(ids) <= SHORT_TOKENS else self._long).submit((context, ids))

    async def after(self, beginnings: Sequence[Beginning]) -> list[Context]:
        """Returns the `Context`s after `Beginning`s of words."""
        return await self._searches.submit(beginnings)

    async def resume(self, state: np.ndarray) -> Context:
        """Returns the `Context` of a state."""
        return await self._resume.submit(state)

    async def score(self, context: Context, ids: np.ndarray) -> np.ndarray:
        """Returns the log probabilities of tokens after a `Context`, float32 [T]; long texts take turns."""
        pieces = self._reader.score_in_pieces(context, ids)
        scores: list[np.ndarray] = []
        while sum(map(len, scores)) < len(ids):
            scores.append(await self._scores.submit(pieces))
        return np.concatenate(scores)

    def _after_all(self, searches: Sequence[Sequence[Beginning]]) -> list[list[Context]]:
        contexts = iter(self._reader.after([each for beginnings in searches for each in beginnings]))
        return [list(itertools.islice(contexts, len(beginnings))) for beginnings in searches]


class RememberingReader:
    """Remembers the contexts after texts and after beginnings of words, as a `BatchedReader` reads them.

    The context after a text is remembered under a digest of its ids, so many of them: 512, or fewer with more than
    32,000 tokens. Clients are not distinguished: a text that was read before, by any client, is answered from
    memory, and another text gets the same answer a little later.
    """

    def __init__(self, reader: BatchedReader) -> None:
        size = min(max(_MAX_PROBABILITIES // len(reader.tokenizer), _MIN_CONTEXTS), _MAX_CONTEXTS)
        self._reader = reader
        self._contexts: Recent[bytes, Context] = Recent(size)  # by the keys of texts
        self._scores: Recent[bytes, np.ndarray] = Recent(size)  # likewise
        # By a context, and the token that a search for words read after it.
        self._following: Recent[tuple[Context, int], Context] = Recent(size)
        self._pending: dict[bytes, SharedRead] = {}

    async def context(self, ids: np.ndarray) -> Context:
        """Returns the `Context` after a text of ids, int32 [T]."""
        if not len(ids):
            return self._reader.initial
        key = key_of(ids)
        if (context := self._contexts.get(key)) is not None:
            return context
        if key not in self._pending:
            self._pending[key] = SharedRead(self._read(ids), lambda: self._pending.pop(key))
        return await self._pending[key].wait()

    async def read_on(self, context: Context, ids: np.ndarray) -> Context:
        """Returns the `Context` after more tokens, which is not remembered."""
        for start, end in spans(0, len(ids)):
            context = await self._reader.read(context, ids[start:end])
        return context

    async def after(self, beginnings: Sequence[Beginning]) -> list[Context]:
        """Returns the contexts after `Beginning`s, most of which the keystroke before may have read."""
        asked = {(each.context, each.piece): each for each in beginnings}
        known = {key: context for key in asked if (context := self._following.get(key)) is not None}
        if unknown := [key for key in asked if key not in known]:
            for key, context in zip(unknown, await self._reader.after([asked[key] for key in unknown]), strict=True):
                known[key] = context
                self._following.put(key, context)
        return [known[each.context, each.piece] for each in beginnings]

    async def score(self, ids: np.ndarray) -> np.ndarray:
        """Returns the log probability of each token of a text, float32 [T]; only what is new in it is scored."""
        keys = keys_of(ids)
        known = ((end, found) for end, key in reversed(keys.items()) if (found := self._scores.get(key)) is not None)
        done, scores = next(known, (0, np.zeros(0, "float32")))
        if done < len(ids):
            context = await self.context(ids[:done])
            scores = np.append(scores, await self._score_after(context, ids[done:]))
            for end in range(max(len(ids) - SHORT_TOKENS, 0) + 1, len(ids) + 1):  # the last word may change
                self._scores.put(keys[end], scores[:end])
        return scores

    async def _score_after(self, context: Context, ids: np.ndarray) -> np.ndarray:
        if len(ids) == 1 and context.log_probabilities is not None:
            return context.log_probabilities[ids]
        return await self._reader.score(context, ids)

    async def _read(self, ids: np.ndarray) -> Context:
        keys = keys_of(ids)
        done, context = await self._nearest(keys, len(ids))
        while done < len(ids) and (after := self._following.get((context, int(ids[done])))) is not None:
            done, context = done + 1, after
        for start, end in spans(done, len(ids)):
            context = await self._reader.read(context, ids[start:end])
            self._contexts.put(keys[end], context)
        self._contexts.put(keys[len(ids)], context)
        return context

    async def _nearest(self, keys: dict[int, bytes], size: int) -> tuple[int, Context]:
        """Returns the length of the longest beginning of a text that was or is being read, and the context after it."""
        for end, key in reversed(keys.items()):
            if end == size:
                continue  # the text itself
            if (context := self._contexts.get(key)) is not None:
                return end, context
            if key in self._pending:
                return end, await self._pending[key].wait()
        return 0, self._reader.initial
