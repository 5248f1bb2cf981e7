"""Batching of requests: those that arrive while the model is busy go into its next call together."""

import asyncio
import collections
import concurrent.futures
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from kerasptb.serving.errors import BusyError

_STOPPING = "The server is stopping. Try again later."
Item = TypeVar("Item")
Result = TypeVar("Result")


class Batcher(Generic[Item, Result]):
    """Runs a function of a list in a thread of its own; each call takes all items that wait, at most `max_batch`.

    There is no timer: a single request starts at once, and the items that arrive during a call are the next call's
    batch. So a batch waits at most one call, and its size grows with the load. All methods must be called in one event
    loop.
    """

    def __init__(
        self, function: Callable[[list[Item]], Sequence[Result]], max_batch: int, max_waiting: int = 1024
    ) -> None:
        self._function = function
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._waiting: collections.deque[tuple[Item, asyncio.Future[Result]]] = collections.deque()
        self._task: asyncio.Task[None] | None = None
        self._executor: concurrent.futures.ThreadPoolExecutor | None = None
        self._stopping = False

    async def submit(self, item: Item) -> Result:
        """Returns the function's result for an item; raises BusyError if too many wait, or the server stops."""
        if self._stopping:
            raise BusyError(_STOPPING)
        if len(self._waiting) >= self._max_waiting:  # those whose caller has given up do not count
            self._waiting = collections.deque(pair for pair in self._waiting if not pair[1].done())
        if len(self._waiting) >= self._max_waiting:
            raise BusyError(f"{self._max_waiting} requests are waiting already. Try again later.")
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        return await future

    def stop(self) -> None:
        """Refuses waiting and new items with a `BusyError`; a call that has begun continues to its end."""
        self._stopping = True
        for _, future in self._waiting:
            if not future.done():
                future.set_exception(BusyError(_STOPPING))
        self._waiting.clear()

    def close(self) -> None:
        """Ends the thread after its current call; another `submit` starts a new thread."""
        if self._executor is not None:
            self._executor.shutdown(wait=False)
            self._executor = None

    async def _run(self) -> None:
        try:
            while batch := self._next_batch():
                await self._call(batch)
        finally:
            self._task = None

    def _next_batch(self) -> list[tuple[Item, asyncio.Future[Result]]]:
        """Takes the items of the next call from the queue, and drops those whose caller has given up."""
        batch: list[tuple[Item, asyncio.Future[Result]]] = []
        while self._waiting and len(batch) < self._max_batch:
            item, future = self._waiting.popleft()
            if not future.done():
                batch.append((item, future))
        return batch

    async def _call(self, batch: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        """Calls the function; what it raises is for all whose items it was given."""
        if self._executor is None:
            self._executor = concurrent.futures.ThreadPoolExecutor(1)
        items = [item for item, _ in batch]
        try:
            results = await asyncio.get_running_loop().run_in_executor(self._executor, self._function, items)
        except Exception as error:
            for _, future in batch:
                if not future.done():  # the caller may have given up
                    future.set_exception(error)
            return
        for (_, future), result in zip(batch, results, strict=True):
            if not future.done():
                future.set_result(result)
