"""The sandbox's proxy: CONNECT tunnels and plain HTTP forwarding on raw asyncio protocols.

Bytes are relayed as they come, with flow control in both directions. Only request heads are
understood; a response never is: when the next request arrives on a connection, the response to the
last one is over. A connection goes to one backend for as long as it asks for the same host, so that
balancing is per connection, as kube-proxy's.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from typing import cast

from vllm_sandbox.network.address import NotRoutable
from vllm_sandbox.network.request import HEAD_LIMIT, BadRequest, Body, Request, parse

log = logging.getLogger(__name__)

Resolve = Callable[[str, int], tuple[str, int]]
CONNECT_TIMEOUT_S = 10.0


class Proxy:
    """Serves any number of listeners.

    Args:
        resolve: address for one new connection to a host and port; raises NotRoutable.

    Attributes:
        counts: connections ``accepted``, ``tunnels``, ``requests``, ``refused``.
    """

    def __init__(self, resolve: Resolve, connect_timeout_s: float = CONNECT_TIMEOUT_S) -> None:
        self.resolve = resolve
        self.connect_timeout_s = connect_timeout_s
        self.counts: Counter[str] = Counter()
        self.open: set[ClientSide] = set()

    def protocol(self) -> ClientSide:
        """A protocol for one client connection (factory for ``create_server``)."""
        return ClientSide(self)

    def close(self) -> None:
        """Drop every connection."""
        for client in list(self.open):
            client.abort()


class _Side(asyncio.Protocol):
    """One of two connections that are relayed to each other."""

    transport: asyncio.Transport | None = None
    peer: _Side | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def pause_writing(self) -> None:
        if self.peer and self.peer.transport and not self.peer.transport.is_closing():
            self.peer.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.peer and self.peer.transport and not self.peer.transport.is_closing():
            self.peer.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        peer, self.peer = self.peer, None
        if peer and peer.transport:
            peer.peer = None
            if error:
                peer.transport.abort()  # a reset is passed on as a reset
            else:
                peer.transport.close()


class ServerSide(_Side):
    """Connection to a backend: everything it says goes to the client."""

    def data_received(self, data: bytes) -> None:
        if self.peer and self.peer.transport:
            self.peer.transport.write(data)

    def eof_received(self) -> bool:
        if self.peer and isinstance(self.peer, ClientSide) and self.peer.tunnel and self.peer.transport:
            if self.peer.transport.can_write_eof():
                self.peer.transport.write_eof()
            return True
        return False  # close: the client learns that the response has ended


class ClientSide(_Side):
    """Connection from a client: request heads are understood, the rest is passed on."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._buffer = b""
        self._body: Body | None = None
        self._target: tuple[str, int] | None = None
        self._connecting: asyncio.Task[None] | None = None
        self.tunnel = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._proxy.counts["accepted"] += 1
        self._proxy.open.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._proxy.open.discard(self)
        if self._connecting:
            self._connecting.cancel()
        server = self.peer
        super().connection_lost(error)
        if server and server.transport and not self.tunnel:
            server.transport.abort()  # the server sees at once that nobody listens any more

    def eof_received(self) -> bool:
        if self.tunnel and self.peer and self.peer.transport and self.peer.transport.can_write_eof():
            self.peer.transport.write_eof()
            return True
        return self._connecting is not None or self.peer is not None  # a client may half-close and wait

    def data_received(self, data: bytes) -> None:
        if self._connecting:
            self._buffer += data
        elif self.tunnel:
            assert self.peer and self.peer.transport
            self.peer.transport.write(data)
        else:
            self._buffer += data
            self._advance()

    def _advance(self) -> None:
        """Pass on what belongs to the current request, then look for the next head."""
        try:
            while self._buffer and not self._connecting and not self.tunnel:
                if self._body is not None:
                    taken = self._body.take(self._buffer)
                    if self.peer and self.peer.transport:
                        self.peer.transport.write(self._buffer[:taken])
                    self._buffer = self._buffer[taken:]
                    if not self._body.complete:
                        return
                    self._body = None
                    continue
                end = self._buffer.find(b"\r\n\r\n")
                if end < 0:
                    if len(self._buffer) > HEAD_LIMIT:
                        raise BadRequest(f"the request's head is longer than {HEAD_LIMIT} bytes")
                    return
                head, self._buffer = self._buffer[:end], self._buffer[end + 4 :]
                self._begin(parse(head.lstrip(b"\r\n")))
        except BadRequest as error:
            self._refuse(400, "Bad Request", str(error))

    def _begin(self, request: Request) -> None:
        self._proxy.counts["tunnels" if request.tunnel else "requests"] += 1
        target = (request.host, request.port)
        if self.peer and self.peer.transport and not self.peer.transport.is_closing() and target == self._target:
            self._pass_on(request)
            return
        if self.peer and self.peer.transport:
            self.peer.peer = None
            self.peer.transport.close()
            self.peer = None
        assert self.transport
        self.transport.pause_reading()
        self._connecting = asyncio.get_running_loop().create_task(self._connect(request, target))

    async def _connect(self, request: Request, target: tuple[str, int]) -> None:
        loop = asyncio.get_running_loop()
        named = f"{target[0]}:{target[1]}"
        try:
            host, port = self._proxy.resolve(*target)
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                _, server = await loop.create_connection(ServerSide, host, port)
        except NotRoutable as error:
            self._connecting = None
            self._refuse(502, "Bad Gateway", str(error))
            return
        except (OSError, TimeoutError) as error:
            # never tried on another endpoint: kube-proxy doesn't either
            self._connecting = None
            self._refuse(502, "Bad Gateway", f"connection to {named} ({host}:{port}) failed: {error}")
            return
        self._connecting = None
        assert self.transport
        if self.transport.is_closing():
            assert server.transport
            server.transport.abort()
            return
        self.peer, server.peer, self._target = server, self, target
        self.transport.resume_reading()
        self._pass_on(request)
        if self.tunnel:
            if self._buffer:
                assert server.transport
                server.transport.write(self._buffer)
                self._buffer = b""
        else:
            self._advance()

    def _pass_on(self, request: Request) -> None:
        assert self.transport and self.peer and self.peer.transport
        if request.tunnel:
            self.tunnel = True
            self.transport.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            return
        self.peer.transport.write(request.head)
        self.tunnel = request.upgrade
        self._body = Body(request.length)
        if self._body.complete:
            self._body = None

    def _refuse(self, status: int, reason: str, why: str) -> None:
        self._proxy.counts["refused"] += 1
        log.info("refused: %s", why)
        body = f"sandbox proxy: {why}\n".encode()
        head = f"HTTP/1.1 {status} {reason}\r\nContent-Type: text/plain\r\nConnection: close\r\n"
        if self.transport and not self.transport.is_closing():
            self.transport.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            self.transport.close()

    def abort(self) -> None:
        """Drop the connection and its backend's."""
        if self.transport:
            self.transport.abort()
