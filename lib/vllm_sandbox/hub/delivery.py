"""Sending a file: HEAD and GET with ranges, at a limited rate, with the faults that hit it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator

from aiohttp import web

from vllm_sandbox.hub import content as contents
from vllm_sandbox.hub.access import HubError
from vllm_sandbox.hub.content import Content
from vllm_sandbox.hub.faults import Corrupt, Cut, FaultBoard, Stall, corrupt_offset
from vllm_sandbox.hub.repository import HubFile, Snapshot

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """``[start, stop)`` of a Range header with one range; None for the whole file.

    Raises:
        HubError: 416, the range lies outside of the file.
    """
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if first:
        start, stop = int(first), min(int(last) + 1 if last else size, size)
    else:
        start, stop = max(0, size - int(last)), size
    if start >= stop:
        raise HubError(416, "Range not satisfiable", headers={"Content-Range": f"bytes */{size}"})
    return start, stop


def _headers(snapshot: Snapshot, file: HubFile) -> dict[str, str]:
    headers = {
        "X-Repo-Commit": snapshot.commit,
        "ETag": f'"{file.etag}"',
        "Accept-Ranges": "bytes",
        "Content-Type": "application/octet-stream",
        "Content-Disposition": f'inline; filename="{file.path.rsplit("/", 1)[-1]}"',
    }
    if file.sha256 is not None:
        headers |= {"X-Linked-ETag": f'"{file.sha256}"', "X-Linked-Size": str(file.content.size)}
    return headers


async def send(
    request: web.Request, snapshot: Snapshot, file: HubFile, faults: FaultBoard, bytes_per_second: float | None
) -> web.StreamResponse:
    """Answer a HEAD or GET of a file. ``bytes_per_second`` limits this one connection."""
    size = file.content.size
    headers = _headers(snapshot, file)
    if request.method == "HEAD":
        return web.Response(headers={**headers, "Content-Length": str(size)})
    wanted = byte_range(request.headers.get("Range"), size)
    start, stop = wanted or (0, size)
    response = web.StreamResponse(status=200 if wanted is None else 206, headers=headers)
    response.content_length = stop - start
    if wanted is not None:
        response.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    hits = faults.in_body(snapshot.spec.repo_id, file.path, start, stop, size)
    await response.prepare(request)
    await _Body(request, response, bytes_per_second).send(file.content, start, stop, hits)
    return response


class _Body:
    """One body on its way."""

    def __init__(self, request: web.Request, response: web.StreamResponse, bytes_per_second: float | None) -> None:
        self._request = request
        self._response = response
        self._rate = bytes_per_second
        self._began = asyncio.get_running_loop().time()
        self._sent = 0

    async def send(self, content: Content, start: int, stop: int, hits: list[Cut | Corrupt | Stall]) -> None:
        corrupted = {corrupt_offset(hit, content.size) for hit in hits if isinstance(hit, Corrupt)}
        events = sorted((hit for hit in hits if isinstance(hit, Cut | Stall)), key=lambda hit: hit.after_bytes)
        position = start
        for hit in events:
            await self._pieces(content, position, start + hit.after_bytes, corrupted)
            position = start + hit.after_bytes
            if isinstance(hit, Cut):
                self._hang_up()
                return
            await asyncio.sleep(hit.seconds)
        await self._pieces(content, position, stop, corrupted)
        await self._response.write_eof()

    async def _pieces(self, content: Content, start: int, stop: int, corrupted: set[int]) -> None:
        if start >= stop:
            return
        position = start
        for piece in self._sized(contents.read(content, start, stop)):
            for offset in corrupted:
                if position <= offset < position + len(piece):
                    index = offset - position
                    piece = piece[:index] + bytes([piece[index] ^ 0xFF]) + piece[index + 1 :]
            await self._keep_to_rate(len(piece))
            await self._response.write(piece)
            position += len(piece)

    def _sized(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """At a limited rate, cut pieces so that one takes a tenth of a second."""
        limit = contents.READ_BYTES if self._rate is None else max(1024, int(self._rate / 10))
        for piece in pieces:
            for offset in range(0, len(piece), limit):
                yield piece[offset : offset + limit]

    async def _keep_to_rate(self, count: int) -> None:
        """Hold ``count`` bytes back until the rate allows for the last of them, so that no body is early by a piece."""
        self._sent += count
        if self._rate is not None:
            ahead = self._began + self._sent / self._rate - asyncio.get_running_loop().time()
            if ahead > 0:
                await asyncio.sleep(ahead)

    def _hang_up(self) -> None:
        """End the connection after what was written: the client sees an incomplete body."""
        if self._request.transport is not None:
            self._request.transport.close()
