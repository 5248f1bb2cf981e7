"""Texts to suggestions: contexts remembered between keystrokes, model calls shared between requests."""

import dataclasses
import functools
import itertools

import numpy as np

from kerasptb.data import EOS, UNK
from kerasptb.data.typed_text import fold_case, read_part, read_words
from kerasptb.data.word_cache import MAX_CHARACTERS, WINDOW, TypedWords, WordCache
from kerasptb.data.word_search import NextWords, pieces_of, search_words, typed_words
from kerasptb.generation import Suggestion
from kerasptb.serving.batching import Batcher
from kerasptb.serving.errors import BadRequestError
from kerasptb.serving.memory import SHORT_TOKENS, Recent, SharedRead, key_of, keys_of, spans

# The number of contexts remembered. Each holds the probability of every token, so there are fewer with larger
# vocabularies. With 10,000 tokens, and half as many read, they take about 44 MB.
_MAX_CONTEXTS = 512
_MIN_CONTEXTS = 64
_MAX_PROBABILITIES = 2**24
_MAX_BATCH = 32
# So many beginnings of words, of one request each, are read together.
_MAX_SEARCHES = 8
# A long text takes a second or a few, so few may wait.
_MAX_LONG_WAITING = 32
# Longer texts are cut into tokens in another thread. The ids of so many texts are remembered.
_SHORT_CHARACTERS = 2000
_MAX_TEXTS = 256
# The words of parts of a text are remembered, because the same parts come again with every keystroke. These are the
# limits of the number of parts, and of the characters in a part.
_MAX_PARTS = 50_000
_MAX_PART_CHARACTERS = 40


class SuggestionEngine:
    """Answers for texts as they are typed. All methods must be called in one event loop.

    The model's context after a text is remembered under a digest of its ids, up to its last whole word. So a keystroke
    within a word does not read the text again. A new word costs a step for each of its tokens, which is batched with
    all requests that wait at the time. Clients are not distinguished: a text that was read before, by any client, is
    answered from memory, and another text gets the same answer a little later.

    Args:
        predictor: a `Predictor`.
        max_contexts: number of texts to remember; `None` for 512, or fewer with more than 32,000 tokens.
    """

    def __init__(self, predictor, max_contexts=None):
        if max_contexts is None:
            within_memory = _MAX_PROBABILITIES // len(predictor.tokenizer)
            max_contexts = min(max(within_memory, _MIN_CONTEXTS), _MAX_CONTEXTS)
        self.predictor = predictor
        self._pieces = pieces_of(predictor.tokenizer)
        self._contexts = Recent(max_contexts)  # by the keys of texts
        self._following = Recent(max_contexts)  # by a context, and the token that a search for words read after it
        self._pending = {}
        self._short = Batcher(predictor.extend, _MAX_BATCH)
        self._searches = Batcher(self._read_beginnings, _MAX_SEARCHES)
        self._resume = Batcher(predictor.resume, _MAX_BATCH)
        self._long = Batcher(_one_by_one(predictor.extend_long), 1, _MAX_LONG_WAITING)
        self._scores = Batcher(_one_by_one(predictor.score), 1, _MAX_LONG_WAITING)
        self._texts = Batcher(_one_by_one(lambda function, text: function(text)), 1, _MAX_LONG_WAITING)
        self._written = Batcher(_one_by_one(self._after), 1)
        self._encode = functools.lru_cache(_MAX_TEXTS)(predictor.encode)
        self._read_part = functools.partial(read_part, predictor.tokenizer)
        self._remembered_part = functools.lru_cache(_MAX_PARTS)(self._read_part)

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
        return await self._context_of(await self._in_thread_if_long(self._encode, text))

    async def extend(self, context, text, begins=False):
        """Returns the `Context` after more text, without remembering it.

        Args:
            context: a `Context`, or the float32 [S] state of one.
            text: the text that follows; its first and last words are whole.
            begins: whether the text begins a paragraph.

        Raises:
            BadRequestError: if a word is unknown to a vocabulary without `<unk>`.
            BusyError: if too many requests are waiting.
        """
        encode = self._encode if begins else self.predictor.encode_further
        ids = await self._in_thread_if_long(encode, text.rstrip(" "))
        if isinstance(context, np.ndarray):
            context = await self._resume.submit(context)
        for start, end in spans(0, len(ids)):
            context = await self._read_piece(context, ids[start:end])
        return context

    async def score(self, text):
        """Reads a text and returns the log probability of each of its tokens.

        Args:
            text: any text. Spaces at its end are left out.

        Returns:
            units: list of `Unit`.
            log_probabilities: list with a float for each token of the units; None for the first one if nothing comes
                before it.

        Raises:
            BadRequestError: if a word is unknown to a vocabulary without `<unk>`.
            BusyError: if too many requests are waiting.
        """
        units = await self._texts.submit((self.predictor.units, text.rstrip(" ")))
        if not units:
            return units, []
        ids = np.concatenate([unit.tokens for unit in units])
        context = await self._context_of(ids)
        values = context.token_log_probabilities
        if values is None:
            values = await self._scores.submit((ids,))
            self._contexts.put(key_of(ids), dataclasses.replace(context, token_log_probabilities=values))
        # Without <eos> in the vocabulary nothing comes before the first word.
        return units, [None] * (len(ids) - len(values)) + values.tolist()

    async def split(self, text, complete, learn):
        """Splits a text into the finished part and the beginning of the word that is being typed.

        Args:
            text: any text.
            complete: whether the last word is unfinished unless something else than a letter follows it.
            learn: whether to return the words of the finished part, too.

        Returns:
            written: the finished part.
            prefix: the rest, with the space before it, see `Tokenizer.split_typed`; "" if it is no more than a space.
            cache: the words of the finished part, see `remember`; `None` unless `learn`.

        Raises:
            BusyError: if too many requests are waiting.
        """
        unfinished = text.rsplit(None, 1)[-1] if complete and text and not text[-1].isspace() else ""
        whole = len(text) - len(unfinished)
        cache = await self.remember(text[:whole]) if learn else None
        written, prefix = text.rstrip(" "), ""
        if complete:
            written, prefix = self.predictor.tokenizer.split_typed(text, getattr(cache, "folded", ()))
        if learn and len(written) > whole:
            cache = await self.remember(written[whole:], cache)
        return written, prefix if prefix.strip() else "", cache

    async def remember(self, text, cache=None):
        """Returns the words typed last after more text: a `WordCache`, or `TypedWords` of a model of pieces.

        Args:
            text: any text whose last word is whole.
            cache: that before it; `None` at the beginning, before which a line has ended.

        Raises:
            BusyError: if too many requests are waiting.
        """
        if cache is None and not self._pieces.are_words:
            cache = TypedWords()
        elif cache is None:
            eos_id = self.predictor.tokenizer.eos_id
            cache = WordCache(self.predictor.tokenizer, [] if eos_id is None else [eos_id])
        return await self._written.submit((text, cache))

    async def rank(self, context, prefix, k, cache=None, begins=False):
        """Returns the likeliest next words that begin with a prefix.

        Args:
            context: a `Context`.
            prefix: beginning of a word, with the space before it; "" for any.
            k: number of suggestions; fewer if there are fewer words.
            cache: the words typed before, which become more probable, see `remember`; `None` for none.
            begins: see `begins_paragraph`.

        Returns:
            suggestions: list of `Suggestion`, the most probable first. The probabilities are not renormalised over the
                words that are left.
            total: probability that the next word begins with the prefix.

        Raises:
            BadRequestError: if nothing was read yet and the model does not know how a text begins.
            BusyError: if too many requests are waiting.
        """
        if context.next_log_probabilities is None:
            raise BadRequestError("Expected a text with at least one word: the model's vocabulary has no <eos>.")
        if cache is not None and self._pieces.are_words:
            return self._rank_learned(np.exp(context.next_log_probabilities, dtype="float64"), prefix, k, cache)
        log_probabilities = lambda context: context.next_log_probabilities  # noqa: E731
        search = search_words(self._pieces, context, log_probabilities, prefix, k, (UNK,), begins)
        try:
            beginnings = next(search)
            while True:
                beginnings = search.send(await self._after_beginnings(beginnings))
        except StopIteration as end:
            found = end.value if cache is None else _with_typed(end.value, cache, prefix, k)
        return [Suggestion(word, probability) for word, probability in found.words], found.prefix_probability

    def _rank_learned(self, probabilities, prefix, k, cache):
        ids = self._pieces.fitting(prefix)
        ids = np.concatenate(
            [np.setdiff1d(ids, self._pieces.ids_of((UNK,))), cache.beginning(prefix.removeprefix(" "))]
        )
        probabilities = cache.probabilities(probabilities)
        values = probabilities[ids]
        total = min(float(values.sum()), 1.0)
        if k < len(ids):
            best = values >= np.partition(values, -k)[-k]  # more than k where words tie
            ids, values = ids[best], values[best]
        # Ties go to the lower id, the more frequent word.
        order = np.lexsort((ids, -values))[:k]
        return [Suggestion(cache.word(ids[i]), float(values[i])) for i in order], total

    def _batchers(self):
        return self._short, self._searches, self._resume, self._long, self._scores, self._texts, self._written

    async def _in_thread_if_long(self, function, text):
        return function(text) if len(text) <= _SHORT_CHARACTERS else await self._texts.submit((function, text))

    async def _after_beginnings(self, beginnings):
        """Returns the contexts after `Beginning`s, most of which the keystroke before may have read."""
        keys = [(each.context, each.piece) for each in beginnings]
        known = list(map(self._following.get, keys))
        if unknown := [each for each, context in zip(beginnings, known, strict=True) if context is None]:
            read = iter(await self._searches.submit(unknown))
            for i, key in enumerate(keys):
                if known[i] is None:
                    known[i] = next(read)
                    self._following.put(key, known[i])
        return known

    def _read_beginnings(self, searches):
        """Returns the contexts after the `Beginning`s of some searches, a list of each."""
        contexts = iter(
            self.predictor.extend([(each.context, [each.piece]) for beginnings in searches for each in beginnings])
        )
        return [list(itertools.islice(contexts, len(beginnings))) for beginnings in searches]

    def _after(self, text, cache):
        parts = text.rsplit(None, WINDOW + 1)  # one more, so that the first of them does not seem to begin a line
        last = text[len(parts[0]) :] if len(parts) > WINDOW + 1 else text
        if not self._pieces.are_words:
            return cache.extended(word for word in typed_words(last) if len(word) <= MAX_CHARACTERS)
        return cache.extended(read_words(cache.vocabulary, last, self._words_of))

    def _words_of(self, part):
        return (self._remembered_part if len(part) <= _MAX_PART_CHARACTERS else self._read_part)(part)

    async def _context_of(self, ids):
        if not len(ids):
            return self.predictor.initial
        key = key_of(ids)
        if (context := self._contexts.get(key)) is not None:
            return context
        if key not in self._pending:
            self._pending[key] = SharedRead(self._read(ids), lambda: self._pending.pop(key))
        return await self._pending[key].wait()

    async def _read(self, ids):
        keys = keys_of(ids)
        done, context = await self._nearest(keys, len(ids))
        while done < len(ids) and (after := self._following.get((context, int(ids[done])))) is not None:
            done, context = done + 1, after
        for start, end in spans(done, len(ids)):
            context = await self._read_piece(context, ids[start:end])
            self._contexts.put(keys[end], context)
        self._contexts.put(keys[len(ids)], context)
        return context

    async def _nearest(self, keys, size):
        """Returns the length of the longest beginning of a text that was or is being read, and the context after it."""
        for end, key in reversed(keys.items()):
            if end == size:
                continue  # the text itself
            if (context := self._contexts.get(key)) is not None:
                return end, context
            if key in self._pending:
                return end, await self._pending[key].wait()
        return 0, self.predictor.initial

    async def _read_piece(self, context, ids):
        return await (self._short if len(ids) <= SHORT_TOKENS else self._long).submit((context, ids))


def _with_typed(found, cache, prefix, k):
    """Returns `NextWords` with those of `TypedWords`. What the search did not find has no probability of the model."""
    of_model, shares = cache.shares()
    begun = fold_case(prefix.removeprefix(" "))
    shares = {
        word: share
        for word, share in shares.items()
        if (not prefix if word == EOS else fold_case(word).startswith(begun))  # no prefix is typed of a line's end
    }
    words = {word: of_model * probability for word, probability in found.words}
    words |= {word: words.get(word, 0.0) + share for word, share in shares.items()}
    total = of_model * found.prefix_probability + sum(shares.values())
    return NextWords(sorted(words.items(), key=lambda pair: -pair[1])[:k], min(total, 1.0))


def _one_by_one(function):
    """Returns a function of a list of argument tuples, for a `Batcher` with batches of one item."""
    return lambda jobs: [function(*job) for job in jobs]
