"""What the simulation has of its own under load: a page that is cheap, and host memory by formula."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import aiohttp

from simulated_vllm import Start
from vllm_client import chat
from vllm_sandbox.vllm.metrics import Metrics


def test_the_page_is_cheap() -> None:
    metrics = Metrics("tiny", {})
    metrics.render()
    began = time.process_time()
    for _ in range(20):
        metrics.render()
    assert (time.process_time() - began) / 20 < 0.02


async def test_host_memory_is_reported_and_grows_with_the_queue(start: Start, tmp_path: Path) -> None:
    reports: asyncio.Queue[int] = asyncio.Queue()

    async def agent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            message = json.loads(line)
            assert message["token"] == "secret"
            await reports.put(message["memory_bytes"])
        writer.close()

    address = str(tmp_path / "agent.sock")
    listener = await asyncio.start_unix_server(agent, address)
    environment = {"SANDBOX_AGENT_SOCKET": address, "SANDBOX_CONTAINER_TOKEN": "secret"}
    loop = asyncio.get_running_loop()
    flags = ("--max-num-seqs", "1", "--max-model-len", "1024")
    server = await loop.run_in_executor(None, lambda: start(*flags, environment=environment))
    async with asyncio.timeout(20):
        base = await reports.get()
    assert 3 * 2**30 < base < 5 * 2**30
    async with aiohttp.ClientSession() as session:
        tasks = [asyncio.create_task(chat(session, server, 60, stream=True)) for _ in range(20)]
        async with asyncio.timeout(20):
            while await reports.get() < base + 19 * 20 * 2**20:
                pass
        await asyncio.gather(*tasks)
        async with asyncio.timeout(20):
            while await reports.get() != base:
                pass
    server.stop()
    listener.close()
