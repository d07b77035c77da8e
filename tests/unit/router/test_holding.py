"""A model of which no server is ready: requests are held, so many and so long."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from vllm_runbook.router.routes import Routes

from .backends import Client, Server, free_port, router, routes

PENDING = 'vllm_runbook_router_pending_requests{model="cold"}'


async def until_pending(client: Client, count: int) -> None:
    """Wait until so many requests are held."""
    async with asyncio.timeout(10):
        while await client.metric(PENDING) != count:
            await asyncio.sleep(0.02)


async def test_held_until_a_server_is_there_and_counted_meanwhile() -> None:
    server = Server(port=free_port())
    async with router(routes({"cold": server.port})) as client:
        assert await client.metric(PENDING) == 0
        asked = [asyncio.create_task(client.ask("cold")) for _ in range(3)]
        await until_pending(client, 3)
        await server.start()
        assert [status for status, _ in await asyncio.gather(*asked)] == [200, 200, 200]
        assert await client.metric(PENDING) == 0
        assert await client.metric('vllm_runbook_router_hold_seconds_count{model="cold"}') == 3
        assert (await client.ask("cold"))[0] == 200  # the next one isn't held at all
        assert await client.metric('vllm_runbook_router_hold_seconds_count{model="cold"}') == 3
    await server.stop()


async def test_one_more_than_the_queue_holds_is_refused_at_once() -> None:
    server = Server(port=free_port())
    async with router(routes({"cold": server.port}, queue=2)) as client:
        asked = [asyncio.create_task(client.ask("cold")) for _ in range(2)]
        await until_pending(client, 2)
        async with client.session.post(f"{client.url}/v1/completions", json={"model": "cold"}) as answer:
            error = (await answer.json())["error"]
            assert answer.status == 503 and int(answer.headers["Retry-After"]) >= 1
            assert error["type"] == "ServiceUnavailableError" and "2 requests wait for it already" in error["message"]
        await server.start()
        assert [status for status, _ in await asyncio.gather(*asked)] == [200, 200]
    await server.stop()


async def test_held_bodies_have_a_limit_together() -> None:
    async with router(routes({"cold": free_port(), "other": free_port()}), held=30) as client:
        asked = asyncio.create_task(client.ask("cold"))
        await until_pending(client, 1)
        status, text = await client.ask("other")
        assert status == 503 and "held requests fill" in text
        asked.cancel()
        await until_pending(client, 0)
        other = asyncio.create_task(client.ask("other"))
        async with asyncio.timeout(10):
            while await client.metric('vllm_runbook_router_pending_requests{model="other"}') != 1:
                await asyncio.sleep(0.02)
        other.cancel()


async def test_nobody_is_held_for_ever() -> None:
    async with (
        router(routes({"cold": free_port()}, hold=0.7)) as client,
        client.session.post(f"{client.url}/v1/completions", json={"model": "cold"}) as answer,
    ):
        assert answer.status == 503 and answer.headers["Retry-After"] == "1"
        assert "none was within 0.7 s" in (await answer.json())["error"]["message"]
        assert await client.metric('vllm_runbook_router_answers_total{code="503",model="cold"}') == 1


async def test_who_goes_away_is_held_no_longer() -> None:
    async with router(routes({"cold": free_port()})) as client:
        asked = asyncio.create_task(client.ask("cold"))
        await until_pending(client, 1)
        asked.cancel()
        await until_pending(client, 0)


async def test_a_model_that_is_not_there_holds_up_no_other() -> None:
    server = Server()
    await server.start()
    async with router(routes({"cold": free_port(), "warm": server.port}, queue=1)) as client:
        asked = asyncio.create_task(client.ask("cold"))
        await until_pending(client, 1)
        assert (await client.ask("warm"))[0] == 200
        asked.cancel()
    await server.stop()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "routes.json"


def start(file: Path, table: Routes, port: int) -> subprocess.Popen[str]:
    """The router as it runs in a pod."""
    file.write_text(table.model_dump_json())
    command = [sys.executable, "-m", "vllm_runbook.router", f"--routes={file}", "--host=127.0.0.1", f"--port={port}"]
    env = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)


async def test_at_its_end_answers_are_finished_and_the_held_let_go(file: Path) -> None:
    server, port = Server(go=asyncio.Semaphore(1)), free_port()
    await server.start()
    process = start(file, routes({"warm": server.port, "cold": free_port()}), port)
    assert process.stdout and json.loads(await asyncio.to_thread(process.stdout.readline))["event"] == "start"
    try:
        async with aiohttp.ClientSession() as session:
            client = Client(f"http://127.0.0.1:{port}", session, None)  # type: ignore[arg-type]
            held = asyncio.create_task(client.ask("cold"))
            await until_pending(client, 1)
            answer = await session.post(f"{client.url}/v1/completions", json={"model": "warm"})
            assert await answer.content.readany() == b"data: one\n\n"
            process.send_signal(signal.SIGTERM)
            status, text = await held
            assert status == 503 and "another one takes requests" in text
            server.go.release()
            assert await answer.content.read() == b"data: two\n\n"
        assert await asyncio.to_thread(process.wait, 20) == 0
    finally:
        process.kill()
        await server.stop()


def test_a_file_that_can_not_be_used_is_named_with_its_field(file: Path) -> None:
    table = routes({"base": 1}).model_dump()
    table["backends"][0]["hold_seconds"] = "long"
    file.write_text(json.dumps(table))
    command = [sys.executable, "-m", "vllm_runbook.router", f"--routes={file}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "backends.0.hold_seconds = 'long'" in done.stderr and "number" in done.stderr
