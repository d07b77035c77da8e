"""Streams in the recorded server's words, and a server that says them byte for byte."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import json
import re
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from yarl import URL

from vllm_runbook.load.client import Target

RECORDINGS = Path(__file__).parents[2] / "data" / "vllm-recordings"

_RESPONSES = (RECORDINGS / "responses.txt").read_text()
#: The recorded stream: opening, three tokens (the last with the reason), usage, [DONE].
RECORDED = _RESPONSES.split("## chat, streamed, with usage\n")[1].split("\n\nHTTP 200")[0].encode()
OPENING, TOKEN, _, LAST, USAGE, DONE = (event + b"\n\n" for event in RECORDED.strip().split(b"\n\n"))
#: What a streamed request gets that isn't admitted, with status 200.
BUSY_STREAM: bytes = ast.literal_eval((RECORDINGS / "overload.txt").read_text().splitlines()[2])[0][2].encode()
#: What one gets that isn't streamed, with status 503.
BUSY_BODY: bytes = re.search(r"'(\{\"error\".*\})'", (RECORDINGS / "overload.txt").read_text()).group(1).encode()  # type: ignore[union-attr]


def stream(tokens: int, reason: str | None = "length", usage: int | None = None, done: bool = True) -> bytes:
    """A stream of so many tokens, in recorded events. ``usage`` -1 leaves its chunk out."""
    last = b""
    if reason == "abort":
        last = LAST.replace(b'"length"', b'"abort"')
    elif reason:
        tokens, last = tokens - 1, LAST.replace(b'"length"', b'"%s"' % reason.encode())
    count = (tokens + (1 if reason and reason != "abort" else 0)) if usage is None else usage
    end = b"" if usage == -1 else USAGE.replace(b'"completion_tokens":3', b'"completion_tokens":%d' % count)
    return OPENING + TOKEN * tokens + last + end + (DONE if done else b"")


def response(body: bytes, status: str = "200 OK", kind: str = "text/event-stream; charset=utf-8") -> bytes:
    """A whole HTTP answer."""
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def chunked(body: bytes, *, whole: bool = True) -> bytes:
    """A stream as the real server sends it; without its terminating chunk if it isn't whole."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
    pieces = [event + b"\n\n" for event in body.split(b"\n\n") if event]
    lines = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return head + lines + (b"0\r\n\r\n" if whole else b"")


@dataclass
class Scripted:
    """A server that gives the first connection the first answer, and so on; the last one again and again.

    Attributes:
        requests: heads and bodies that came.
    """

    answers: list[bytes]
    reset: bool = False
    hang: bool = False
    requests: list[tuple[str, dict[str, object]]] = field(default_factory=list)
    url: URL = field(default_factory=URL)

    def target(self, **more: object) -> Target:
        defaults: dict[str, object] = {"url": self.url, "model": "tiny", "prompt_tokens": 8, "output_tokens": 3}
        return Target(**(defaults | more))  # type: ignore[arg-type]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = int(re.search(r"content-length: (\d+)", head, re.I).group(1))  # type: ignore[union-attr]
            self.requests.append((head, json.loads(await reader.readexactly(length))))
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            writer.write(answer)
            await writer.drain()
            if self.hang:
                await reader.read()
            if self.reset:
                await asyncio.sleep(0.05)  # so that what was sent isn't lost with the connection
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.close()


@contextlib.asynccontextmanager
async def scripted(*answers: bytes, reset: bool = False, hang: bool = False) -> AsyncIterator[Scripted]:
    """A running scripted server; afterwards it resets or keeps the connection, or else closes it."""
    script = Scripted(list(answers), reset, hang)
    server = await asyncio.start_server(script.serve, "127.0.0.1", 0)
    script.url = URL(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    try:
        yield script
    finally:
        server.close()
