"""Host memory that the server would use; reported to the node agent, which enforces the container's limit.

The numbers are assumptions of the simulation: processes of 1.5 to 2 GiB each as seen on real
servers, and per request what a busy API server holds for it (connection, text, token ids, queued
output, Python objects), set high enough that an unbounded queue ends as it does in production.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Callable

GIB = 2**30
BASE_BYTES = int(2.5 * GIB)
BYTES_PER_GPU = 1 * GIB
BYTES_PER_REQUEST = int(os.environ.get("SANDBOX_VLLM_BYTES_PER_REQUEST", 24 * 2**20))
BYTES_PER_TOKEN = 64
_PERIOD_S = 0.1
_NOTABLE = 2**20


def used(gpus: int, requests: int, tokens: int) -> int:
    """Bytes with so many requests in the server, holding so many tokens in all."""
    return BASE_BYTES + gpus * BYTES_PER_GPU + requests * BYTES_PER_REQUEST + tokens * BYTES_PER_TOKEN


class Reporter:
    """Tells the node agent, at most ten times a second and only what changed notably."""

    def __init__(self, measure: Callable[[], int]) -> None:
        self._measure = measure
        self._last = 0

    async def run(self) -> None:
        """Report until cancelled."""
        await report(self._news, _PERIOD_S)

    def _news(self) -> dict[str, object] | None:
        now = self._measure()
        if abs(now - self._last) < _NOTABLE:
            return None
        self._last = now
        return {"memory_bytes": now}


async def report(news: Callable[[], dict[str, object] | None], period_s: float) -> None:
    """Tell the node agent the news, if any; without an agent (outside the sandbox) there is nobody to tell."""
    address, token = os.environ.get("SANDBOX_AGENT_SOCKET"), os.environ.get("SANDBOX_CONTAINER_TOKEN")
    if not address or not token:
        return
    _, writer = await asyncio.open_unix_connection(address)
    with contextlib.suppress(ConnectionError):
        while True:
            if (message := news()) is not None:
                writer.write(json.dumps({"token": token, **message}).encode() + b"\n")
                await writer.drain()
            await asyncio.sleep(period_s)
