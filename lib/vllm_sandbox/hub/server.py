"""Run the stand-in: in an event loop that is already there, or as a program of its own."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from vllm_sandbox.hub.access import Account
from vllm_sandbox.hub.app import HubApp, HubSettings
from vllm_sandbox.hub.faults import FaultBoard

_SHUTDOWN_SECONDS = 1.0


@dataclass(frozen=True)
class RunningHub:
    """A hub that listens. ``faults`` can be changed directly or over HTTP."""

    host: str
    port: int
    faults: FaultBoard

    @property
    def endpoint(self) -> str:
        """The value for HF_ENDPOINT."""
        return f"http://{self.host}:{self.port}"


@asynccontextmanager
async def running_hub(
    host: str,
    port: int,
    cache_dir: Path,
    *,
    tokens: dict[str, Account] | None = None,
    bytes_per_second: float | None = None,
    page_size: int = 1000,
) -> AsyncIterator[RunningHub]:
    """Serve the hub until the block ends. Port 0 takes a free one.

    Raises:
        OSError: the address can't be listened on.
    """
    settings = HubSettings(cache_dir, bytes_per_second=bytes_per_second, page_size=page_size)
    if tokens is not None:
        settings.tokens.clear()
        settings.tokens.update(tokens)
    hub = HubApp(settings)
    runner = web.AppRunner(
        hub.application(), access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS, handler_cancellation=True
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        yield RunningHub(host, int(runner.addresses[0][1]), hub.faults)
    finally:
        await runner.cleanup()


async def serve(host: str, port: int, cache_dir: Path, bytes_per_second: float | None) -> None:
    """Serve until SIGINT or SIGTERM; print the address once listening."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with running_hub(host, port, cache_dir, bytes_per_second=bytes_per_second) as hub:
        print(f"listening on {hub.endpoint}", flush=True)
        await stop.wait()
