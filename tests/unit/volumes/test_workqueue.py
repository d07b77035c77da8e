"""One run at a time per key, repeated after failures."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from vllm_sandbox.kube import ApiError
from vllm_sandbox.volumes import workqueue
from vllm_sandbox.volumes.workqueue import Retry, Workqueue

pytestmark = pytest.mark.asyncio


def opened(sync: Callable[[str], Awaitable[None]]) -> Workqueue:
    queue = Workqueue(sync)
    queue.open()
    return queue


async def test_keys_wait_until_it_opens() -> None:
    seen: asyncio.Queue[str] = asyncio.Queue()
    queue = Workqueue(seen.put)
    queue.add("early")
    await asyncio.sleep(0)
    assert seen.empty()
    queue.open()
    assert await asyncio.wait_for(seen.get(), 5) == "early"
    await queue.close()


async def test_key_added_during_its_run_is_run_once_more() -> None:
    started, go_on = asyncio.Semaphore(0), asyncio.Semaphore(0)
    running = most = runs = 0

    async def sync(_: str) -> None:
        nonlocal running, most, runs
        running, runs = running + 1, runs + 1
        most = max(most, running)
        started.release()
        await go_on.acquire()
        running -= 1

    queue = opened(sync)
    queue.add("key")
    await asyncio.wait_for(started.acquire(), 5)
    for _ in range(3):
        queue.add("key")
    go_on.release()
    await asyncio.wait_for(started.acquire(), 5)
    go_on.release()
    queue.add("other")
    await asyncio.wait_for(started.acquire(), 5)
    await queue.close()
    assert (runs, most) == (3, 1)


@pytest.mark.parametrize("error", [Retry(), ApiError(500, "InternalError", "etcd is away"), RuntimeError("a bug")])
async def test_failed_run_is_repeated(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workqueue, "FIRST_RETRY_S", 0.01)
    attempts: list[str] = []
    done = asyncio.Event()

    async def sync(key: str) -> None:
        attempts.append(key)
        if len(attempts) < 4:
            raise error
        done.set()

    queue = opened(sync)
    queue.add("key")
    await asyncio.wait_for(done.wait(), 5)
    await queue.close()
    assert attempts == ["key"] * 4


async def test_new_event_ends_the_back_off() -> None:
    attempts: asyncio.Queue[None] = asyncio.Queue()

    async def sync(_: str) -> None:
        attempts.put_nowait(None)
        raise Retry

    queue = opened(sync)
    loop = asyncio.get_running_loop()
    queue.add("key")
    await asyncio.wait_for(attempts.get(), 5)
    began = loop.time()
    queue.add("key")
    await asyncio.wait_for(attempts.get(), 5)
    assert loop.time() - began < workqueue.FIRST_RETRY_S / 2
    await queue.close()


async def test_back_off_doubles_up_to_the_scaled_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    delays: list[float] = []
    enough = asyncio.Event()

    class Instant:
        """A timeout that is over at once, and remembers how long it would have been."""

        def __init__(self, delay: float) -> None:
            delays.append(delay)

        async def __aenter__(self) -> None:
            if len(delays) == 7:
                enough.set()
            await asyncio.sleep(0)
            raise TimeoutError

        async def __aexit__(self, *_: object) -> None:
            """Never entered."""

    async def sync(_: str) -> None:
        raise Retry

    monkeypatch.setattr(asyncio, "timeout", Instant)
    queue = Workqueue(sync, time_scale=30)
    queue.open()
    queue.add("key")
    await enough.wait()
    await queue.close()
    assert delays[:7] == [1, 2, 4, 8, 10, 10, 10]


async def test_close_ends_running_work() -> None:
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def sync(_: str) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    queue = opened(sync)
    queue.add("key")
    await asyncio.wait_for(started.wait(), 5)
    await queue.close()
    assert cancelled.is_set()
