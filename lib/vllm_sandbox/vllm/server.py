"""The HTTP side: the real server's routes, answers and errors over the simulated engine."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

from aiohttp import web

from vllm_sandbox.vllm import VERSION, lora, tokenizer
from vllm_sandbox.vllm.answers import DONE, Answer
from vllm_sandbox.vllm.engine import Engine, EngineBusy, Sequence
from vllm_sandbox.vllm.faults import Fault
from vllm_sandbox.vllm.metrics import Metrics
from vllm_sandbox.vllm.requests import BUSY, DEAD, Job, RequestError, body_of, check_model, parse
from vllm_sandbox.vllm.timing import FRONTEND_S

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_GUARDED = ("/v1", "/v2", "/inference")
_MAX_BODY = 64 * 2**20

#: Routes of the real server that nothing in a rehearsal needs.
NOT_PLAYED = (
    ("GET", "/kv_event_sources"),
    ("POST", "/v1/systemone"),
    ("POST", "/invocations"),
    ("POST", "/v1/chat/completions/batch"),
    ("POST", "/v1/responses"),
    ("GET", "/v1/responses/{response_id}"),
    ("POST", "/v1/responses/{response_id}/cancel"),
    ("POST", "/v1/messages"),
    ("POST", "/v1/messages/count_tokens"),
    ("POST", "/generative_scoring"),
    ("POST", "/scale_elastic_ep"),
    ("POST", "/is_scaling_elastic_ep"),
)


@dataclass
class Serving:
    """What is served, and how the server is at the moment.

    Attributes:
        names: under which the model is known; root: its path or id.
        adapters: LoRA adapters, which requests name instead of the model.
        draining: SIGTERM came: health stays well, completions are refused.
        fault: what is wrong with this version, on purpose.
    """

    engine: Engine
    metrics: Metrics
    names: list[str]
    root: str
    max_model_len: int
    vocab: int
    fingerprint: str
    adapters: list[lora.Adapter] = field(default_factory=list)
    api_keys: list[str] = field(default_factory=list)
    access_log: bool = True
    draining: bool = False
    fault: Fault = field(default_factory=Fault)
    created: int = field(default_factory=lambda: int(time.time()))


class _Output:
    """Collects the tokens of a request's sequences until the handler has written them."""

    def __init__(self, job: Job, *, garbled: bool = False) -> None:
        self.job = job
        self._piece = tokenizer.wrong_piece if garbled else tokenizer.answer_piece
        self.texts = [""] * job.n
        self.counts = [0] * job.n
        self.reasons: list[str] = [""] * job.n
        self._pending: list[tuple[int, str, str | None]] = []
        self._ready = asyncio.Event()

    def sink(self, index: int) -> Callable[[int, str | None], None]:
        def take(tokens: int, reason: str | None) -> None:
            piece = self._piece(self.counts[index]) if tokens else ""
            self.counts[index] += tokens
            self.texts[index] += piece
            self.reasons[index] = reason or ""
            self._pending.append((index, piece, reason))
            self._ready.set()

        return take

    @property
    def finished(self) -> bool:
        return all(self.reasons)

    async def pieces(self) -> list[tuple[int, str, str | None]]:
        """What came since the last time; waits for something."""
        await self._ready.wait()
        self._ready.clear()
        found, self._pending = self._pending, []
        return found


class Application:
    """The aiohttp application of one server."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving

    def build(self) -> web.Application:
        app = web.Application(middlewares=[self._middleware], client_max_size=_MAX_BODY)
        app.on_response_prepare.append(_headers)
        app.router.add_get("/health", self._healthy, allow_head=False)
        app.router.add_get("/ping", self._healthy, allow_head=False)
        app.router.add_post("/ping", self._healthy)
        app.router.add_get("/load", self._load, allow_head=False)
        app.router.add_get("/version", self._version, allow_head=False)
        app.router.add_get("/metrics", self._metrics, allow_head=False)
        app.router.add_get("/v1/models", self._models, allow_head=False)
        app.router.add_post("/tokenize", self._tokenize)
        app.router.add_post("/detokenize", self._detokenize)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/completions", self._text)
        for method, path in NOT_PLAYED:
            app.router.add_route(method, path, self._not_played)
        return app

    @web.middleware
    async def _middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        began = time.monotonic()
        try:
            if refusal := self._unauthorized(request):
                response: web.StreamResponse = refusal
            else:
                response = await handler(request)
        except RequestError as error:
            response = web.json_response(error.body, status=error.code, dumps=_compact)
        except web.HTTPMethodNotAllowed:
            response = web.json_response({"detail": "Method Not Allowed"}, status=405, dumps=_compact)
        except web.HTTPNotFound:
            response = web.json_response({"detail": "Not Found"}, status=404, dumps=_compact)
        resource = request.match_info.route.resource
        path = resource.canonical if resource else "none"
        if path not in ("/metrics", "/health", "/load", "/ping", "/version"):
            sizes = (request.content_length or 0, response.content_length or 0)
            self._serving.metrics.http.observe(path, request.method, response.status, sizes, time.monotonic() - began)
        if self._serving.access_log:
            print(f'INFO:     {request.remote}:0 - "{request.method} {request.path_qs} HTTP/1.1" {response.status}')
        return response

    def _unauthorized(self, request: web.Request) -> web.Response | None:
        """Not recorded: as in vllm's AuthenticationMiddleware (entrypoints/serve/middleware, 0.31 and later)."""
        keys = self._serving.api_keys
        if not keys or request.method == "OPTIONS" or not request.path.startswith(_GUARDED):
            return None
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and any(secrets.compare_digest(key.encode(), each.encode()) for each in keys):
            return None
        return web.json_response({"error": "Unauthorized"}, status=401, dumps=_compact)

    # -- small routes ---------------------------------------------------------------------------

    async def _healthy(self, _request: web.Request) -> web.Response:
        return web.Response()

    async def _load(self, _request: web.Request) -> web.Response:
        return web.json_response({"server_load": 0}, dumps=_compact)

    async def _version(self, _request: web.Request) -> web.Response:
        return web.json_response({"version": VERSION}, dumps=_compact)

    async def _metrics(self, _request: web.Request) -> web.Response:
        headers = {"Content-Type": "text/plain; version=1.0.0; charset=utf-8"}
        return web.Response(body=self._serving.metrics.render(), headers=headers)

    async def _models(self, _request: web.Request) -> web.Response:
        serving = self._serving
        common = {
            "object": "model",
            "created": serving.created,
            "owned_by": "vllm",
            "root": serving.root,
            "parent": None,
        }
        data = [
            {"id": name, **common, "max_model_len": serving.max_model_len, "permission": []} for name in serving.names
        ]
        data += [
            {"id": each.name, **common, "root": each.path, "parent": serving.names[0]}
            | {"max_model_len": None, "permission": []}
            for each in serving.adapters
        ]
        return web.json_response({"object": "list", "data": data}, dumps=_compact)

    async def _tokenize(self, request: web.Request) -> web.Response:
        body = body_of(await request.read())
        lora.take_out(body, self._serving.adapters)
        check_model(body, self._serving.names)
        pieces = tokenizer.pieces(str(body.get("prompt", "")))
        tokens = [tokenizer.token_id(piece, self._serving.vocab) for piece in pieces]
        answer = {
            "count": len(tokens),
            "max_model_len": self._serving.max_model_len,
            "tokens": tokens,
            "token_strs": None,
        }
        return web.json_response(answer, dumps=_compact)

    async def _detokenize(self, request: web.Request) -> web.Response:
        body = body_of(await request.read())
        return web.json_response({"prompt": " ".join(map(str, body.get("tokens", [])))}, dumps=_compact)

    async def _not_played(self, _request: web.Request) -> web.Response:
        raise RequestError("The sandbox's simulated server does not play this route.", "NotImplementedError", None, 501)

    # -- completions ----------------------------------------------------------------------------

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        return await self._complete(request, chat=True)

    async def _text(self, request: web.Request) -> web.StreamResponse:
        return await self._complete(request, chat=False)

    async def _complete(self, request: web.Request, *, chat: bool) -> web.StreamResponse:
        serving = self._serving
        body = body_of(await request.read())
        adapter = lora.take_out(body, serving.adapters)
        job = parse(body, chat=chat, names=serving.names, max_model_len=serving.max_model_len)
        job = replace(job, model=adapter or serving.names[0])  # whichever of the model's names was asked for
        await asyncio.sleep(FRONTEND_S)
        if serving.draining or serving.fault.fails(job.prompt_tokens):
            raise DEAD
        try:
            serving.engine.check_admission(job.prompt_tokens, job.n)
        except EngineBusy as error:
            serving.metrics.rejected(error.reason)
            if not job.stream:
                raise BUSY from error
            return await self._busy_stream(request)
        output = _Output(job, garbled=serving.fault.garbles)
        now = asyncio.get_running_loop().time()
        await asyncio.sleep(serving.fault.delay_s)
        sequences = [
            Sequence(job.prompt_tokens, *job.end(i), output.sink(i), now, max_tokens=job.max_tokens, params_n=job.n)
            for i in range(job.n)
        ]
        for sequence in sequences:
            sequence.adapter = adapter
            serving.engine.add(sequence)
        try:
            answer = Answer(job, serving.fingerprint)
            if job.stream:
                return await self._stream(request, answer, output)
            while not output.finished:
                await output.pieces()
            return web.json_response(answer.whole(output.texts, output.reasons, sum(output.counts)), dumps=_compact)
        finally:
            for sequence in sequences:
                serving.engine.abort(sequence)

    async def _stream(self, request: web.Request, answer: Answer, output: _Output) -> web.StreamResponse:
        response = await self._open_stream(request)
        opening = b"".join(answer.opening(index) for index in range(output.job.n))
        while not output.finished:
            pieces = await output.pieces()
            await response.write(opening + b"".join(answer.chunk(*piece) for piece in pieces))
            opening = b""  # as the real server: with the first tokens
        tail = answer.usage_chunk(sum(output.counts)) if output.job.include_usage else b""
        await response.write(tail + DONE)
        await response.write_eof()
        return response

    async def _busy_stream(self, request: web.Request) -> web.StreamResponse:
        """Recorded: a streamed request that isn't admitted gets status 200, and the error as an event."""
        response = await self._open_stream(request)
        await response.write(f"data: {json.dumps(BUSY.body)}\n\n".encode() + DONE)
        await response.write_eof()
        return response

    async def _open_stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        return response


async def _headers(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers["server"] = "uvicorn"
    response.headers["vary"] = "Origin"


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
