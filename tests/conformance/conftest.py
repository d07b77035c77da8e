"""One suite for two servers: the simulated vLLM (by default), and with ``--engine=vllm`` the real one.

What both must do stands here. What only the simulation has (a GPU's memory, host memory by formula, its own words,
flags by themselves) is tested in tests/sandbox/vllm.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

import real_vllm
import simulated_vllm
from simulated_vllm import Server, Start, models
from vllm_sandbox.errors import SandboxError

__all__ = ["models"]

Models = Callable[[str], Path]


@pytest.fixture(scope="session")
def real(request: pytest.FixtureRequest) -> bool:
    """Whether the real server is tested; fails if it was asked for and isn't there."""
    return bool(request.config.getoption("--engine") == "vllm")


@pytest.fixture(scope="session")
def _running(real: bool, models: Models) -> Iterator[Start]:
    try:
        with (real_vllm if real else simulated_vllm).servers(models) as run:
            yield run
    except SandboxError as error:
        pytest.fail(error.message, pytrace=False)


MayHang = Callable[[Server, str], AbstractContextManager[None]]


@pytest.fixture
def may_hang(real: bool) -> MayHang:
    """``with may_hang(server, why):`` a wait in which the real server, alone, is known to hang; it is killed then."""

    @contextmanager
    def watch(server: Server, why: str) -> Iterator[None]:
        try:
            yield
        except (TimeoutError, subprocess.TimeoutExpired):
            server.process.kill()
            if real:
                pytest.xfail(f"vLLM 0.32.0: {why} (docs/real-vllm.md)")
            raise

    return watch


@pytest.fixture
def start(_running: Start) -> Iterator[Start]:
    """``start("--max-num-seqs", "4", model=…, ready=True)`` runs a server of the test's own."""
    own: list[Server] = []

    def run(*flags: str, **options: object) -> Server:
        own.append(_running(*flags, **options))
        return own[-1]

    yield run
    for server in own:
        if server.process.poll() is None:
            server.process.terminate()
    for server in own:
        server.process.wait(server.patience_s)


@pytest.fixture(scope="session")
def shared(_running: Start) -> Start:
    """``shared(*flags)``: a server that tests with the same flags have in common, and leave as it is."""
    there: dict[tuple[str, ...], Server] = {}

    def get(*flags: str) -> Server:
        if flags not in there or there[flags].process.poll() is not None:
            there[flags] = _running(*flags)
        return there[flags]

    return get


@pytest.fixture
def server(shared: Start) -> Server:
    """A server of this test and others: four sequences at a time, up to 1,024 tokens each."""
    return shared("--max-model-len", "1024", "--max-num-seqs", "4")
