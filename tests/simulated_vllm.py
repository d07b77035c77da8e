"""The simulated server as a process, with models of the hub stand-in on disk: fixtures for a conftest to import."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from vllm_sandbox.hub.content import read
from vllm_sandbox.hub.models import CATALOGUE
from vllm_sandbox.hub.repository import DigestCache, snapshot

GIB = 2**30
RECORDINGS = Path(__file__).parent / "data" / "vllm-recordings"
GPU = {"id": "GPU-0", "product": "NVIDIA-A100-SXM4-80GB", "memory_bytes": 80 * GIB}


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """``models("sandbox/tiny-llama")``: the directory of a model, as a prefetch leaves it."""
    root = tmp_path_factory.mktemp("models")

    def directory(repo: str) -> Path:
        target = root / repo
        if not target.is_dir():
            target.mkdir(parents=True)
            for name, file in snapshot(CATALOGUE[repo], 0, DigestCache(root)).files.items():
                (target / name).parent.mkdir(exist_ok=True)
                (target / name).write_bytes(b"".join(read(file.content)))
        return target

    return directory


@dataclass
class Server:
    """A running server. ``lines`` is its output so far; ``patience_s``: how long a start or an end may take."""

    process: subprocess.Popen[str]
    host: str
    port: int
    lines: list[str] = field(default_factory=list)
    patience_s: float = 30
    _queue: queue.SimpleQueue[str | None] = field(default_factory=queue.SimpleQueue)

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def read_on(self) -> None:
        """Pump the output into the queue; runs in a thread."""
        assert self.process.stdout
        for line in self.process.stdout:
            self._queue.put(line.rstrip())
        self._queue.put(None)

    def wait_for(self, text: str, seconds: float | None = None) -> str:
        """The next line that contains ``text``."""
        deadline = time.monotonic() + (seconds or self.patience_s)
        while (left := deadline - time.monotonic()) > 0:
            line = self._queue.get(timeout=left)
            if line is None:
                break
            self.lines.append(line)
            if text in line:
                return line
        raise AssertionError(f"{text!r} didn't come:\n" + "\n".join(self.lines))

    def ended(self) -> int:
        """The exit code, once it has ended by itself, with all its output in ``lines``."""
        code = self.process.wait(self.patience_s)
        while (line := self._queue.get(timeout=self.patience_s)) is not None:
            self.lines.append(line)
        return code

    @property
    def said(self) -> str:
        """Its output so far, as one text."""
        return "\n".join(self.lines)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(60)

    async def get(self, path: str) -> tuple[int, str]:
        async with aiohttp.ClientSession() as session, session.get(self.url + path) as answer:
            return answer.status, await answer.text()

    async def post(self, path: str, body: object, raw: str | None = None) -> tuple[int, str]:
        data = raw if raw is not None else json.dumps(body)
        headers = {"Content-Type": "application/json"}
        async with (
            aiohttp.ClientSession() as session,
            session.post(self.url + path, data=data, headers=headers) as answer,
        ):
            return answer.status, await answer.text()


def listens(server: Server) -> None:
    """Wait until the port is open: uvicorn says that it has started just before."""
    deadline = time.monotonic() + 10
    with socket.socket() as client:
        while client.connect_ex((server.host, server.port)):
            assert time.monotonic() < deadline, server.said


async def metric(server: Server, name: str, **labels: str) -> float:
    """The value of the first such sample on the server's metrics page."""
    _, text = await server.get("/metrics")
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                return sample.value
    raise AssertionError(f"no {name}{labels}")


Start = Callable[..., Server]


@pytest.fixture
def start(models: Callable[[str], Path]) -> Iterator[Start]:
    """``start("--max-num-seqs", "4", model=…, gpus=1, ready=True)`` runs a server until the test ends."""
    with servers(models) as run:
        yield run


def begin(
    command: Sequence[str], env: Mapping[str, str], port: int, *, patience_s: float = 30, session: bool = False
) -> Server:
    """Start a server whose output is read; with ``session`` its processes can be ended together."""
    process = subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=session
    )
    server = Server(process, "127.0.0.1", port, patience_s=patience_s)
    threading.Thread(target=server.read_on, daemon=True).start()
    return server


@contextlib.contextmanager
def servers(models: Callable[[str], Path]) -> Iterator[Start]:
    """A function that starts servers; they end with the context."""
    started: list[Server] = []

    def run(
        *flags: str,
        model: str | Path = "sandbox/tiny-llama",
        gpus: int = 1,
        ready: bool = True,
        environment: dict[str, str] | None = None,
    ) -> Server:
        port = free_port()
        target = models(model) if isinstance(model, str) else model
        command = [sys.executable, "-m", "vllm_sandbox.vllm", "serve", str(target), "--port", str(port)]
        command += ["--served-model-name", "tiny", *flags]
        env = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "VLLM_", "SANDBOX_"))}
        devices = json.dumps([GPU | {"id": f"GPU-{n}"} for n in range(gpus)])
        env |= {"SANDBOX_GPUS": devices, "SANDBOX_TIME_SCALE": "1000", **(environment or {})}
        server = begin(command, env, port)
        started.append(server)
        if ready:
            server.wait_for("Application startup complete")
        return server

    try:
        yield run
    finally:
        for server in started:
            server.process.kill()
            server.process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
