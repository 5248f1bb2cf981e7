"""Texts to suggestions: contexts remembered between keystrokes, model calls shared between requests."""

import asyncio
import collections
import dataclasses
import functools
import hashlib
import re

import numpy as np

from kerasptb.data.typed_text import PrefixIndex, read_part, read_words
from kerasptb.data.word_cache import WINDOW, WordCache
from kerasptb.generation import Suggestion
from kerasptb.serving.batching import Batcher
from kerasptb.serving.errors import BadRequestError
from kerasptb.serving.predictor import MAX_CACHED, MAX_CACHED_LENGTH

_WORD_START = re.compile(r"(?<=\s)\S")
# The number of contexts remembered. Each holds the probability of every word, so there are fewer with larger
# vocabularies. With 10,000 words, and half as many typed, they take about 44 MB.
_MAX_CONTEXTS = 512
_MIN_CONTEXTS = 64
_MAX_PROBABILITIES = 2**24
# Texts of up to so many words and characters are read word by word, in batches with other requests. Longer ones are
# read in pieces, in another thread.
_SHORT_WORDS = 8
_SHORT_CHARACTERS = 128
_PIECE_WORDS = 64
_MAX_BATCH = 32
# A long text takes a second or a few, so few may wait.
_MAX_LONG_WAITING = 32


class SuggestionEngine:
    """Answers for texts as they are typed. All methods must be called in one event loop.

    The model's context after a text is remembered under a digest of that text, up to its last whole word. So a
    keystroke within a word needs no model call. A new word costs one step, which is batched with all requests that
    wait at the time. Clients are not distinguished: a text that was read before, by any client, is answered from
    memory, and another text gets the same answer a little later.

    Args:
        predictor: a `Predictor`.
        max_contexts: number of texts to remember; `None` for 512, or fewer with more than 32,000 words.
    """

    def __init__(self, predictor, max_contexts=None):
        if max_contexts is None:
            within_memory = _MAX_PROBABILITIES // len(predictor.vocabulary)
            max_contexts = min(max(within_memory, _MIN_CONTEXTS), _MAX_CONTEXTS)
        self.predictor = predictor
        self.index = PrefixIndex(predictor.vocabulary)
        self._max_contexts = max_contexts
        self._contexts = collections.OrderedDict()
        self._pending = {}
        self._short = Batcher(predictor.extend, _MAX_BATCH)
        self._resume = Batcher(predictor.resume, _MAX_BATCH)
        self._long = Batcher(_one_by_one(predictor.extend_long), 1, _MAX_LONG_WAITING)
        self._scores = Batcher(_one_by_one(predictor.score), 1, _MAX_LONG_WAITING)
        self._units = Batcher(_one_by_one(predictor.read), 1, _MAX_LONG_WAITING)
        self._written = Batcher(_one_by_one(self._after), 1)
        self._read_part = functools.partial(read_part, predictor.vocabulary)
        self._remembered_part = functools.lru_cache(MAX_CACHED)(self._read_part)

    def stop(self):
        """Refuses all waiting requests: they get a `BusyError` at once."""
        for batcher in self._batchers():
            batcher.stop()

    def close(self):
        """Ends the threads."""
        for batcher in self._batchers():
            batcher.close()

    async def context(self, text):
        """Returns the `Context` after a text.

        Args:
            text: any text whose last word is whole.

        Raises:
            BadRequestError: if a word is unknown to a vocabulary without `<unk>`.
            BusyError: if too many requests are waiting.
        """
        key = _cache_key(text)
        if key is None:
            return self.predictor.initial
        if (context := self._lookup(key)) is not None:
            return context
        if key not in self._pending:
            self._pending[key] = _SharedRead(self._read(text), lambda: self._pending.pop(key))
        return await self._pending[key].wait()

    async def extend(self, context, text):
        """Returns the `Context` after more text, without remembering it.

        Args:
            context: a `Context`, or the float32 [S] state of one.
            text: the text that follows; its first and last words are whole.

        Raises:
            BadRequestError: if a word is unknown to a vocabulary without `<unk>`.
            BusyError: if too many requests are waiting.
        """
        if isinstance(context, np.ndarray):
            context = await self._resume.submit(context)
        for start, end in _pieces(text, [match.start() for match in _WORD_START.finditer(text)], 0):
            context = await self._batcher_for(text[start:end]).submit((context, text[start:end]))
        return context

    async def score(self, text):
        """Reads a text and returns the log probability of each of its words.

        Args:
            text: any text.

        Returns:
            units: list of `Unit`.
            log_probabilities: list with a float for each token of the units; None for the first one if nothing comes
                before it.

        Raises:
            BadRequestError: if a word is unknown to a vocabulary without `<unk>`.
            BusyError: if too many requests are waiting.
        """
        units = await self._units.submit((text,))
        num_tokens = sum(len(unit.tokens) for unit in units)
        if not num_tokens:
            return units, []
        context = await self.context(text)
        values = context.word_log_probabilities
        if values is None:
            values = await self._scores.submit((text,))
            key = _cache_key(text)
            if key is not None:
                self._store(key, dataclasses.replace(context, word_log_probabilities=values))
        # Without <eos> in the vocabulary nothing comes before the first word.
        return units, [None] * (num_tokens - len(values)) + values.tolist()

    async def split(self, text, complete, learn):
        """Splits a text into the finished part and the beginning of the word that is being typed.

        Args:
            text: any text.
            complete: whether the last word is unfinished unless white space follows it.
            learn: whether to return the words of the finished part, too.

        Returns:
            written: the finished part.
            prefix: the rest, see `PrefixIndex.split`.
            cache: the `WordCache` after the finished part; `None` unless `learn`.

        Raises:
            BusyError: if too many requests are waiting.
        """
        unfinished = text.rsplit(None, 1)[-1] if complete and text and not text[-1].isspace() else ""
        whole = len(text) - len(unfinished)
        cache = await self.remember(text[:whole]) if learn else None
        written, prefix = self.index.split(text, cache.folded if cache else ()) if complete else (text, "")
        if learn and len(written) > whole:
            cache = await self.remember(written[whole:], cache)
        return written, prefix, cache

    async def remember(self, text, cache=None):
        """Returns the `WordCache` after more text.

        Args:
            text: any text whose last word is whole.
            cache: the `WordCache` before it; `None` at the beginning, before which a line has ended.

        Raises:
            BusyError: if too many requests are waiting.
        """
        if cache is None:
            eos_id = self.predictor.vocabulary.eos_id
            cache = WordCache(self.predictor.vocabulary, [] if eos_id is None else [eos_id])
        return await self._written.submit((text, cache))

    def rank(self, context, prefix, k, cache=None):
        """Returns the likeliest next words that begin with a prefix.

        Args:
            context: a `Context`.
            prefix: beginning of a word, or "".
            k: number of suggestions; fewer if there are fewer words.
            cache: a `WordCache` of the words typed before, which makes them more probable; `None` for none.

        Returns:
            suggestions: list of `Suggestion`, the most probable first. The probabilities are not renormalised over the
                words that are left.
            total: probability that the next word begins with the prefix.

        Raises:
            BadRequestError: if nothing was read yet and the model does not know how a text begins.
        """
        if context.next_log_probabilities is None:
            raise BadRequestError("Expected a text with at least one word: the model's vocabulary has no <eos>.")
        probabilities, ids = np.exp(context.next_log_probabilities, dtype="float64"), self.index.ids(prefix)
        word = self.predictor.vocabulary.words.__getitem__
        if cache is not None:
            probabilities, word = cache.probabilities(probabilities), cache.word
            ids = np.concatenate([ids, cache.beginning(prefix)])
        values = probabilities[ids]
        total = min(float(values.sum()), 1.0)
        if k < len(ids):
            best = values >= np.partition(values, -k)[-k]  # more than k where words tie
            ids, values = ids[best], values[best]
        # Ties go to the lower id, the more frequent word.
        order = np.lexsort((ids, -values))[:k]
        return [Suggestion(word(ids[i]), float(values[i])) for i in order], total

    def _batchers(self):
        return self._short, self._resume, self._long, self._scores, self._units, self._written

    def _after(self, text, cache):
        parts = text.rsplit(None, WINDOW + 1)  # one more, so that the first of them does not seem to begin a line
        last = text[len(parts[0]) :] if len(parts) > WINDOW + 1 else text
        return cache.extended(read_words(cache.vocabulary, last, self._words_of))

    def _words_of(self, part):
        return (self._remembered_part if len(part) <= MAX_CACHED_LENGTH else self._read_part)(part)

    async def _read(self, text):
        starts = [match.start() for match in _WORD_START.finditer(text)]
        done, context = await self._nearest(text, starts)
        for start, end in _pieces(text, starts, done):
            context = await self._batcher_for(text[start:end]).submit((context, text[start:end]))
            if (key := _cache_key(text[:end])) is not None:
                self._store(key, context)
        return context

    async def _nearest(self, text, starts):
        """Returns the end of the longest beginning of a text that was or is being read, and the context after it."""
        # Any of the last words may be the end of a remembered text. Further back only the ends of pieces are looked up.
        for i in reversed(range(len(starts))):
            if len(starts) - i > _PIECE_WORDS and (i + 1) % _PIECE_WORDS:
                continue
            key = _cache_key(text[: starts[i]])
            if key is None:
                break
            if (context := self._lookup(key)) is not None:
                return starts[i], context
            if key in self._pending:
                return starts[i], await self._pending[key].wait()
        return 0, self.predictor.initial

    def _batcher_for(self, piece):
        short = len(piece) <= _SHORT_CHARACTERS and len(piece.split(None, _SHORT_WORDS)) <= _SHORT_WORDS
        return self._short if short else self._long

    def _lookup(self, key):
        context = self._contexts.get(key)
        if context is not None:
            self._contexts.move_to_end(key)
        return context

    def _store(self, key, context):
        self._contexts[key] = context
        self._contexts.move_to_end(key)
        while len(self._contexts) > self._max_contexts:
            self._contexts.popitem(last=False)


class _SharedRead:
    """The reading of a text, which is cancelled when nobody waits for it any more.

    Args:
        reading: the coroutine that reads the text.
        forget: called once, when the coroutine has ended or nobody waits for it any more.
    """

    def __init__(self, reading, forget):
        self._task = asyncio.create_task(reading)
        self._task.add_done_callback(lambda _: self._finish())
        self._forget = forget
        self._waiting = 0

    async def wait(self):
        """Returns the `Context` after the text."""
        self._waiting += 1
        try:
            # Others may wait for the same task, so a caller who gives up must not cancel it.
            return await asyncio.shield(self._task)
        finally:
            self._waiting -= 1
            if not self._waiting and not self._task.done():
                self._task.cancel()
                self._finish()  # at once, so that a new request does not wait for the cancelled task

    def _finish(self):
        forget, self._forget = self._forget, None
        if forget is not None:
            forget()


def _one_by_one(function):
    """Returns a function of a list of argument tuples, for a `Batcher` with batches of one item."""
    return lambda jobs: [function(*job) for job in jobs]


def _cache_key(text):
    """Returns the key under which a text is remembered; None for the empty text."""
    # Spaces at the end do not change the context; a line's end does.
    text = text.rstrip(" ")
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest() if text else None


def _pieces(text, starts, done):
    """Yields the start and end of each piece in which the rest of a text is read.

    Args:
        text: the text.
        starts: the offsets at which its words begin, without a word at offset 0.
        done: the offset up to which it has been read; 0 or one of `starts`.
    """
    left = [(i, start) for i, start in enumerate(starts) if start > done]
    if len(left) >= _SHORT_WORDS:
        # Pieces end at the same words whatever was read before, so that texts with the same beginning share them.
        for i, start in left:
            if (i + 1) % _PIECE_WORDS == 0:
                yield done, start
                done = start
    if done < len(text):
        yield done, len(text)
