"""One endpoint: where a request goes, what comes back, and what is refused."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest

from .backends import Server, router, routes

PENDING = 'vllm_runbook_router_pending_requests{model="%s"}'


async def test_each_model_and_adapter_goes_to_its_server_with_the_callers_key() -> None:
    base, other = Server(), Server()
    await base.start()
    await other.start()
    table = routes({"base": base.port, "other": other.port}, adapters={"sql": "base"})
    async with router(table) as client:
        for path in ("/v1/chat/completions", "/v1/completions", "/v1/embeddings"):
            assert (await client.ask("base", path))[0] == 200
        status, text = await client.ask("sql", Authorization="Bearer secret-key", Connection="close, X-Hop")
        assert (status, text) == (200, "data: one\n\ndata: two\n\n")
        assert (await client.ask("other"))[0] == 200
        assert [model for model, _ in base.seen] == ["base", "base", "base", "sql"]
        assert base.seen[-1][1]["Authorization"] == "Bearer secret-key"
        assert [model for model, _ in other.seen] == ["other"]
        # an adapter counts as its base
        assert await client.metric('vllm_runbook_router_received_total{model="base"}') == 4
        assert await client.metric('vllm_runbook_router_answers_total{code="200",model="other"}') == 1
    await base.stop()
    await other.stop()


async def test_an_unknown_model_is_told_what_there_is() -> None:
    async with router(routes({"base": 1}, adapters={"sql": "base"})) as client:
        status, text = await client.ask("nope")
        error = json.loads(text)["error"]
        assert status == 404 and error["code"] == 404 and error["type"] == "NotFoundError" and error["param"] == "model"
        assert error["message"] == "The model `nope` does not exist. Valid models: base, sql."
        await client.ask("made-up-by-a-client")
        assert await client.metric('vllm_runbook_router_answers_total{code="404",model="(unknown)"}') == 2


@pytest.mark.parametrize("body", [b"{", b"[]", b"{}", b'{"model": 7}', b'{"model": ""}'])
async def test_a_body_that_names_no_model_is_refused(body: bytes) -> None:
    async with (
        router(routes({"base": 1})) as client,
        client.session.post(f"{client.url}/v1/completions", data=body) as answer,
    ):
        assert answer.status == 400 and (await answer.json())["error"]["type"] == "BadRequestError"


async def test_a_body_has_a_limit_and_paths_are_few() -> None:
    async with router(routes({"base": 1}), body=2**20) as client:
        async with client.session.post(f"{client.url}/v1/completions", data=b" " * (2**20 + 1)) as answer:
            assert answer.status == 413 and "larger than 1 MiB" in (await answer.json())["error"]["message"]
        async with client.session.get(f"{client.url}/v1/completions") as answer:
            assert answer.status == 405 and "error" in await answer.json()
        async with client.session.post(f"{client.url}/v1/load_lora_adapter", json={}) as answer:
            assert answer.status == 404 and "not served here" in (await answer.json())["error"]["message"]


async def test_the_models_are_listed_as_vllm_lists_them() -> None:
    table = routes({"base": 1}, adapters={"sql": "base"})
    async with router(table) as client, client.session.get(f"{client.url}/v1/models") as answer:
        base, sql = (await answer.json())["data"]
    fields = {"id", "object", "created", "owned_by", "root", "parent", "max_model_len", "permission"}
    assert set(base) == set(sql) == fields
    assert (base["id"], base["parent"], base["max_model_len"]) == ("base", None, 1024)
    assert (sql["id"], sql["parent"], sql["root"]) == ("sql", "base", "/models/adapters/sql")


async def test_without_the_key_nobody_gets_through() -> None:
    server = Server()
    await server.start()
    async with router(routes({"base": server.port}), key="the-right-key") as client:
        assert (await client.ask("base"))[0] == 401
        assert (await client.ask("base", Authorization="Bearer wrong"))[0] == 401
        assert server.seen == []
        assert (await client.ask("base", Authorization="Bearer the-right-key"))[0] == 200
        for path in ("/health", "/ready", "/metrics"):
            async with client.session.get(client.url + path) as answer:
                assert answer.status == 200
    await server.stop()


async def test_a_stream_comes_piece_by_piece() -> None:
    server = Server(pieces=("first", "second"), go=asyncio.Semaphore(1))
    await server.start()
    body = json.dumps({"model": "base", "stream": True})
    async with (
        router(routes({"base": server.port})) as client,
        client.session.post(f"{client.url}/v1/completions", data=body) as answer,
    ):
        assert answer.content_type == "text/event-stream" and answer.headers["X-Request-Id"] == "7"
        # the server says no more before this has arrived
        assert await answer.content.readany() == b"data: first\n\n"
        assert await client.metric('vllm_runbook_router_active_requests{model="base"}') == 1
        server.go.release()
        assert await answer.content.read() == b"data: second\n\n"
    await server.stop()


async def test_a_stream_that_breaks_off_breaks_off_for_the_client_too() -> None:
    server = Server(breaks=True)
    await server.start()
    async with router(routes({"base": server.port})) as client:
        with pytest.raises(aiohttp.ClientError):
            await client.ask("base")
        assert await client.metric('vllm_runbook_router_active_requests{model="base"}') == 0
    await server.stop()


async def test_a_client_that_goes_away_ends_the_servers_work() -> None:
    server = Server(go=asyncio.Semaphore(1))
    await server.start()
    async with router(routes({"base": server.port})) as client:
        answer = await client.session.post(f"{client.url}/v1/completions", data=json.dumps({"model": "base"}))
        await answer.content.readany()
        answer.close()
        async with asyncio.timeout(10):
            await server.gone.wait()
    await server.stop()
