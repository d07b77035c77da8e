"""The prefetch as the process that a Job runs, against the hub stand-in."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from vllm_sandbox.hub.server import RunningHub, running_hub

DEADLINE = 60
TINY = "sandbox/tiny-llama"
GATED = "meta-llama/Llama-3.1-8B-Instruct"
SHARD = "model-00001-of-00003.safetensors"


@dataclass(frozen=True)
class Ended:
    """What a run left behind."""

    code: int
    stdout: str
    stderr: str
    termination: str

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stdout.splitlines() if line.startswith("{")]

    def named(self, event: str) -> list[dict[str, Any]]:
        return [entry for entry in self.events if entry["event"] == event]

    @property
    def reason(self) -> str:
        """The last line of stderr, which must also be the termination message."""
        last = self.stderr.splitlines()[-1]
        assert last == self.termination
        return last


class Prefetching:
    """Starts ``python -m vllm_runbook.prefetch`` processes."""

    def __init__(self, directory: Path) -> None:
        self.target = directory / "models" / "tiny"
        self._directory = directory
        self._running: list[asyncio.subprocess.Process] = []

    async def start(
        self,
        endpoint: str,
        *options: str,
        repo: str = TINY,
        token: str | None = None,
        file_limit_kib: int | None = None,
    ) -> asyncio.subprocess.Process:
        log = self._directory / "termination-log"
        log.unlink(missing_ok=True)
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "PREFETCH_"))}
        environment |= {
            "HF_ENDPOINT": endpoint,
            "HF_HOME": str(self._directory / "hf"),
            "TERMINATION_LOG_PATH": str(log),
        }
        if token is not None:
            environment["HF_TOKEN"] = token
        command = [sys.executable, "-m", "vllm_runbook.prefetch", "--repo", repo, "--target", str(self.target)]
        command += ["--retry-wait", "0.01", *options]
        if file_limit_kib is not None:
            command = ["bash", "-c", f'ulimit -f {file_limit_kib}; exec "$@"', "limited", *command]
        process = await asyncio.create_subprocess_exec(
            *command, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        self._running.append(process)
        return process

    async def end(self, process: asyncio.subprocess.Process, head: bytes = b"") -> Ended:
        """Wait for it; ``head`` is what was read of its stdout before."""
        stdout, stderr = await asyncio.wait_for(process.communicate(), DEADLINE)
        log = self._directory / "termination-log"
        assert process.returncode is not None
        text = log.read_text() if log.exists() else ""
        return Ended(process.returncode, (head + stdout).decode(), stderr.decode(), text)

    async def run(self, endpoint: str, *options: str, **more: Any) -> Ended:
        return await self.end(await self.start(endpoint, *options, **more))

    async def stop_all(self) -> None:
        for process in self._running:
            if process.returncode is None:
                process.kill()
                await process.wait()


@pytest_asyncio.fixture
async def prefetching(tmp_path: Path) -> AsyncIterator[Prefetching]:
    running = Prefetching(tmp_path)
    yield running
    await running.stop_all()


@pytest.fixture(scope="session")
def digest_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("digests")


@pytest_asyncio.fixture
async def hub(digest_cache: Path) -> AsyncIterator[RunningHub]:
    async with running_hub("127.0.0.1", 0, digest_cache) as running:
        yield running


@pytest_asyncio.fixture
async def slow_hub(digest_cache: Path) -> AsyncIterator[RunningHub]:
    """At this rate the tiny model's first shard takes about six seconds."""
    async with running_hub("127.0.0.1", 0, digest_cache, bytes_per_second=50_000) as running:
        yield running


@pytest.fixture
def requests_seen() -> Iterator[list[str]]:
    """The hub's access log, filled as requests end."""
    lines: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    logger = logging.getLogger("vllm_sandbox.hub.access")
    handler = Collector()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield lines
    logger.removeHandler(handler)


def downloads(lines: list[str], file: str = "") -> list[str]:
    """The GET requests for files (for one file) in an access log."""
    return [line for line in lines if line.startswith("GET ") and "/resolve/" in line and file in line]
