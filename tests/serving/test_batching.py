import asyncio
import threading

import pytest

from kerasptb.serving.batching import Batcher
from kerasptb.serving.errors import BusyError


def test_what_waits_goes_together_and_every_caller_gets_its_own():
    calls, release = [], threading.Event()

    def double(items):
        calls.append(list(items))
        assert release.wait(10)
        return [2 * item for item in items]

    async def run():
        batcher = Batcher(double, max_batch=4)
        first = asyncio.create_task(batcher.submit(0))
        while not calls:
            await asyncio.sleep(0.001)
        others = [asyncio.create_task(batcher.submit(i)) for i in range(1, 8)]
        await asyncio.sleep(0)
        release.set()
        results = await asyncio.gather(first, *others)
        batcher.close()
        return results

    assert asyncio.run(run()) == [0, 2, 4, 6, 8, 10, 12, 14]
    assert calls == [[0], [1, 2, 3, 4], [5, 6, 7]]


def test_an_exception_of_the_function_reaches_every_caller_and_the_next_call_goes_on():
    def fail_once(items, failed=[]):  # noqa: B006
        if not failed:
            failed.append(True)
            raise OSError("broken")
        return items

    async def run():
        batcher = Batcher(fail_once, 8)
        results = await asyncio.gather(batcher.submit(1), batcher.submit(2), return_exceptions=True)
        results.append(await batcher.submit(3))
        batcher.close()
        return results

    first, second, third = asyncio.run(run())
    assert isinstance(first, OSError)
    assert isinstance(second, OSError)
    assert third == 3


def held_batcher():
    """A `Batcher` in which two may wait, an event that its first call has begun, and one that lets calls end."""
    started, release = threading.Event(), threading.Event()

    def wait(items):
        started.set()
        assert release.wait(10)
        return items

    return Batcher(wait, max_batch=1, max_waiting=2), started, release


def test_too_many_waiting_is_refused_at_once():
    async def run():
        batcher, started, release = held_batcher()
        accepted = [asyncio.create_task(batcher.submit(0))]
        while not started.is_set():
            await asyncio.sleep(0.001)
        accepted += [asyncio.create_task(batcher.submit(i)) for i in (1, 2)]
        await asyncio.sleep(0)
        with pytest.raises(BusyError, match="2 requests are waiting"):
            await batcher.submit(3)
        release.set()
        results = await asyncio.gather(*accepted)
        batcher.close()
        return results

    assert asyncio.run(run()) == [0, 1, 2]


def test_those_who_gave_up_leave_their_places_to_others():
    async def run():
        batcher, started, release = held_batcher()
        first = asyncio.create_task(batcher.submit(0))
        while not started.is_set():
            await asyncio.sleep(0.001)
        for _ in range(2):
            waiting = [asyncio.create_task(batcher.submit(i)) for i in (1, 2)]
            await asyncio.sleep(0)
            for task in waiting:
                task.cancel()
            await asyncio.sleep(0)
        last = asyncio.create_task(batcher.submit(3))
        await asyncio.sleep(0)
        release.set()
        results = await asyncio.gather(first, last)
        batcher.close()
        return results

    assert asyncio.run(run()) == [0, 3]


def test_a_caller_that_gives_up_does_not_stop_the_others():
    release = threading.Event()

    async def run():
        batcher = Batcher(lambda items: [release.wait(10) and item for item in items], 8)
        gone, stays = (asyncio.create_task(batcher.submit(i)) for i in (1, 2))
        await asyncio.sleep(0.01)
        gone.cancel()
        release.set()
        result = await stays
        batcher.close()
        return result

    assert asyncio.run(run()) == 2


def test_nothing_is_done_for_a_caller_that_has_given_up_before_its_turn():
    calls, begun, go_on = [], threading.Event(), threading.Event()

    def function(items):
        calls.append(list(items))
        begun.set()
        assert go_on.wait(10)
        return items

    async def run():
        batcher = Batcher(function, 8)
        tasks = [asyncio.create_task(batcher.submit(0))]
        await asyncio.to_thread(begun.wait, 10)
        tasks += [asyncio.create_task(batcher.submit(i)) for i in (1, 2)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.sleep(0)
        go_on.set()
        await asyncio.wait(tasks)
        batcher.close()

    asyncio.run(run())
    assert calls == [[0], [2]]


def test_what_waits_is_given_up_when_the_server_stops():
    begun, go_on = threading.Event(), threading.Event()

    def function(items):
        begun.set()
        go_on.wait(10)
        return items

    async def main():
        batcher = Batcher(function, 1)
        first = asyncio.create_task(batcher.submit(1))
        gone, second = (asyncio.create_task(batcher.submit(2)) for _ in range(2))
        await asyncio.to_thread(begun.wait, 10)
        gone.cancel()  # it still stands among those that wait
        await asyncio.sleep(0)
        batcher.stop()
        with pytest.raises(BusyError, match="stopping"):
            await second
        with pytest.raises(BusyError, match="stopping"):
            await batcher.submit(3)
        go_on.set()
        assert await first == 1
        batcher.close()

    asyncio.run(main())
