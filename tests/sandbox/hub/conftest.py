"""A hub on a free port, and its access log."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from vllm_sandbox.hub.server import RunningHub, running_hub


@pytest.fixture(autouse=True)
def own_client_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client keeps what it caches and where it looks for tokens inside the test's directory."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf-home"))
    for name in ("HF_TOKEN", "HF_ENDPOINT", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def digest_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("digests")


@pytest_asyncio.fixture
async def hub(digest_cache: Path) -> AsyncIterator[RunningHub]:
    async with running_hub("127.0.0.1", 0, digest_cache) as running:
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
