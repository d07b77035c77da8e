"""The data plane: a request in, one to a backend, and the answer back byte by byte as it comes. Nothing is tried twice.

Each request has a connection of its own to the backend: one that was kept could lead to a server that is leaving.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import aiohttp
from aiohttp import web
from multidict import CIMultiDict

from vllm_sandbox.gateway.endpoints import Endpoint, Endpoints
from vllm_sandbox.gateway.matching import Asked
from vllm_sandbox.gateway.metrics import GatewayMetrics
from vllm_sandbox.gateway.table import Backend, Rule, Table

log = logging.getLogger(__name__)

#: Headers of one connection, not of the message (RFC 9110, 7.6.1).
_HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization", "te", "trailer"}
    | {"transfer-encoding", "upgrade"}
)
_CONNECT_S = 10


@dataclass
class _Exchange:
    """One request on its way."""

    request: web.BaseRequest
    rule: Rule
    backend: Backend
    began: float
    response: web.StreamResponse | None = None


class Forwarder:
    """Answers requests by the table as it is at that moment.

    Pods are reached through HTTP_PROXY, if it is set: so the network knows who asks.

    Args:
        table: gives the current one.
    """

    def __init__(self, table: Callable[[], Table], endpoints: Endpoints, metrics: GatewayMetrics) -> None:
        self._table, self._endpoints, self._metrics = table, endpoints, metrics
        self._proxy = os.environ.get("HTTP_PROXY") or None
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Forwarder:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, force_close=True),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S),
            auto_decompress=False,
            trust_env=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._session
        await self._session.close()

    async def answer(self, port: int, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request that came in on a listener's port."""
        began = time.perf_counter()
        headers = {name.lower(): value for name, value in request.headers.items()}
        asked = Asked(request.path, request.method, headers, dict(request.query))
        rule = self._table().find(port, request.host, asked)
        if rule is None:
            return self._refuse("", "", 404, "no route for this", began)
        backend = rule.turns.take()
        if backend is None:
            return self._refuse(rule.route, "", 500, "the rule has no backend with a weight", began)
        if backend.problem:
            return self._refuse(rule.route, "", 500, backend.problem, began)
        endpoint = self._endpoints.choose(backend.service, backend.port)
        if endpoint is None:
            return self._refuse(rule.route, "", 503, f"Service {backend.service} has no ready endpoint", began)
        return await self._exchange(_Exchange(request, rule, backend, began), endpoint)

    def _refuse(self, route: str, backend: str, code: int, why: str, began: float) -> web.Response:
        self._metrics.ended(route, backend, code, time.perf_counter() - began)
        log.info("%d: %s", code, why)
        return web.Response(status=code, text=f"sandbox gateway (simulated): {why}\n")

    async def _exchange(self, each: _Exchange, endpoint: Endpoint) -> web.StreamResponse:
        """Pass on, count, and say what went wrong."""
        where = each.rule.route, each.backend.service
        self._metrics.begun(*where)
        self._endpoints.in_flight[endpoint] += 1
        code, reason = 0, ""
        try:
            async with asyncio.timeout(each.rule.request_timeout):
                response = await self._pass_on(each, endpoint)
            code = response.status
            return response
        except TimeoutError:
            code, reason = 504, "timeout"
        except (aiohttp.ClientError, OSError) as error:
            code, reason = 502, "backend"
            log.info("%s at %s: %s", each.backend.service, endpoint.ip, error)
        except asyncio.CancelledError:
            code, reason = 499, "client"
            raise
        finally:
            self._endpoints.in_flight[endpoint] -= 1
            if each.response is not None:
                code = each.response.status
                if reason:
                    self._metrics.broken(*where, reason)
            self._metrics.ended(*where, code, time.perf_counter() - each.began)
        if each.response is None:
            words = {504: "the answer took too long", 502: "the backend broke the connection off"}[code]
            return web.Response(status=code, text=f"sandbox gateway (simulated): {words}\n")
        if (
            each.request.transport
        ):  # the status is out: all that is left is to break off, so that nobody takes it for whole
            each.request.transport.abort()
        return each.response

    async def _pass_on(self, each: _Exchange, endpoint: Endpoint) -> web.StreamResponse:
        assert self._session
        request = each.request
        url = f"http://{endpoint.ip}:{endpoint.port}{request.raw_path}"
        body = request.content if request.body_exists else None
        started = self._session.request(
            request.method, url, headers=_onward(request), data=body, allow_redirects=False, proxy=self._proxy
        )
        async with asyncio.timeout(each.rule.backend_timeout), started as answer:
            response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=_back(answer))
            first = True
            async for piece in answer.content.iter_any():
                if first:
                    where = each.rule.route, each.backend.service
                    self._metrics.first_byte(*where, time.perf_counter() - each.began)
                    await self._begin(each, response)
                    first = False
                await response.write(piece)
            if first:
                await self._begin(each, response)
            await response.write_eof()
            return response

    async def _begin(self, each: _Exchange, response: web.StreamResponse) -> None:
        """Send the head: with the first piece of the body, so that a backend that dies before it is a plain 502."""
        each.response = response
        await response.prepare(each.request)


def _onward(request: web.BaseRequest) -> CIMultiDict[str]:
    found = CIMultiDict(_kept(request.headers))
    if request.remote:
        before = request.headers.get("X-Forwarded-For")
        found["X-Forwarded-For"] = f"{before}, {request.remote}" if before else request.remote
    found["X-Forwarded-Proto"] = "http"
    return found


def _back(answer: aiohttp.ClientResponse) -> CIMultiDict[str]:
    return CIMultiDict(_kept(answer.headers))


def _kept(headers: object) -> Iterator[tuple[str, str]]:
    items: list[tuple[str, str]] = list(headers.items())  # type: ignore[attr-defined]
    named = {word.strip().lower() for name, value in items if name.lower() == "connection" for word in value.split(",")}
    for name, value in items:
        if name.lower() not in _HOP_BY_HOP | named:
            yield name, value
