"""A container's log: written line by line with the time, read back as ``kubectl logs`` asks."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from vllm_sandbox.node.clock import now_micro

MAX_LINE = 16 * 1024  # the kubelet's own limit for one piece of a line


@dataclass(frozen=True)
class LogQuery:
    """What ``kubectl logs`` may ask for; ``since`` is a moment in UTC."""

    follow: bool = False
    tail: int | None = None
    since: datetime | None = None
    timestamps: bool = False
    limit_bytes: int | None = None


class ContainerLog:
    """The output of one run of a container, stdout and stderr in order of arrival."""

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self.file = file
        self._out = file.open("ab", buffering=0)
        self._closed = False
        self._grown: set[asyncio.Event] = set()

    def append(self, line: bytes) -> None:
        """Add one line (without its newline)."""
        if self._closed:
            return
        self._out.write(now_micro().encode() + b" " + line + b"\n")
        self._wake()

    def close(self) -> None:
        """No more lines will come: followers end."""
        if not self._closed:
            self._closed = True
            self._out.close()
            self._wake()

    async def drain(self, stream: asyncio.StreamReader) -> None:
        """Copy a process's output until it ends, in pieces of at most MAX_LINE bytes."""
        rest = b""
        while chunk := await stream.read(65536):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self.append(line)
            if len(rest) > MAX_LINE:
                self.append(rest)
                rest = b""
        if rest:
            self.append(rest)

    def tail_text(self, lines: int = 20, limit: int = 2048) -> str:
        """The last lines without times, for a termination message."""
        text = b"\n".join(line.partition(b" ")[2] for line in self._last_lines(lines))
        return text[-limit:].decode(errors="replace")

    async def read(self, query: LogQuery) -> AsyncIterator[bytes]:
        """Lines that match ``query``; with ``follow``, until the container's run ends."""
        grown = asyncio.Event()
        self._grown.add(grown)
        sent = 0
        try:
            with self.file.open("rb") as source:
                if query.tail is not None:
                    source.seek(self._tail_offset(query.tail))
                while True:
                    ended = self._closed
                    for line in _whole_lines(source):
                        text = _select(line, query)
                        if text is None:
                            continue
                        if query.limit_bytes is not None and sent + len(text) > query.limit_bytes:
                            yield text[: query.limit_bytes - sent]
                            return
                        sent += len(text)
                        yield text
                    if not query.follow or ended:
                        return
                    await grown.wait()
                    grown.clear()
        finally:
            self._grown.discard(grown)

    def _wake(self) -> None:
        for event in self._grown:
            event.set()

    def _last_lines(self, count: int) -> list[bytes]:
        if not self.file.exists():
            return []
        with self.file.open("rb") as source:
            return list(deque((line.rstrip(b"\n") for line in source), maxlen=count))

    def _tail_offset(self, count: int) -> int:
        starts: deque[int] = deque(maxlen=count + 1)
        position = 0
        with self.file.open("rb") as source:
            for line in source:
                starts.append(position)
                position += len(line)
        starts.append(position)
        return starts[-1 - count] if count < len(starts) else 0


def _whole_lines(source) -> Iterator[bytes]:  # type: ignore[no-untyped-def]
    """Complete lines from here on; a line still being written is left for the next call."""
    while True:
        start = source.tell()
        line = source.readline()
        if not line.endswith(b"\n"):
            source.seek(start)
            return
        yield line


def _select(line: bytes, query: LogQuery) -> bytes | None:
    stamp, _, text = line.partition(b" ")
    if query.since and datetime.fromisoformat(stamp.decode()) < query.since:
        return None
    return line if query.timestamps else text
