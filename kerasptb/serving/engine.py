"""Texts to suggestions: what a request asks, by the readers that all requests share."""

import functools
import math
from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeAlias, TypeVar

import numpy as np

from kerasptb.data import DataError
from kerasptb.data.tokenizers.tokenizer import Ending, Unit
from kerasptb.keyboard import Keyboard, Memory, Writer
from kerasptb.keyboard.channel import Taps
from kerasptb.keyboard.tapped import MARGIN, Readings
from kerasptb.reading import Reader
from kerasptb.reading.context import Beginning, Context
from kerasptb.reading.search import NextWords, search_side_by_side
from kerasptb.reading.typed import Typed
from kerasptb.serving.batching import Batcher
from kerasptb.serving.shared_reader import BatchedReader, RememberingReader

# Longer texts are cut into tokens in another thread. The ids of so many texts are remembered.
_SHORT_CHARACTERS = 2000
_MAX_TEXTS = 256
_MAX_LONG_WAITING = 32
# Tokens that a request may have scored. Letters that no piece writes are two to four bytes each, which are tokens.
MAX_SCORED = 20_000
Result = TypeVar("Result")
Touches: TypeAlias = Sequence[tuple[float, float]] | None


class SuggestionEngine:
    """Answers for texts as they are typed. All methods must be called in one event loop.

    A keystroke within a word does not read the text again. A new word costs a step for each of its tokens, which is
    batched with all requests that wait at the time. Methods raise a `BusyError` if too many requests are waiting, and a
    `DataError` if a word is unknown to a vocabulary without `<unk>`, or nothing was read that a word could follow.
    """

    def __init__(self, reader: Reader) -> None:
        self.tokenizer, self.state_size, self.fingerprint = reader.tokenizer, reader.state_size, reader.fingerprint
        self.text_format, self._lexicon = reader.text_format, reader.lexicon
        self._writer, self._reader = Writer(reader.tokenizer), BatchedReader(reader)
        self._remembering = RememberingReader(self._reader)
        self._texts = Batcher(_one_by_one, 1, _MAX_LONG_WAITING)
        self._memories = Batcher(_one_by_one, 1)
        self._encode = functools.lru_cache(_MAX_TEXTS)(self._ids_of)

    @property
    def initial(self) -> Context:
        """The `Context` before any text."""
        return self._reader.initial

    def stop(self) -> None:
        """Refuses all waiting requests: they get a `BusyError` at once."""
        for batcher in self._batchers():
            batcher.stop()

    def close(self) -> None:
        """Ends the threads."""
        for batcher in self._batchers():
            batcher.close()

    async def context(self, text: str) -> Context:
        """Returns the `Context` after a text whose last word is whole."""
        return await self._remembering.context(await self._in_thread_if_long(self._encode, text))

    async def extend(self, context: Context | np.ndarray, text: str, before: Ending = Ending.LINE) -> Context:
        """Returns the `Context` after one, or its state, and more text of whole words, without remembering it.

        `before` is how the text before ends.
        """
        encode = (
            self._encode if before == Ending.LINE else functools.partial(self.tokenizer.encode_further, before=before)
        )
        ids = await self._in_thread_if_long(encode, text.rstrip(" "))
        if isinstance(context, np.ndarray):
            context = await self._reader.resume(context)
        return await self._remembering.read_on(context, ids)

    async def score(self, text: str) -> tuple[list[Unit], list[float | None]]:
        """Returns the `Unit`s of a text, and for each of their tokens its log probability.

        That is None for the first one if nothing comes before it. Spaces at the text's end are left out. Raises a
        `DataError` for more than `MAX_SCORED` tokens.
        """
        units = await self._texts.submit((self.text_format.units_typed, text.rstrip(" ")))
        if not units:
            return units, []
        num_tokens = sum(len(unit.tokens) for unit in units)
        if num_tokens > MAX_SCORED:
            raise DataError(
                f"Expected a text of at most {MAX_SCORED:,} {self.tokenizer.kind} to score. Received: {num_tokens:,}. "
                "Score it in parts."
            )
        values = await self._remembering.score(np.concatenate([unit.tokens for unit in units]))
        return units, [None if np.isnan(value) else value for value in values.tolist()]

    async def split(self, text: str, complete: bool, learn: bool) -> tuple[Typed, Memory | None]:
        """Returns a text as `Typed`, and the `Memory` of its whole words, `None` unless it is to learn.

        `complete` says whether its last word is unfinished, unless something else than a letter follows it.
        """
        text = self.text_format.signs.read(text)
        unfinished = text.rsplit(None, 1)[-1] if complete and text and not text[-1].isspace() else ""
        whole = len(text) - len(unfinished)
        memory = await self.remember(text[:whole]) if learn else None
        typed = self._writer.split(text, complete, memory)
        if learn and len(typed.whole) > whole:
            memory = await self.remember(typed.whole[whole:], memory)
        return typed, memory

    def typed_after(self, whole: str, prefix: str) -> Typed:
        """Returns what is typed where the beginning of a word follows a text, as `Typed`."""
        begins = whole.endswith("\n")
        spaced = self.tokenizer.first + prefix if begins and prefix else self.tokenizer.typed_after(prefix, whole)
        return self._writer.typed(whole, spaced)

    async def remember(self, text: str, memory: Memory | None = None) -> Memory:
        """Returns the `Memory` after more text whose last word is whole; `None` is that at the beginning."""
        return await self._memories.submit((self._writer.remember, text, memory))

    async def keys(self, context: Context, typed: Typed, k: int, memory: Memory | None = None) -> NextWords:
        """Returns the `NextWords` on k keys after the `Context` of whole words, for a text as `Typed`."""
        return await self._run(self._writer.keys(context, typed.prefix, k, typed.begins, memory))

    async def readings(
        self, context: Context, typed: Typed, touches: Touches, channel: Keyboard, k: int, memory: Memory | None = None
    ) -> list[Readings]:
        """Returns what the unfinished word of a text as `Typed` may be, typed with errors: two `Readings`.

        The first is of words that may go on, k of them, the second if nothing follows: the likeliest.

        Args:
            context: the `Context` of the whole words before.
            typed: the `Typed`.
            touches: where the keys were hit, [n, 2]; `None` if that is not known.
            channel: the `Channel`.
            k: number of words.
            memory: the words typed before; `None` for none.

        Raises a `DataError` unless each letter has a touch, if there are touches.
        """
        taps = Taps.at(typed.prefix.strip(), touches)
        how = {"begins": typed.begins, "memory": memory, "lexicon": self._lexicon}
        going_on = self._writer.readings(context, taps, channel, k, whole=False, **how)
        ended = self._writer.readings(context, taps, channel, 1, whole=True, least_odds=math.exp(MARGIN), **how)
        return await self._run(search_side_by_side(going_on, ended))

    async def _run(self, search: Generator[list[Beginning], list[Context], Result]) -> Result:
        try:
            beginnings = next(search)
            while True:
                beginnings = search.send(await self._remembering.after(beginnings))
        except StopIteration as end:
            return end.value

    def _batchers(self) -> Sequence[Batcher[Any, Any]]:
        return *self._reader.batchers, self._texts, self._memories

    def _ids_of(self, text: str) -> np.ndarray:
        """Returns the ids of a text without what comes before it in `initial`."""
        if self.tokenizer.eos_id is None:
            return self.tokenizer.encode_further(text)
        return self.tokenizer.encode_typed(text)[1:]

    async def _in_thread_if_long(self, function: Callable[[str], np.ndarray], text: str) -> np.ndarray:
        return function(text) if len(text) <= _SHORT_CHARACTERS else await self._texts.submit((function, text))


def _one_by_one(jobs: Sequence[Sequence[Any]]) -> list[Any]:
    """Calls functions with their arguments, for a `Batcher`."""
    return [function(*given) for function, *given in jobs]
