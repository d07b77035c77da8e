"""Real sockets on the loopback: a proxy, and backends that write down what reaches them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import pytest
import pytest_asyncio
import uvloop

from vllm_sandbox.network.address import NotRoutable
from vllm_sandbox.network.proxy import Proxy

DEADLINE_S = 20
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The daemon runs on uvloop, whose transports differ from asyncio's in details: both must do."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@dataclass
class Backend:
    """A server and what came to it.

    Attributes:
        seen: bytes received, per connection.
        ended: set when a connection ended (its client closed or reset it).
    """

    host: str
    port: int
    seen: list[bytearray] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class Lab:
    """Starts backends and one proxy in front of them.

    Attributes:
        routes: where the proxy sends ``(host, port)``.
    """

    def __init__(self) -> None:
        self.routes: dict[tuple[str, int], tuple[str, int]] = {}
        self.proxy = Proxy(self.resolve, connect_timeout_s=1)
        self._servers: list[asyncio.Server] = []
        self._writers: list[asyncio.StreamWriter] = []
        self.address = ("", 0)

    def resolve(self, host: str, port: int, _source: str) -> tuple[str, int]:
        try:
            return self.routes[host, port]
        except KeyError:
            raise NotRoutable(f"{host}:{port} is no Service of this cluster") from None

    async def begin(self) -> None:
        server = await asyncio.get_running_loop().create_server(self.proxy.protocol, "127.0.0.1", 0)
        self._servers.append(server)
        self.address = server.sockets[0].getsockname()

    async def backend(
        self, handler: Handler | None = None, name: str = "web", host: str = "127.213.1.5", port: int = 0
    ) -> Backend:
        """A backend behind ``name:80``; without a handler it answers each request with ``ok``."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._writers.append(writer)
            try:
                await (handler or answer_each)(reader, writer)
            except OSError:
                pass  # the client reset the connection: that's what some tests are about
            finally:
                made.ended.set()
                writer.close()

        def tap() -> Tap:
            made.seen.append(bytearray())
            return Tap(made.seen[-1], asyncio.StreamReader(limit=1 << 16), serve)

        server = await asyncio.get_running_loop().create_server(tap, host, port)
        self._servers.append(server)
        made = Backend(*server.sockets[0].getsockname())
        self.routes[name, 80] = (made.host, made.port)
        return made

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A client's connection to the proxy."""
        reader, writer = await asyncio.open_connection(*self.address, limit=1 << 24)
        self._writers.append(writer)
        return reader, writer

    async def tunnel(self, target: str = "web:80") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A client's connection through to a backend."""
        reader, writer = await self.connect()
        writer.write(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        return reader, writer

    async def idle(self) -> None:
        """Wait until the proxy holds no connection."""
        async with asyncio.timeout(DEADLINE_S):
            while self.proxy.open:
                await asyncio.sleep(0.01)

    async def end(self) -> None:
        for writer in self._writers:
            writer.close()
        self.proxy.close()
        for server in self._servers:
            server.close()
        await asyncio.sleep(0)  # connections that were closed are told so


class Tap(asyncio.StreamReaderProtocol):
    """Writes down every byte before the handler reads it."""

    def __init__(self, record: bytearray, reader: asyncio.StreamReader, serve: Handler) -> None:
        super().__init__(reader, serve)
        self._record = record

    def data_received(self, data: bytes) -> None:
        self._record += data
        super().data_received(data)


async def answer_each(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read requests with a Content-Length (or none) and answer ``ok`` to each."""
    while True:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return
        lengths = [
            line.partition(b":")[2] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
        ]
        await reader.readexactly(int(lengths[0]) if lengths else 0)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


async def response(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Status and body of a response with a Content-Length."""
    async with asyncio.timeout(DEADLINE_S):
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
        return int(head.split(b" ")[1]), await reader.readexactly(int(length.partition(b":")[2]))


@pytest.fixture
def read_response() -> Callable[[asyncio.StreamReader], Awaitable[tuple[int, bytes]]]:
    return response


@pytest_asyncio.fixture
async def lab() -> AsyncIterator[Lab]:
    made = Lab()
    await made.begin()
    yield made
    await made.end()
