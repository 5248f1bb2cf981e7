"""Texts to suggestions: what a request asks, by the readers that all requests share."""

import functools

import numpy as np

from kerasptb.reading import Suggestion, Writer
from kerasptb.serving.batching import Batcher
from kerasptb.serving.shared_reader import BatchedReader, RememberingReader

# Longer texts are cut into tokens in another thread. The ids of so many texts are remembered.
_SHORT_CHARACTERS = 2000
_MAX_TEXTS = 256
_MAX_LONG_WAITING = 32


class SuggestionEngine:
    """Answers for texts as they are typed. All methods must be called in one event loop.

    A keystroke within a word does not read the text again. A new word costs a step for each of its tokens, which is
    batched with all requests that wait at the time.

    Args:
        reader: a `NetworkReader`.
        max_contexts: as of `RememberingReader`.
    """

    def __init__(self, reader, max_contexts=None):
        self.tokenizer, self.state_size, self.fingerprint = reader.tokenizer, reader.state_size, reader.fingerprint
        self._writer, self._reader = Writer(reader.tokenizer), BatchedReader(reader)
        self._remembering = RememberingReader(self._reader, max_contexts)
        self._texts = Batcher(_one_by_one, 1, _MAX_LONG_WAITING)
        self._memories = Batcher(_one_by_one, 1)
        self._encode = functools.lru_cache(_MAX_TEXTS)(self._ids_of)

    @property
    def initial(self):
        """The `Context` before any text."""
        return self._reader.initial

    def stop(self):
        """Refuses all waiting requests: they get a `BusyError` at once."""
        for batcher in self._batchers():
            batcher.stop()

    def close(self):
        """Ends the threads."""
        for batcher in self._batchers():
            batcher.close()

    async def context(self, text):
        """Returns the `Context` after a text whose last word is whole.

        Raises:
            UnknownWordError: if a word is unknown to a vocabulary without `<unk>`.
            BusyError: if too many requests are waiting.
        """
        return await self._remembering.context(await self._in_thread_if_long(self._encode, text))

    async def extend(self, context, text, begins=False):
        """Returns the `Context` after more text, without remembering it.

        Args:
            context: a `Context`, or the float32 [S] state of one.
            text: the text that follows; its first and last words are whole.
            begins: whether the text begins a paragraph.

        Raises:
            UnknownWordError: if a word is unknown to a vocabulary without `<unk>`.
            BusyError: if too many requests are waiting.
        """
        encode = self._encode if begins else self.tokenizer.encode_further
        ids = await self._in_thread_if_long(encode, text.rstrip(" "))
        if isinstance(context, np.ndarray):
            context = await self._reader.resume(context)
        return await self._remembering.read_on(context, ids)

    async def score(self, text):
        """Reads a text and returns the log probability of each of its tokens.

        Args:
            text: any text. Spaces at its end are left out.

        Returns:
            units: list of `Unit`.
            log_probabilities: list with a float for each token of the units; None for the first one if nothing comes
                before it.

        Raises:
            UnknownWordError: if a word is unknown to a vocabulary without `<unk>`.
            BusyError: if too many requests are waiting.
        """
        units = await self._texts.submit((self.tokenizer.units_typed, text.rstrip(" ")))
        if not units:
            return units, []
        values = await self._remembering.score(np.concatenate([unit.tokens for unit in units]))
        return units, [None if np.isnan(value) else value for value in values.tolist()]

    async def split(self, text, complete, learn):
        """Splits a text into the finished part and the beginning of the word that is being typed.

        Args:
            text: any text.
            complete: whether the last word is unfinished unless something else than a letter follows it.
            learn: whether to return the words of the finished part, too.

        Returns:
            typed: the text as `Typed`.
            memory: the `Memory` of the finished part; `None` unless `learn`.

        Raises:
            BusyError: if too many requests are waiting.
        """
        unfinished = text.rsplit(None, 1)[-1] if complete and text and not text[-1].isspace() else ""
        whole = len(text) - len(unfinished)
        memory = await self.remember(text[:whole]) if learn else None
        typed = self._writer.split(text, complete, memory)
        if learn and len(typed.whole) > whole:
            memory = await self.remember(typed.whole[whole:], memory)
        return typed, memory

    def typed_after(self, whole, prefix):
        """Returns what is typed where the beginning of a word follows a text, as `Typed`."""
        begins = whole.endswith("\n")
        spaced = self.tokenizer.first + prefix if begins and prefix else self.tokenizer.typed_after(prefix)
        return self._writer.typed(whole, spaced)

    async def remember(self, text, memory=None):
        """Returns the `Memory` after more text whose last word is whole; `None` at the beginning.

        Raises:
            BusyError: if too many requests are waiting.
        """
        return await self._memories.submit((self._writer.remember, text, memory))

    async def keys(self, context, typed, k, memory=None):
        """Returns the k words on the keys.

        Args:
            context: the `Context` after the whole words of what is typed.
            typed: the text as `Typed`.
            k: number of suggestions; fewer if there are fewer words.
            memory: the words typed before, which become more probable; `None` for none.

        Returns:
            suggestions: list of `Suggestion`, the most probable first. The probabilities are not renormalised over the
                words that are left.
            total: probability that the next word begins with the prefix.

        Raises:
            DataError: if nothing was read yet and the model does not know how a text begins.
            BusyError: if too many requests are waiting.
        """
        search = self._writer.keys(context, typed.prefix, k, typed.begins, memory)
        try:
            beginnings = next(search)
            while True:
                beginnings = search.send(await self._remembering.after(beginnings))
        except StopIteration as end:
            found = end.value
        return [Suggestion(word, probability) for word, probability in found.words], found.prefix_probability

    def _batchers(self):
        return *self._reader.batchers, self._texts, self._memories

    def _ids_of(self, text):
        """Returns the ids of a text without what comes before it in `initial`."""
        if self.tokenizer.eos_id is None:
            return self.tokenizer.encode_further(text)
        return self.tokenizer.encode_typed(text)[1:]

    async def _in_thread_if_long(self, function, text):
        return function(text) if len(text) <= _SHORT_CHARACTERS else await self._texts.submit((function, text))


def _one_by_one(jobs):
    """Calls functions with their arguments, for a `Batcher`."""
    return [function(*given) for function, *given in jobs]
