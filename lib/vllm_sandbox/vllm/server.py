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
from vllm_sandbox.vllm.requests import (
    BUSY,
    DEAD,
    End,
    Job,
    RequestError,
    body_of,
    chat_text,
    chat_tokens,
    check_model,
    parse,
    required,
)
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


class _Output:
    """Collects the tokens of a request's sequences until the handler has written them."""

    def __init__(self, job: Job, *, garbled: bool = False) -> None:
        self.job = job
        self._piece = tokenizer.wrong_piece if garbled else tokenizer.answer_piece
        self.texts = [""] * job.answers
        self.counts = [0] * job.answers
        self.planned = [job.end(index) for index in range(job.answers)]
        self.ends: list[End | None] = [None] * job.answers
        self._pending: list[tuple[int, str, End | None, int]] = []
        self._ready = asyncio.Event()

    def sink(self, index: int) -> Callable[[int, str | None], None]:
        plan = self.planned[index]

        def take(tokens: int, reason: str | None) -> None:
            piece = self._piece(self.counts[index]) if tokens else ""
            if plan.characters is not None:  # a stop word isn't part of the answer
                piece = piece[: max(0, plan.characters - len(self.texts[index]))]
            self.counts[index] += tokens
            self.texts[index] += piece
            if reason:
                self.ends[index] = plan if reason == plan.reason else End(self.counts[index], reason)
            self._pending.append((index, piece, self.ends[index], self.counts[index]))
            self._ready.set()

        return take

    @property
    def finished(self) -> bool:
        return all(self.ends)

    async def pieces(self) -> list[tuple[int, str, End | None, int]]:
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
        except web.HTTPMethodNotAllowed as error:
            allow = {"allow": ", ".join(sorted(error.allowed_methods))}
            response = web.json_response({"detail": "Method Not Allowed"}, status=405, headers=allow, dumps=_compact)
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
        now = int(time.time())
        served = {"object": "model", "created": now, "owned_by": "vllm", "root": self._serving.root, "parent": None}
        served["max_model_len"] = self._serving.max_model_len
        data = [{"id": name, **served, "permission": [_permission(now)]} for name in self._serving.names]
        data += [
            {"id": each.name, **served, "root": each.path, "parent": self._serving.names[0]}
            | {"max_model_len": None, "permission": [_permission(now)]}
            for each in self._serving.adapters
        ]
        return web.json_response({"object": "list", "data": data}, dumps=_compact)

    async def _tokenize(self, request: web.Request) -> web.Response:
        body = await _body(request)
        lora.take_out(body, self._serving.adapters)
        check_model(body, self._serving.names)
        chat = "messages" in body
        text = chat_text(body["messages"])[0] if chat else str(required(body, "prompt"))
        pieces = tokenizer.pieces(text) + ["<template>"] * (chat_tokens(body["messages"]) if chat else 0)
        tokens = [tokenizer.token_id(piece, self._serving.vocab) for piece in pieces]
        length = self._serving.max_model_len
        answer = {"count": len(tokens), "max_model_len": length, "tokens": tokens, "token_strs": None}
        return web.json_response(answer, dumps=_compact)

    async def _detokenize(self, request: web.Request) -> web.Response:
        tokens = required(await _body(request), "tokens")
        return web.json_response({"prompt": " ".join(map(str, tokens))}, dumps=_compact)

    async def _not_played(self, _request: web.Request) -> web.Response:
        raise RequestError("The sandbox's simulated server does not play this route.", "NotImplementedError", None, 501)

    # -- completions ----------------------------------------------------------------------------

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        return await self._complete(request, chat=True)

    async def _text(self, request: web.Request) -> web.StreamResponse:
        return await self._complete(request, chat=False)

    async def _complete(self, request: web.Request, *, chat: bool) -> web.StreamResponse:
        serving = self._serving
        body = await _body(request)
        adapter = lora.take_out(body, serving.adapters)
        job = parse(body, chat=chat, names=serving.names, max_model_len=serving.max_model_len)
        job = replace(job, model=adapter or serving.names[0])  # whichever of the model's names was asked for
        await asyncio.sleep(FRONTEND_S)
        now = asyncio.get_running_loop().time()
        await asyncio.sleep(serving.fault.delay_s)  # before the admission: what is admitted is queued at once
        if serving.draining or serving.fault.fails(job.prompt_tokens):
            raise DEAD
        serving.engine.hung = serving.engine.hung or serving.fault.hangs(job.prompt_tokens)
        try:
            serving.engine.check_admission(job.prompt_tokens, job.answers)
        except EngineBusy as error:
            serving.metrics.rejected(error.reason)
            if not job.stream:
                raise BUSY from error
            return await self._busy_stream(request)
        output = _Output(job, garbled=serving.fault.garbles)
        sequences = [self._sequence(output, index, now) for index in range(job.answers)]
        for sequence in sequences:
            sequence.adapter = adapter
            serving.engine.add(sequence)
        try:
            answer = Answer(job, serving.fingerprint, request.headers.get("X-Request-Id", ""))
            if job.stream:
                return await self._stream(request, answer, output)
            while not output.finished:
                await output.pieces()
            ends = [end for end in output.ends if end]
            return web.json_response(answer.whole(output.texts, ends, sum(output.counts)), dumps=_compact)
        finally:
            for sequence in sequences:
                serving.engine.abort(sequence, counted=False)

    def _sequence(self, output: _Output, index: int, now: float) -> Sequence:
        prompt, end = output.job.prompt(index), output.planned[index]
        sink, job = output.sink(index), output.job
        return Sequence(prompt.tokens, end.tokens, end.reason, sink, now, max_tokens=prompt.max_tokens, params_n=job.n)

    async def _stream(self, request: web.Request, answer: Answer, output: _Output) -> web.StreamResponse:
        response = await self._open_stream(request)
        opening = b"".join(answer.opening(index) for index in range(output.job.answers))
        while not output.finished:
            pieces = await output.pieces()
            # recorded: an answer that was aborted before its first token has no last chunk, and so no finish_reason
            begun = [piece for piece in pieces if piece[3] or not piece[2]]
            await response.write(opening + b"".join(answer.chunk(*piece) for piece in begun))
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
    if response.status != 401:  # the keys are asked for before the middleware that sets it
        response.headers["vary"] = "Origin"


async def _body(request: web.Request) -> dict[str, Any]:
    return body_of(await request.read(), request.headers.get("Content-Type", ""))


def _permission(created: int) -> dict[str, Any]:
    """What every server says of its models, to everybody."""
    allowed = {"create_engine": False, "sampling": True, "logprobs": True, "search_indices": False, "view": True}
    return {
        "id": f"modelperm-{secrets.token_hex(8)}",
        "object": "model_permission",
        "created": created,
        **{f"allow_{name}": value for name, value in allowed.items()},
        "allow_fine_tuning": False,
        "organization": "*",
        "group": None,
        "is_blocking": False,
    }


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
