"""Requests passed on to a server, and its answer passed back as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from vllm_runbook.router.answers import Refusal
from vllm_runbook.router.routes import Backend
from vllm_runbook.surroundings import proxy_for

#: Hop-by-hop (RFC 9110, 7.6.1), and what the connection to the server has of its own.
_OWN = {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding"}
_OWN |= {"upgrade", "host", "content-length", "proxy-connection", "expect"}
#: Statuses of something between here and a server that reached none. vLLM has neither.
_NOBODY = (502, 504)
_CONNECT_S = 3.0
_HEALTH_S = 2.0


class Upstream:
    """Connections to servers: a new one for each request, for a Service balances connections, not requests.

    An old one would also lead to a pod that is about to end long after its Service has forgotten it.
    """

    def __init__(self, silence_seconds: float) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, force_close=True),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=silence_seconds),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),  # the client's, or none
        )

    async def close(self) -> None:
        await self._session.close()

    async def healthy(self, backend: Backend) -> bool:
        """Whether a server there says that it is ready."""
        url = URL(backend.url).with_path("/health")
        limit = aiohttp.ClientTimeout(total=_HEALTH_S)
        try:
            async with self._session.get(url, proxy=proxy_for(url), timeout=limit, allow_redirects=False) as answer:
                return answer.status == 200
        except (aiohttp.ClientError, OSError):  # TimeoutError is an OSError
            return False

    async def open(self, request: web.Request, backend: Backend, body: bytes) -> aiohttp.ClientResponse | None:
        """The beginning of a server's answer; None when no server could be reached, and none has seen the request.

        Raises:
            Refusal: 502, one was reached and broke off before it answered.
        """
        url = URL(backend.url).with_path(request.path).with_query(request.query_string)
        headers = _end_to_end(request.headers)
        try:
            answer = await self._session.post(
                url, data=body, headers=headers, proxy=proxy_for(url), allow_redirects=False
            )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            return None
        except (aiohttp.ClientError, OSError) as error:
            why = str(error) or type(error).__name__
            raise Refusal(502, "BadGatewayError", f"The server of {backend.name} broke off: {why}") from error
        if answer.status in _NOBODY:
            answer.close()
            return None
        return answer

    async def pass_on(self, request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        """Every piece at once, so that a stream stays one; a stream that breaks off breaks off for the client, too."""
        response = web.StreamResponse(status=answer.status, headers=_end_to_end(answer.headers))
        if (length := answer.content_length) is not None:
            response.content_length = length
        try:
            await response.prepare(request)
            async for piece in answer.content.iter_any():
                await response.write(piece)
            await response.write_eof()
        except (aiohttp.ClientError, TimeoutError):
            # status and headers are out already; a proper end would make a whole answer of a cut one
            if request.transport is not None:
                request.transport.abort()
            raise asyncio.CancelledError from None
        finally:
            answer.close()
        return response


def _end_to_end(headers: Mapping[str, str]) -> CIMultiDict[str]:
    own = _OWN | {word.strip().lower() for word in headers.get("Connection", "").split(",")}
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in own)
