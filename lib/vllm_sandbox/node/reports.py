"""The agent's socket: simulated programs say what a real node would measure.

Newline-delimited JSON; every message carries the container's token::

    {"token": T, "memory_bytes": N}
    {"token": T, "register": {"resource": "nvidia.com/gpu", "ids": [...]}}
    {"token": T, "gpu": {"busy": 0.7, "memory_bytes": N}}
    {"token": T, "ask": "gpus"}

The last one is answered, by a line with every GPU of the node and who has it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Protocol

log = logging.getLogger(__name__)


class Reporter(Protocol):
    """A container, as its own reports reach it."""

    def memory_reported(self, memory_bytes: int) -> None: ...

    def devices_registered(self, resource: str, ids: list[str]) -> None: ...

    def devices_gone(self, resource: str) -> None: ...

    def gpus_used(self, busy: float, memory_bytes: int) -> None: ...

    def gpus_of_node(self) -> list[dict[str, Any]]: ...


class ReportSocket:
    """Hands out tokens and passes reports on to the container that a token names."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._containers: dict[str, Reporter] = {}

    def admit(self, container: Reporter) -> str:
        """A fresh token for one run of a container."""
        token = secrets.token_hex(16)
        self._containers[token] = container
        return token

    def dismiss(self, token: str) -> None:
        """The run is over: its token is worthless."""
        self._containers.pop(token, None)

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        self.file.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(self._serve, str(self.file))
        self.file.chmod(0o600)
        try:
            yield
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        registered: list[tuple[Reporter, str]] = []
        try:
            while line := await reader.readline():
                if (answer := self._take(line, registered)) is not None:
                    writer.write(json.dumps(answer).encode() + b"\n")
                    await writer.drain()
        except (ValueError, KeyError, TypeError, ConnectionError) as error:
            log.warning("a container's report was not understood: %s", error)
        finally:
            for container, resource in registered:
                container.devices_gone(resource)
            writer.close()

    def _take(self, line: bytes, registered: list[tuple[Reporter, str]]) -> Any:
        """Pass a report on; what it asked for, if it asked."""
        message: dict[str, Any] = json.loads(line)
        container = self._containers.get(message["token"])
        if container is None:
            return None
        if "memory_bytes" in message:
            container.memory_reported(int(message["memory_bytes"]))
        if register := message.get("register"):
            container.devices_registered(register["resource"], register["ids"])
            registered.append((container, register["resource"]))
        if use := message.get("gpu"):
            container.gpus_used(float(use["busy"]), int(use["memory_bytes"]))
        return container.gpus_of_node() if message.get("ask") == "gpus" else None
