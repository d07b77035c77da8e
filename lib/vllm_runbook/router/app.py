"""The HTTP side: one OpenAI endpoint in front of all models."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import aiohttp
from aiohttp import web

from vllm_runbook.router.answers import Refusal, model_of, unknown
from vllm_runbook.router.metrics import UNKNOWN, Metrics
from vllm_runbook.router.routes import Backend, Routes
from vllm_runbook.router.upstream import Upstream
from vllm_runbook.router.waiting import Room, Waiting

#: Requests that name their model in the body.
ROUTED = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Settings:
    """How it serves.

    Attributes:
        max_body_bytes: of a request; a larger one gets 413.
        max_held_bytes: of all held requests together; one more gets 503.
        silence_seconds: after which a server that says nothing is given up.
        api_key: that clients must send, as to a server; None: everybody may ask. Passed on in any case.
    """

    routes: Routes
    max_body_bytes: int = 4 * 2**20
    max_held_bytes: int = 128 * 2**20
    silence_seconds: float = 600
    api_key: str | None = None


class Router:
    """The application of one router."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._routes = settings, settings.routes
        names = [backend.name for backend in self._routes.backends]
        self.metrics = Metrics(names)
        self._upstream: Upstream
        self._waiting: dict[str, Waiting] = {}
        self._stopping = False
        self._created = int(time.time())

    def build(self) -> web.Application:
        app = web.Application(middlewares=[self._middleware], client_max_size=self._settings.max_body_bytes)
        app.cleanup_ctx.append(self._connections)
        app.router.add_get("/health", self._alive, allow_head=False)
        app.router.add_get("/ready", self._ready, allow_head=False)
        app.router.add_get("/metrics", self._metrics, allow_head=False)
        app.router.add_get("/v1/models", self._models, allow_head=False)
        for path in ROUTED:
            app.router.add_post(path, self._route)
        return app

    def stop(self) -> None:
        """The end comes: not ready any more, and nobody is held any longer. What servers are answering goes on."""
        self._stopping = True
        for each in self._waiting.values():
            each.close()

    async def _connections(self, _app: web.Application) -> AsyncIterator[None]:
        self._upstream = Upstream(self._settings.silence_seconds)
        limit, room = self._routes.queue_per_model, Room(self._settings.max_held_bytes)
        self._waiting = {
            backend.name: Waiting(backend, limit, room, self.metrics, self._upstream.healthy)
            for backend in self._routes.backends
        }
        yield
        await self._upstream.close()

    @web.middleware
    async def _middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            self._authorize(request)
            return await handler(request)
        except Refusal as refusal:
            return refusal.response()
        except web.HTTPRequestEntityTooLarge:
            most = self._settings.max_body_bytes // 2**20
            return Refusal(413, "BadRequestError", f"the body is larger than {most} MiB").response()
        except (web.HTTPNotFound, web.HTTPMethodNotAllowed) as error:
            message = f"{request.method} {request.path} is not served here"
            return Refusal(error.status, "NotFoundError", message).response()

    def _authorize(self, request: web.Request) -> None:
        """As vLLM guards /v1: without it anybody could wake servers and fill the queues."""
        key = self._settings.api_key
        if key is None or not request.path.startswith("/v1"):
            return
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not secrets.compare_digest(given.encode(), key.encode()):
            raise Refusal(401, "AuthenticationError", "send the API key: Authorization: Bearer …")

    async def _alive(self, _request: web.Request) -> web.Response:
        return web.Response()

    async def _ready(self, _request: web.Request) -> web.Response:
        return web.Response(status=503 if self._stopping else 200)

    async def _metrics(self, _request: web.Request) -> web.Response:
        headers = {"Content-Type": "text/plain; version=1.0.0; charset=utf-8"}
        return web.Response(body=self.metrics.render(), headers=headers)

    async def _models(self, _request: web.Request) -> web.Response:
        return web.json_response(self._routes.listing(self._created))

    async def _route(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        model = model_of(body)
        backend = self._routes.backend_of(model)
        if backend is None:
            self.metrics.answers.labels(UNKNOWN, 404).inc()
            raise unknown(model, [card.id for card in self._routes.models])
        self.metrics.received.labels(backend.name).inc()
        try:
            response = await self._forward(request, backend, body)
        except Refusal as refusal:
            self.metrics.answers.labels(backend.name, refusal.status).inc()
            raise
        self.metrics.answers.labels(backend.name, response.status).inc()
        return response

    async def _forward(self, request: web.Request, backend: Backend, body: bytes) -> web.StreamResponse:
        answer = await self._open(request, backend, body)
        if answer is None:
            waiting = self._waiting[backend.name]
            deadline = asyncio.get_running_loop().time() + backend.hold_seconds
            with waiting.place(len(body)):
                while answer is None:
                    await waiting.ready(deadline)
                    answer = await self._open(request, backend, body)
        with self.metrics.active.labels(backend.name).track_inprogress():
            return await self._upstream.pass_on(request, answer)

    async def _open(self, request: web.Request, backend: Backend, body: bytes) -> aiohttp.ClientResponse | None:
        """Until its first byte, a request that a server has taken counts as active, too."""
        with self.metrics.active.labels(backend.name).track_inprogress():
            return await self._upstream.open(request, backend, body)
