"""``kubectl port-forward``: connections to a pod's ports through the API server and the agent.

As the kubelet does it, in both of its protocols: SPDY/3.1 (``portforward.k8s.io``: kubectl, through the API server)
and WebSocket (``v4.channel.k8s.io``: the Python client). Inside a real pod the connection comes from the pod itself,
so that no NetworkPolicy is asked; here neither.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import cast

from aiohttp import WSMsgType, web

from vllm_sandbox.node.asked import FindPod, asked_pod
from vllm_sandbox.node.pod import PodWorker
from vllm_sandbox.node.spdy import Kind, Reader, SpdyError, Writer

SPDY, PROTOCOL, CHANNELS = "SPDY/3.1", "portforward.k8s.io", "v4.channel.k8s.io"
_CHUNK = 64 * 1024


def port_forward(find_pod: FindPod) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """The handler of ``/portForward/{namespace}/{pod}``."""

    async def handler(request: web.Request) -> web.StreamResponse:
        pod = asked_pod(find_pod, request)
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await _over_websocket(request, pod)
        if request.headers.get("Upgrade") == SPDY and PROTOCOL in _offered(request):
            return await _over_spdy(request, pod)
        return web.Response(status=400, text=f"port-forward needs an upgrade to {SPDY} ({PROTOCOL}) or to WebSocket")

    return handler


def _offered(request: web.Request) -> list[str]:
    return request.headers.getall("X-Stream-Protocol-Version", [PROTOCOL])


def _refused(pod: PodWorker, port: int, error: OSError) -> str:
    reason = os.strerror(error.errno).lower() if error.errno else str(error)
    return (
        f"error forwarding port {port} to pod {pod.uid}, uid : failed to execute portforward in network namespace: "
        f"failed to connect to localhost:{port} inside namespace: dial tcp4 127.0.0.1:{port}: connect: {reason}"
    )


# -- WebSocket ---------------------------------------------------------------------------------


async def _over_websocket(request: web.Request, pod: PodWorker) -> web.StreamResponse:
    """Two channels per port: data, and errors; each begins with the port's number."""
    try:
        ports = [int(port) for value in request.query.getall("port", []) for port in value.split(",")]
    except ValueError:
        ports = []
    if not ports:
        return web.Response(status=400, text='query parameter "port" is required')
    socket = web.WebSocketResponse(protocols=(CHANNELS,), max_msg_size=0)
    await socket.prepare(request)
    for index, port in enumerate(ports):
        for channel in (2 * index, 2 * index + 1):
            await socket.send_bytes(bytes([channel]) + port.to_bytes(2, "little"))
    writers: dict[int, asyncio.StreamWriter] = {}
    pumps = []
    try:
        for index, port in enumerate(ports):
            try:
                reader, writers[2 * index] = await asyncio.open_connection(pod.ip, port)
            except OSError as error:
                await socket.send_bytes(bytes([2 * index + 1]) + _refused(pod, port, error).encode())
                continue
            pumps.append(asyncio.create_task(_pump(reader, socket, 2 * index)))
        if not pumps:
            return socket
        pumps.append(asyncio.create_task(_close_after(list(pumps), socket)))
        async for message in socket:
            if message.type is WSMsgType.BINARY and (writer := writers.get(message.data[0])):
                writer.write(message.data[1:])
                await writer.drain()
    except (ConnectionError, asyncio.CancelledError):
        pass
    finally:
        for pump in pumps:
            pump.cancel()
        for writer in writers.values():
            writer.close()
        await socket.close()
    return socket


async def _close_after(pumps: list[asyncio.Task[None]], socket: web.WebSocketResponse) -> None:
    """End the client's connection once no port says anything any more."""
    await asyncio.wait(pumps)
    await socket.close()


async def _pump(reader: asyncio.StreamReader, socket: web.WebSocketResponse, channel: int) -> None:
    """What the pod says, until it ends."""
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(_CHUNK):
            await socket.send_bytes(bytes([channel]) + data)


# -- SPDY --------------------------------------------------------------------------------------


async def _over_spdy(request: web.Request, pod: PodWorker) -> web.StreamResponse:
    """Take the connection over from the HTTP server, which knows no such upgrade."""
    transport, http = request.transport, request.protocol
    assert transport
    session = _Session(pod, transport)
    head = f"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {SPDY}\r\n"
    transport.set_protocol(session)
    transport.write(f"{head}X-Stream-Protocol-Version: {PROTOCOL}\r\n\r\n".encode())
    try:
        await session.over.wait()
    finally:
        session.end()
        http.force_close()
        http.connection_lost(None)
    raise asyncio.CancelledError


@dataclass
class _Stream:
    """One forwarded connection: its data stream and its error stream, by the client's request id."""

    data: int = 0
    error: int = 0
    port: int = 0
    backend: _Backend | None = None
    early: list[bytes] = field(default_factory=list)
    early_end: bool = False
    over: bool = False


class _Session(asyncio.Protocol):
    """All streams of one client."""

    def __init__(self, pod: PodWorker, transport: asyncio.Transport) -> None:
        self.over = asyncio.Event()
        self.transport = transport
        self._pod = pod
        self._reader, self._writer = Reader(), Writer()
        self._requests: dict[str, _Stream] = {}
        self._by_stream: dict[int, _Stream] = {}
        self._dialling: set[asyncio.Task[None]] = set()

    def data_received(self, data: bytes) -> None:
        try:
            for frame in self._reader.frames(data):
                if frame.kind is Kind.SYN_STREAM:
                    self._opened(frame.stream, frame.headers or {})
                elif frame.kind is Kind.DATA:
                    self._data(frame.stream, frame.data, frame.fin)
                elif frame.kind is Kind.RST_STREAM:
                    self._forget(self._by_stream.get(frame.stream))
                elif frame.kind is Kind.PING:
                    self.transport.write(self._writer.ping(frame.stream))
        except SpdyError:
            self.end()

    def connection_lost(self, error: Exception | None) -> None:
        self.over.set()

    def pause_writing(self) -> None:
        for stream in self._requests.values():
            if stream.backend:
                stream.backend.transport.pause_reading()

    def resume_writing(self) -> None:
        for stream in self._requests.values():
            if stream.backend:
                stream.backend.transport.resume_reading()

    def end(self) -> None:
        for task in self._dialling:
            task.cancel()
        for stream in list(self._requests.values()):
            self._forget(stream)
        self.transport.close()
        self.over.set()

    def _opened(self, number: int, headers: Mapping[str, str]) -> None:
        request = self._requests.setdefault(headers.get("requestid", ""), _Stream())
        self._by_stream[number] = request
        self.transport.write(self._writer.reply(number))
        if headers.get("streamtype") == "error":
            request.error = number
            return
        port = headers.get("port", "")
        if not port.isdigit():
            raise SpdyError(f"no port: {port!r}")
        request.data, request.port = number, int(port)
        task = asyncio.get_running_loop().create_task(self._dial(request))
        self._dialling.add(task)
        task.add_done_callback(self._dialling.discard)

    async def _dial(self, stream: _Stream) -> None:
        try:
            _, backend = await asyncio.get_running_loop().create_connection(
                lambda: _Backend(self, stream), self._pod.ip, stream.port
            )
        except OSError as error:
            self.transport.write(self._writer.data(stream.error, _refused(self._pod, stream.port, error).encode()))
            self.finish(stream)
            return
        stream.backend = backend
        if backend.transport.is_closing():
            return
        for data in stream.early:
            backend.transport.write(data)
        if stream.early_end:
            backend.transport.write_eof()

    def _data(self, number: int, data: bytes, fin: bool) -> None:
        stream = self._by_stream.get(number)
        if stream is None or number != stream.data:
            return
        if stream.backend is None:
            stream.early += [data] if data else []
            stream.early_end |= fin
            return
        if stream.backend.transport.is_closing():
            return
        if data:
            stream.backend.transport.write(data)
        if fin:
            stream.backend.transport.write_eof()

    def told(self, stream: _Stream, data: bytes) -> None:
        """The pod says something."""
        self.transport.write(self._writer.data(stream.data, data))

    def finish(self, stream: _Stream) -> None:
        """The pod has ended the connection, or there never was one."""
        for number in (stream.data, stream.error):
            if number and not stream.over and not self.transport.is_closing():
                self.transport.write(self._writer.data(number, b"", fin=True))
        self._forget(stream)

    def _forget(self, stream: _Stream | None) -> None:
        if stream is None:
            return
        stream.over = True
        for number in (stream.data, stream.error):
            self._by_stream.pop(number, None)
        self._requests = {name: each for name, each in self._requests.items() if each is not stream}
        if stream.backend:
            stream.backend.transport.close()


class _Backend(asyncio.Protocol):
    """The connection to the pod."""

    transport: asyncio.Transport

    def __init__(self, session: _Session, stream: _Stream) -> None:
        self._session, self._stream = session, stream

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._session.told(self._stream, data)

    def pause_writing(self) -> None:
        self._session.transport.pause_reading()

    def resume_writing(self) -> None:
        self._session.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self._session.finish(self._stream)
