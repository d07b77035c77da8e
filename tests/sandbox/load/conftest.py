"""The load generator as the process that a Job runs, against the simulated server."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from simulated_vllm import Server, models, servers, start

__all__ = ["models", "start"]

DEADLINE_S = 60


@dataclass(frozen=True)
class Ended:
    """What a run left behind."""

    code: int
    stdout: str
    stderr: str
    termination: str

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stdout.splitlines()]

    @property
    def result(self) -> dict[str, Any]:
        """The last line; its counts add up."""
        result = self.events[-1]
        assert result["event"] == "result", self.stderr
        assert result["sent"] == result["complete"] + result["dropped"] + result["rejected"] + result["unfinished"]
        assert sum(result["reasons"].values()) == result["dropped"] + result["rejected"]
        return result


class Running:
    """A started load generator."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.process = process
        self._log = log
        self._lines: list[bytes] = []

    async def sample(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The next sample of which the condition is true."""
        assert self.process.stdout
        async with asyncio.timeout(DEADLINE_S):
            while line := await self.process.stdout.readline():
                self._lines.append(line)
                event: dict[str, Any] = json.loads(line)
                if event["event"] == "sample" and condition(event):
                    return event
        raise AssertionError(f"it ended before that: {b''.join(self._lines).decode()}")

    async def end(self, number: int | None = None) -> Ended:
        """Wait for the end, after a signal if there is one."""
        if number is not None:
            self.process.send_signal(number)
        async with asyncio.timeout(DEADLINE_S):
            stdout, stderr = await self.process.communicate()
        assert self.process.returncode is not None
        text = self._log.read_text() if self._log.exists() else ""
        return Ended(self.process.returncode, (b"".join(self._lines) + stdout).decode(), stderr.decode(), text)


class Generator:
    """Starts load generators."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._started: list[asyncio.subprocess.Process] = []

    async def start(self, server: Server | str, *options: str, key: str | None = None) -> Running:
        url = server if isinstance(server, str) else server.url
        environment = {name: value for name, value in os.environ.items() if not name.startswith("VLLM_")}
        environment |= {"TERMINATION_LOG_PATH": str(self._log), "NO_PROXY": "*"}
        environment |= {"VLLM_API_KEY": key} if key else {}
        defaults = ["--model", "tiny", "--arrivals", "fixed", "--rate", "20", "--seconds", "1", "--prompt-tokens", "16"]
        command = [sys.executable, "-m", "vllm_runbook.load", "--url", url, *defaults, *options]
        process = await asyncio.create_subprocess_exec(
            *command, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        self._started.append(process)
        return Running(process, self._log)

    async def run(self, server: Server | str, *options: str, **more: Any) -> Ended:
        return await (await self.start(server, *options, **more)).end()

    def kill_all(self) -> None:
        for process in self._started:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL)


@pytest_asyncio.fixture
async def load(tmp_path: Path) -> AsyncIterator[Generator]:
    generator = Generator(tmp_path / "termination-log")
    yield generator
    generator.kill_all()


@pytest.fixture(scope="session")
def server(models: Callable[[str], Path]) -> Iterator[Server]:
    """One server for the tests that leave it as it was."""
    with servers(models) as run:
        yield run("--max-model-len", "1024")
