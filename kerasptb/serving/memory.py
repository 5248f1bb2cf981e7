"""What was read of texts: remembered under digests of their beginnings, and shared by those who wait for it."""

import asyncio
import collections
import hashlib
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Generic, TypeVar

import numpy as np

from kerasptb.reading.context import Context

# Texts of up to so many tokens are read token by token, in batches with other requests. Longer ones are read in pieces,
# in another thread.
SHORT_TOKENS = 8
_PIECE_TOKENS = 64
Key = TypeVar("Key")
Value = TypeVar("Value")


class Recent(Generic[Key, Value]):
    """What was used last, up to a size."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._values: collections.OrderedDict[Key, Value] = collections.OrderedDict()

    def get(self, key: Key) -> Value | None:
        """Returns the value of a key, or None."""
        if (value := self._values.get(key)) is not None:
            self._values.move_to_end(key)
        return value

    def put(self, key: Key, value: Value) -> None:
        """Remembers a value."""
        self._values[key] = value
        self._values.move_to_end(key)
        if len(self._values) > self.size:
            self._values.popitem(last=False)

    def __len__(self) -> int:
        return len(self._values)


class SharedRead:
    """The reading of a text, a coroutine, which is cancelled when nobody waits for it any more.

    `forget` is called once, when it has ended or nobody waits for it any more.
    """

    def __init__(self, reading: Coroutine[Any, Any, Context], forget: Callable[[], Any]) -> None:
        self._task = asyncio.create_task(reading)
        self._task.add_done_callback(lambda _: self._finish())
        self._forget: Callable[[], Any] | None = forget
        self._waiting = 0

    async def wait(self) -> Context:
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

    def _finish(self) -> None:
        forget, self._forget = self._forget, None
        if forget is not None:
            forget()


def key_of(ids: np.ndarray) -> bytes:
    """Returns the key under which the context after a text is remembered."""
    return hashlib.blake2b(_bytes(ids), digest_size=16).digest()


def keys_of(ids: np.ndarray) -> dict[int, bytes]:
    """Returns a dict from the lengths of beginnings of a text, the shortest first, to their keys.

    Any of the last tokens may be the end of a remembered text. Further back only the ends of pieces are.
    """
    size, hashed = len(ids), hashlib.blake2b(digest_size=16)
    recent = max(size - _PIECE_TOKENS, 0)
    keys, done = {}, 0
    for end in [*range(_PIECE_TOKENS, recent + 1, _PIECE_TOKENS), *range(recent + 1, size + 1)]:
        hashed.update(_bytes(ids[done:end]))
        keys[end], done = hashed.copy().digest(), end
    return keys


def _bytes(ids: np.ndarray) -> bytes:
    return ids.astype("<i4").tobytes()


def spans(start: int, size: int) -> Iterator[tuple[int, int]]:
    """Yields the start and end of each piece in which the tokens of a text from `start` on are read."""
    if size - start > SHORT_TOKENS:
        # Pieces end at the same tokens whatever was read before, so that texts with the same beginning share them.
        for end in range((start // _PIECE_TOKENS + 1) * _PIECE_TOKENS, size, _PIECE_TOKENS):
            yield start, end
            start = end
    if start < size:
        yield start, size
