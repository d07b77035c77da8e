"""Answers against the recordings, byte for byte where the server decides them, and with the real client."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import aiohttp
import openai
import pytest

from simulated_vllm import RECORDINGS, Server, Start
from vllm_sandbox.vllm.server import NOT_PLAYED


@pytest.fixture
def server(start: Start) -> Server:
    return start("--max-model-len", "1024")


def recorded(title: str) -> tuple[int, str]:
    """Status and body of a recording."""
    text = (RECORDINGS / "responses.txt").read_text()
    part = text.split(f"## {title}\n")[1].split("\n## ")[0]
    body, _, status = part.rpartition("HTTP ")
    return int(status), body.strip()


CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "hello"}]}


@pytest.mark.parametrize(
    ("title", "path", "body", "raw"),
    [
        ("unknown model", "/v1/chat/completions", {**CHAT, "model": "nope"}, None),
        ("prompt+max_tokens over the context", "/v1/chat/completions", {**CHAT, "max_tokens": 5000}, None),
        ("prompt over the context", "/v1/completions", {"model": "tiny", "prompt": "word " * 3000}, None),
        ("malformed json", "/v1/chat/completions", None, '{"model":'),
        ("missing messages", "/v1/chat/completions", {"model": "tiny"}, None),
        ("bad temperature", "/v1/chat/completions", {**CHAT, "temperature": -1}, None),
    ],
)
async def test_errors_are_the_recorded_ones(
    server: Server, title: str, path: str, body: dict[str, Any], raw: str | None
) -> None:
    assert await server.post(path, body, raw) == recorded(title)


async def test_small_routes(server: Server) -> None:
    assert await server.get("/v1/chat/completions") == recorded("wrong method")
    assert await server.get("/health") == (200, "")
    assert await server.get("/ping") == (200, "")
    assert await server.get("/load") == recorded("load")
    assert json.loads((await server.get("/version"))[1]) == {"version": "0.32.0"}
    assert (await server.get("/nothing/here"))[0] == 404
    status, text = await server.post("/tokenize", {"model": "tiny", "prompt": "one two"})
    assert status == 200 and json.loads(text)["count"] == len(json.loads(text)["tokens"]) == 2
    (model,) = json.loads((await server.get("/v1/models"))[1])["data"]
    assert (model["id"], model["max_model_len"], model["owned_by"]) == ("tiny", 1024, "vllm")


async def test_every_recorded_route_answers(server: Server) -> None:
    """Routes that aren't played say so with 501; none is a 404 that a real server wouldn't give."""
    lines = (RECORDINGS / "routes.txt").read_text().splitlines()[1:]
    not_played = {f"{method} {path}" for method, path in NOT_PLAYED}
    for line in lines:
        method, path = line.split(" ")
        path = path.replace("{response_id}", "resp-1")
        send = server.get(path) if method == "GET" else server.post(path, {})
        status = (await send)[0]
        assert (status == 501) if line in not_played else (status not in (404, 405, 501)), line


def shape(value: Any) -> Any:
    """Keys and kinds, without the values that differ from run to run."""
    if isinstance(value, dict):
        return {key: shape(each) for key, each in value.items()}
    if isinstance(value, list):
        return [shape(each) for each in value[:1]]
    return type(value).__name__


async def test_a_completion_has_the_recorded_shape(server: Server) -> None:
    status, text = await server.post("/v1/completions", {"model": "tiny", "prompt": "hello world", "max_tokens": 4})
    wanted_status, wanted = recorded("completion")
    assert status == wanted_status
    assert shape(json.loads(text)) == shape(json.loads(wanted))
    found = json.loads(text)
    assert found["usage"] == json.loads(wanted)["usage"]
    assert found["choices"][0]["finish_reason"] == "length"
    assert re.fullmatch(r"cmpl-[0-9a-f]{16}", found["id"])
    assert re.fullmatch(r"vllm-0\.32\.0-[0-9a-f]{8}", found["system_fingerprint"])


def events(text: str) -> Iterator[Any]:
    for block in text.strip().split("\n\n"):
        assert block.startswith("data: ")
        yield block[6:] if block == "data: [DONE]" else json.loads(block[6:])


async def test_a_chat_stream_has_the_recorded_shape(server: Server) -> None:
    body = {**CHAT, "max_tokens": 3, "stream": True, "stream_options": {"include_usage": True}, "ignore_eos": True}
    status, text = await server.post("/v1/chat/completions", body)
    wanted_status, wanted = recorded("chat, streamed, with usage")
    assert status == wanted_status
    assert [shape(event) for event in events(text)] == [shape(event) for event in events(wanted)]
    reasons = [event["choices"][0]["finish_reason"] for event in events(text) if event != "[DONE]" and event["choices"]]
    assert reasons == [None, None, None, "length"]


async def test_headers_are_uvicorns(server: Server) -> None:
    import aiohttp

    async with aiohttp.ClientSession() as session, session.get(server.url + "/health") as answer:
        assert answer.headers["server"] == "uvicorn"
        assert answer.headers["vary"] == "Origin"
        assert answer.headers["content-length"] == "0"


def test_the_real_client(server: Server) -> None:
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none")
    whole = client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "hi"}], max_tokens=12)
    assert whole.choices[0].message.content and "simulated" in whole.choices[0].message.content
    assert whole.usage and whole.usage.completion_tokens == 12
    stream = client.chat.completions.create(
        model="tiny", messages=[{"role": "user", "content": "hi"}], max_tokens=12, stream=True
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert text == whole.choices[0].message.content
    completion = client.completions.create(model="tiny", prompt="hi", max_tokens=5, n=2)
    assert len(completion.choices) == 2 and completion.usage and completion.usage.completion_tokens == 10
    assert [model.id for model in client.models.list()] == ["tiny"]
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="nope", messages=[{"role": "user", "content": "hi"}])


def test_answers_end_by_themselves_at_a_sentence_or_a_stop_word(server: Server) -> None:
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none")
    ask = [{"role": "user", "content": "hi"}]
    natural = client.chat.completions.create(model="tiny", messages=ask)  # type: ignore[arg-type]
    assert natural.choices[0].finish_reason == "stop"
    assert (natural.choices[0].message.content or "").endswith(".")
    stopped = client.chat.completions.create(model="tiny", messages=ask, stop=["simulated"])  # type: ignore[arg-type]
    assert stopped.choices[0].finish_reason == "stop"
    assert stopped.usage and stopped.usage.completion_tokens < 10


async def test_an_api_key_guards_v1_only(start: Start) -> None:
    server = start("--api-key", "secret-key")
    assert (await server.get("/health"))[0] == 200
    assert (await server.get("/metrics"))[0] == 200
    assert await server.get("/v1/models") == (401, '{"error":"Unauthorized"}')
    for sent in ("secret-key", "Basic secret-key", "Bearer another-key"):
        async with aiohttp.ClientSession(headers={"Authorization": sent}) as session:
            assert (await session.get(f"{server.url}/v1/models")).status == 401, sent
    client = openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="secret-key")
    assert [model.id async for model in client.models.list()] == ["tiny"]
