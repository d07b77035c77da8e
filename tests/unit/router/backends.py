"""Servers that do as a test says, and a router in front of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web

from vllm_runbook.router.app import Router, Settings
from vllm_runbook.router.routes import Backend, Card, Routes


@dataclass
class Server:
    """A server of one model; ``pieces`` of its streamed answer come when ``go`` is released, once for each."""

    pieces: tuple[str, ...] = ("one", "two")
    go: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1000))
    breaks: bool = False
    seen: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0
    _runner: web.AppRunner | None = None

    async def start(self, host: str = "127.0.0.1") -> None:
        app = web.Application()
        app.router.add_get("/health", lambda _: _empty())
        app.router.add_post("/v1/{rest:.*}", self._answer)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, self.port)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]

    async def stop(self) -> None:
        if self._runner:
            await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.seen.append((body["model"], dict(request.headers)))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Request-Id": "7"})
        await response.prepare(request)
        try:
            for piece in self.pieces:
                await self.go.acquire()
                await response.write(f"data: {piece}\n\n".encode())
        except asyncio.CancelledError:
            self.gone.set()
            raise
        if self.breaks and request.transport:
            request.transport.abort()
        return response


async def _empty() -> web.Response:
    return web.Response()


def free_port() -> int:
    """A port of 127.0.0.1 at which nobody listens."""
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def routes(
    ports: dict[str, int], *, hold: float = 20, queue: int = 4, adapters: dict[str, str] | None = None
) -> Routes:
    """Backends at these ports, each with a model of its name; adapters by name with their base."""
    backends = [Backend(name=name, url=f"http://127.0.0.1:{port}", hold_seconds=hold) for name, port in ports.items()]
    cards = [Card(id=name, backend=name, root=f"/models/{name}", max_model_len=1024) for name in ports]
    cards += [
        Card(id=name, backend=base, root=f"/models/adapters/{name}", parent=base)
        for name, base in (adapters or {}).items()
    ]
    return Routes(queue_per_model=queue, backends=backends, models=cards)


@dataclass
class Client:
    """Asks the router."""

    url: str
    session: aiohttp.ClientSession
    router: Router

    async def ask(self, model: str | None, path: str = "/v1/chat/completions", **headers: str) -> tuple[int, str]:
        """Status and text."""
        body = json.dumps({} if model is None else {"model": model})
        async with self.session.post(self.url + path, data=body, headers=headers) as answer:
            return answer.status, await answer.text()

    async def metric(self, sample: str) -> float:
        """A sample of /metrics, such as ``name{model="m"}``."""
        async with self.session.get(f"{self.url}/metrics") as answer:
            lines = (await answer.text()).splitlines()
        return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{sample} "))


@asynccontextmanager
async def router(
    table: Routes, *, body: int = 2**20, held: int = 2**30, key: str | None = None
) -> AsyncIterator[Client]:
    """A running router, and who asks it."""
    made = Router(Settings(table, max_body_bytes=body, max_held_bytes=held, silence_seconds=20, api_key=key))
    runner = web.AppRunner(made.build(), handler_cancellation=True, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    async with aiohttp.ClientSession() as session:
        try:
            yield Client(f"http://127.0.0.1:{port}", session, made)
        finally:
            await runner.cleanup()
