"""The sandbox's proxy: CONNECT tunnels and plain HTTP forwarding on raw asyncio protocols.

Bytes are relayed as they come, with flow control in both directions. Only request heads are
understood; a response never is: when the next request arrives on a connection, the response to the
last one is over. A connection goes to one backend for as long as it asks for the same host, so that
balancing is per connection, as kube-proxy's.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
from collections import Counter
from collections.abc import Callable
from typing import cast

from vllm_sandbox.network.address import NoAnswer, NotRoutable
from vllm_sandbox.network.request import HEAD_LIMIT, BadRequest, Body, Request, parse

log = logging.getLogger(__name__)

Resolve = Callable[[str, int, str], tuple[str, int]]
CONNECT_TIMEOUT_S = 10.0
LINGER_S = 5.0  # how long a refused client may go on sending: closing at once would lose it the answer
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 s


class Proxy:
    """Serves any number of listeners.

    Args:
        resolve: address for one new connection to a host and port, that came in at an address of ours (empty for a
            Unix socket); raises NotRoutable.

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
            client.reset()


class _Side(asyncio.Protocol):
    """One of two connections that are relayed to each other.

    Attributes:
        ended: this end has said all that it will (its half of the connection is closed).
    """

    transport: asyncio.Transport | None = None
    peer: _Side | None = None
    ended = False

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
        if peer:
            peer.peer = None
            peer.reset() if error else peer.close()

    def write(self, data: bytes) -> None:
        if self.transport and not self.transport.is_closing():
            self.transport.write(data)

    def close(self) -> None:
        """Close when all that was written has gone."""
        if self.transport:
            self.transport.close()

    def reset(self) -> None:
        """Close at once, so that the other end sees a reset."""
        if self.transport and not self.transport.is_closing():
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.transport.abort()

    def pass_on_end(self) -> bool:
        """Close the peer's half too; whether this connection stays open for the other way."""
        if not self.peer or not self.peer.transport:
            return False
        if not self.peer.transport.is_closing():
            self.peer.transport.write_eof()
        return not self.peer.ended


class ServerSide(_Side):
    """Connection to a backend: everything it says goes to the client."""

    def data_received(self, data: bytes) -> None:
        if self.peer:
            self.peer.write(data)

    def eof_received(self) -> bool:
        self.ended = True
        if isinstance(self.peer, ClientSide) and self.peer.tunnel:
            return self.pass_on_end()
        return False  # close: the client learns that the response has ended


class ClientSide(_Side):
    """Connection from a client: request heads are understood, the rest is passed on."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._buffer = b""
        self._body: Body | None = None
        self._target: tuple[str, int] | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._refused: asyncio.TimerHandle | None = None
        self._source = ""
        self.tunnel = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        name = transport.get_extra_info("sockname")
        self._source = name[0] if isinstance(name, tuple) else ""
        self._proxy.counts["accepted"] += 1
        self._proxy.open.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._proxy.open.discard(self)
        if self._connecting:
            self._connecting.cancel()
        if self._refused:
            self._refused.cancel()
        server = self.peer
        super().connection_lost(error)
        if server and not self.tunnel:
            server.reset()  # the server sees at once that nobody listens any more

    def eof_received(self) -> bool:
        self.ended = True
        if self._connecting:
            return True  # passed on once there is a backend
        return not self._refused and self.pass_on_end()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        if self.tunnel and self.peer:
            self.peer.write(data)
            return
        self._buffer += data
        if not self._connecting:
            self._advance()

    def _advance(self) -> None:
        """Pass on what belongs to the current request, then look for the next head."""
        try:
            while self._buffer and not self._connecting and not self.tunnel:
                if self._body is not None:
                    taken = self._body.take(self._buffer)
                    if self.peer:
                        self.peer.write(self._buffer[:taken])
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
        if self.peer:
            reusable = self.peer.transport and not self.peer.transport.is_closing() and target == self._target
            if reusable and not request.tunnel:
                self._pass_on(request)
                return
            self.peer.peer = None
            self.peer.close()
            self.peer = None
        assert self.transport
        self.transport.pause_reading()
        self._connecting = asyncio.get_running_loop().create_task(self._connect(request, target))

    async def _connect(self, request: Request, target: tuple[str, int]) -> None:
        """Never tried on another endpoint: kube-proxy doesn't either."""
        refusal, server = None, None
        try:
            server = await self._dial(target)
        except NotRoutable as error:
            refusal = (502, "Bad Gateway", str(error))
        except TimeoutError as error:
            refusal = (504, "Gateway Timeout", str(error))
        except OSError as error:
            refusal = (502, "Bad Gateway", str(error))
        except Exception as error:
            log.exception("connecting to %s:%d", *target)
            refusal = (500, "Internal Server Error", f"{type(error).__name__}: {error}")
        self._connecting = None
        assert self.transport
        if not self.transport.is_closing():
            self.transport.resume_reading()
        if refusal or server is None:
            self._refuse(*(refusal or (502, "Bad Gateway", "no connection")))
            return
        self.peer, server.peer, self._target = server, self, target
        self._pass_on(request)
        self._advance()
        if self.ended and not self._connecting and not self.pass_on_end():
            self.close()

    async def _dial(self, target: tuple[str, int]) -> ServerSide:
        limit = self._proxy.connect_timeout_s
        try:
            host, port = self._proxy.resolve(*target, self._source)
        except NoAnswer as error:
            await asyncio.sleep(limit)
            raise TimeoutError(f"{error} within {limit:g} s") from None
        named = f"{target[0]}:{target[1]} ({host}:{port})"
        try:
            async with asyncio.timeout(limit):
                _, server = await asyncio.get_running_loop().create_connection(ServerSide, host, port)
        except TimeoutError:
            raise TimeoutError(f"{named} gave no answer within {limit:g} s") from None
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise OSError(f"connection to {named} failed: {reason}") from None
        return server

    def _pass_on(self, request: Request) -> None:
        assert self.peer
        if request.tunnel:
            self.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            self.peer.write(request.head)
        self.tunnel = request.tunnel or request.upgrade
        if self.tunnel:
            early, self._buffer = self._buffer, b""
            self.peer.write(early)
            return
        body = Body(request.length)
        self._body = None if body.complete else body

    def _refuse(self, status: int, reason: str, why: str) -> None:
        """Answer, then wait for the client to close: with bytes unread, closing would be a reset."""
        self._proxy.counts["refused"] += 1
        log.info("refused: %s", why)
        if not self.transport or self.transport.is_closing():
            return
        if self.peer:
            self.peer.peer = None
            self.peer.reset()
            self.peer = None
        body = f"sandbox proxy: {why}\n".encode()
        head = f"HTTP/1.1 {status} {reason}\r\nContent-Type: text/plain\r\nConnection: close\r\n"
        self.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        if self.ended:
            self.close()
            return
        self.transport.write_eof()
        self._refused = asyncio.get_running_loop().call_later(LINGER_S, self.close)
