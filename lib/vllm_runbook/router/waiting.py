"""Requests for a model of which no server is ready: held, so many and so long, while somebody wakes one.

Whether one is ready is asked of the server itself (``GET /health`` through its Service). A watch of EndpointSlices
would tell it sooner, and need rights in the cluster in the path of every request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from vllm_runbook.router.answers import Refusal
from vllm_runbook.router.metrics import Metrics
from vllm_runbook.router.routes import Backend

#: Seconds between two questions for /health, while somebody waits.
INTERVAL_S = 0.5
#: At most, in Retry-After: nobody shall sleep through the moment.
_RETRY_S = 30


class Room:
    """Memory for the bodies of held requests, of all models together."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.used = 0

    def takes(self, size: int) -> bool:
        """Whether so many bytes more are allowed."""
        return self.used + size <= self.limit_bytes


class Waiting:
    """Those who wait for one backend.

    Args:
        healthy: whether a server there is ready now.
        limit: held requests at most.
    """

    def __init__(
        self, backend: Backend, limit: int, room: Room, metrics: Metrics, healthy: Callable[[Backend], Awaitable[bool]]
    ) -> None:
        self._backend, self._limit, self._room, self._healthy = backend, limit, room, healthy
        self._pending, self._held = metrics.pending.labels(backend.name), metrics.held.labels(backend.name)
        self._probe: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()
        self.count = 0

    @contextmanager
    def place(self, size: int) -> Iterator[None]:
        """A place in the queue for a request of so many bytes.

        Raises:
            Refusal: 503, it is full.
        """
        if self.count >= self._limit:
            raise self._refusal(f"{self.count} requests wait for it already")
        if not self._room.takes(size):
            raise self._refusal(f"held requests fill {self._room.limit_bytes // 2**20} MiB already")
        began = asyncio.get_running_loop().time()
        self.count += 1
        self._room.used += size
        self._pending.set(self.count)
        try:
            yield
        finally:
            self.count -= 1
            self._room.used -= size
            self._pending.set(self.count)
            self._held.observe(asyncio.get_running_loop().time() - began)

    async def ready(self, deadline: float) -> None:
        """Wait until a server is ready; ``deadline`` by the event loop's clock.

        Raises:
            Refusal: 503, none is in time, or this router ends.
        """
        if self._probe is None or self._probe.done():
            self._probe = asyncio.create_task(self._ask())
        closing = asyncio.create_task(self._closing.wait())
        try:
            left = max(0.0, deadline - asyncio.get_running_loop().time())
            done, _ = await asyncio.wait({self._probe, closing}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        finally:
            closing.cancel()
        if self._closing.is_set():
            raise self._refusal("this router ends; another one takes requests", retry=1)
        if not done:
            raise self._refusal(f"none was within {self._backend.hold_seconds:g} s")

    def close(self) -> None:
        """Let everybody go: this router ends, and its peers can hold them as well."""
        self._closing.set()
        if self._probe is not None:
            self._probe.cancel()

    async def _ask(self) -> None:
        """One question at a time, however many wait; ends when nobody does any more."""
        while self.count:
            await asyncio.sleep(INTERVAL_S)
            if await self._healthy(self._backend):
                return

    def _refusal(self, why: str, retry: int = 0) -> Refusal:
        message = f"No server of {self._backend.name} is ready: {why}. Please try again later."
        seconds = retry or min(_RETRY_S, max(1, round(self._backend.hold_seconds / 4)))
        return Refusal(503, "ServiceUnavailableError", message, "model", seconds)
