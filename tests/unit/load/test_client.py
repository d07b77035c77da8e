"""Attempts against a server that answers byte for byte."""

from __future__ import annotations

import asyncio
import socket
from time import perf_counter
from typing import Any

import pytest
from scripted import BUSY_BODY, BUSY_STREAM, RECORDED, Scripted, chunked, response, scripted, stream
from yarl import URL

from vllm_runbook.load.client import Attempt, Client, Target
from vllm_runbook.load.outcomes import Kind
from vllm_runbook.load.tally import Tally


async def attempt(target: Target, timeout: float = 10, **options: Any) -> Attempt:
    async with Client(target, **options) as client:
        return await client.attempt(target.body(0), perf_counter(), timeout, Tally())


async def reason(script: Scripted, **more: Any) -> str:
    return (await attempt(script.target(**more))).outcome.reason or "complete"


async def test_a_whole_answer_and_its_times() -> None:
    async with scripted(chunked(RECORDED)) as script:
        began = perf_counter()
        ended = await attempt(script.target())
        assert ended.outcome.kind is Kind.COMPLETE and ended.answer.completion_tokens == 3
        timing = ended.timing
        assert timing.first is not None and began < timing.first <= timing.last < perf_counter()
        assert len(timing.gaps) == 2 and sum(timing.gaps) == pytest.approx(timing.last - timing.first)


async def test_what_is_sent() -> None:
    async with scripted(chunked(RECORDED)) as script:
        await attempt(script.target(prompt_tokens=5, api_key="s3cret"))
        await attempt(script.target(exact=False, url=script.url / "gateway"))
    (head, body), (plain_head, plain_body) = script.requests
    assert head.startswith("POST /v1/chat/completions HTTP/1.1") and "Authorization: Bearer s3cret" in head
    assert plain_head.startswith("POST /gateway/v1/chat/completions") and "Authorization" not in plain_head
    assert len(str(body.pop("messages")[0]["content"]).split()) == 5  # type: ignore[index]
    assert body == {
        "model": "tiny",
        "max_tokens": 3,
        "stream": True,
        "stream_options": {"include_usage": True},
        "ignore_eos": True,
    }
    assert "ignore_eos" not in plain_body
    assert "s3cret" not in repr(script.target(api_key="s3cret"))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (chunked(stream(3)), "complete"),
        (chunked(stream(3), whole=False), "complete"),  # cut after the last word
        (chunked(stream(2, None, usage=-1, done=False), whole=False), "truncated"),
        (chunked(stream(2, "abort")), "aborted"),
        (chunked(stream(2, "abort", done=False), whole=False), "aborted"),
        (chunked(stream(2, "length")), "wrong_token_count"),
        (chunked(BUSY_STREAM), "busy_event"),
        (chunked(BUSY_STREAM, whole=False), "busy_event"),
        (response(BUSY_BODY, "503 Service Unavailable", "application/json"), "busy"),
        (response(b"no healthy upstream", "503 Service Unavailable", "text/plain"), "http_503"),
        (response(b"refused", "502 Bad Gateway", "text/plain"), "http_502"),
        (response(b"", "302 Found", "text/plain"), "http_302"),
        (response(b"{}", kind="application/json"), "not_a_stream"),
        (response(b"x" * 50, "500 Internal Server Error")[:-20], "truncated"),
        (b"", "connection_closed"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "bad_response"),
    ],
)
async def test_reasons(answer: bytes, expected: str) -> None:
    async with scripted(answer) as script:
        assert await reason(script) == expected


async def test_a_reset_before_and_in_the_answer() -> None:
    async with scripted(b"", reset=True) as script:
        assert await reason(script) == "connection_reset"
    async with scripted(chunked(stream(2, None), whole=False), reset=True) as script:
        ended = await attempt(script.target())
        assert (ended.outcome.reason, ended.answer.chunks) == ("connection_reset", 2)


async def test_a_port_that_refuses() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ended = await attempt(Target(URL(f"http://127.0.0.1:{port}"), "tiny", 8, 3))
    assert ended.outcome.reason == "connection_refused" and "127.0.0.1" in ended.outcome.words


@pytest.mark.parametrize("sent", [b"", chunked(stream(2, None, usage=-1, done=False), whole=False)])
async def test_a_server_that_hangs(sent: bytes) -> None:
    async with scripted(sent, hang=True) as script:
        assert (await attempt(script.target(), timeout=0.3)).outcome.reason == "timeout"


async def test_connections_are_new_unless_kept() -> None:
    async with scripted(chunked(RECORDED)) as script, Client(script.target()) as client:
        for number in range(3):
            await client.attempt(client.target.body(number), perf_counter(), 10, Tally())
    assert len(script.requests) == 3 and all("Connection: close" in head for head, _ in script.requests)
    connections = 0

    async def keep(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while head := await reader.readuntil(b"\r\n\r\n"):
            await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
            writer.write(chunked(RECORDED))

    server = await asyncio.start_server(keep, "127.0.0.1", 0)
    url = URL(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    async with Client(Target(url, "tiny", 8, 3), keep_alive=True) as client:
        for number in range(3):
            ended = await client.attempt(client.target.body(number), perf_counter(), 10, Tally())
            assert ended.outcome.kind is Kind.COMPLETE
    assert connections == 1
    server.close()


async def test_a_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "no_proxy", "NO_PROXY", "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)
    async with scripted(chunked(RECORDED)) as proxy:
        monkeypatch.setenv("HTTP_PROXY", str(proxy.url))
        target = proxy.target(url=URL("http://inference.llm:8000"))
        assert (await attempt(target)).outcome.kind is Kind.COMPLETE
        assert proxy.requests[0][0].startswith("POST http://inference.llm:8000/v1/chat/completions")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        await attempt(proxy.target())
        assert proxy.requests[1][0].startswith("POST /v1/chat/completions")
