"""``python -m vllm_sandbox.hub``."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

import aiohttp
import pytest

pytestmark = pytest.mark.asyncio


async def _start(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "vllm_sandbox.hub", *arguments,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def test_prints_its_address_logs_requests_and_stops_on_sigterm(tmp_path: Path) -> None:
    process = await _start("--cache", str(tmp_path / "cache"))
    assert process.stdout is not None
    first = (await asyncio.wait_for(process.stdout.readline(), 60)).decode()
    assert first.startswith("listening on http://127.0.0.1:")
    endpoint = first.split()[-1]
    async with (
        aiohttp.ClientSession(headers={"Authorization": "Bearer hf_sandbox_reader"}) as session,
        session.get(f"{endpoint}/sandbox/tiny-llama/resolve/main/config.json") as answer,
    ):
        assert answer.status == 200
    line = (await asyncio.wait_for(process.stdout.readline(), 60)).decode()
    assert line == "GET /sandbox/tiny-llama/resolve/main/config.json -> 200 range=- token=yes\n"
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 60) == 0


async def test_an_address_in_use_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = await _start("--cache", str(tmp_path), "--port", str(port))
        _, errors = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 1
    assert f"can't serve on 127.0.0.1:{port}" in errors.decode()
