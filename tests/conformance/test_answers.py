"""Answers against the recordings, byte for byte where the server decides them, and with the real client."""

from __future__ import annotations

import json
import re
from typing import Any

import aiohttp
import openai
import pytest

from simulated_vllm import RECORDINGS, Server, Start
from vllm_client import events, recorded, shape
from vllm_sandbox.vllm.server import NOT_PLAYED

CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "hello"}]}
TEXT = {"model": "tiny", "prompt": "hello"}
STREAM = {"stream": True, "ignore_eos": True}
CHATS, TEXTS = "/v1/chat/completions", "/v1/completions"


@pytest.mark.parametrize(
    ("title", "path", "body", "raw"),
    [
        ("unknown model", CHATS, {**CHAT, "model": "nope"}, None),
        ("prompt+max_tokens over the context", CHATS, {**CHAT, "max_tokens": 5000}, None),
        ("prompt over the context", TEXTS, {"model": "tiny", "prompt": "word " * 3000}, None),
        ("malformed json", CHATS, None, '{"model":'),
        ("not json", CHATS, None, "hello"),
        ("no object", CHATS, [1], None),
        ("missing messages", CHATS, {"model": "tiny"}, None),
        ("empty messages", CHATS, {"model": "tiny", "messages": []}, None),
        ("missing prompt", TEXTS, {"model": "tiny"}, None),
        ("empty prompt", TEXTS, {**TEXT, "prompt": ""}, None),
        ("max_tokens 0", TEXTS, {**TEXT, "prompt": [5] * 1024}, None),  # nothing is left for an answer
        ("bad temperature", CHATS, {**CHAT, "temperature": -1}, None),
        ("top_p out of range", CHATS, {**CHAT, "top_p": 1.5}, None),
        ("max_tokens 0", CHATS, {**CHAT, "max_tokens": 0}, None),
        ("max_tokens no number", CHATS, {**CHAT, "max_tokens": "many"}, None),
        ("n zero", CHATS, {**CHAT, "n": 0}, None),
        ("n negative", CHATS, {**CHAT, "n": -1}, None),
        ("stream options without stream", CHATS, {**CHAT, "stream_options": {"include_usage": True}}, None),
        ("detokenize, no tokens", "/detokenize", {"model": "tiny"}, None),
    ],
)
async def test_errors_are_the_recorded_ones(
    server: Server, title: str, path: str, body: dict[str, Any], raw: str | None
) -> None:
    assert await server.post(path, body, raw) == recorded(title)


async def test_small_routes(server: Server) -> None:
    assert await server.get(CHATS) == recorded("wrong method")
    assert await server.get("/health") == (200, "")
    assert await server.get("/ping") == (200, "")
    assert await server.get("/load") == recorded("load")
    assert json.loads((await server.get("/version"))[1])["version"].partition("+")[0] == "0.32.0"
    assert await server.get("/nothing/here") == recorded("unknown route")
    for path in ("/v1/models", "/nothing/here"):
        found, wanted = (await server.get(path))[1], recorded({"/v1/models": "models"}.get(path, "unknown route"))[1]
        assert shape(json.loads(found)) == shape(json.loads(wanted))
    (model,) = json.loads((await server.get("/v1/models"))[1])["data"]
    assert (model["id"], model["max_model_len"], model["owned_by"]) == ("tiny", 1024, "vllm")


@pytest.mark.parametrize(
    ("title", "path", "body"),
    [
        ("tokenize", "/tokenize", {"model": "tiny", "prompt": "one two"}),
        ("tokenize a chat", "/tokenize", {"model": "tiny", "messages": CHAT["messages"]}),
        ("detokenize", "/detokenize", {"model": "tiny", "tokens": [300, 301]}),
    ],
)
async def test_tokens_have_the_recorded_shape(server: Server, title: str, path: str, body: dict[str, Any]) -> None:
    status, text = await server.post(path, body)
    wanted_status, wanted = recorded(title)
    assert (status, shape(json.loads(text))) == (wanted_status, shape(json.loads(wanted)))
    if path == "/tokenize":
        assert json.loads(text)["count"] == len(json.loads(text)["tokens"]) > 0


async def test_every_recorded_route_answers(server: Server, real: bool) -> None:
    """Routes that the simulation doesn't play say so with 501; none is a 404 that a real server wouldn't give."""
    lines = (RECORDINGS / "routes.txt").read_text().splitlines()[1:]
    not_played = {f"{method} {path}" for method, path in NOT_PLAYED}
    for line in lines:
        method, path = line.split(" ")
        path = path.replace("{response_id}", "resp-1")
        send = server.get(path) if method == "GET" else server.post(path, {})
        status = (await send)[0]
        if line in not_played:
            assert status not in (405, 501) if real else status == 501, line
        else:
            assert status not in (404, 405, 501), line


@pytest.mark.parametrize(
    ("title", "path", "body"),
    [
        ("completion", TEXTS, {"model": "tiny", "prompt": "hello world", "max_tokens": 4}),
        ("chat", CHATS, {**CHAT, "max_tokens": 4}),
        ("prompt of ids", TEXTS, {**TEXT, "prompt": [5, 6, 7], "max_tokens": 2}),
        ("prompts", TEXTS, {**TEXT, "prompt": ["one", "two"], "max_tokens": 2}),
    ],
)
async def test_an_answer_has_the_recorded_shape(server: Server, title: str, path: str, body: dict[str, Any]) -> None:
    status, text = await server.post(path, {**body, "ignore_eos": True})
    wanted_status, wanted = recorded(title)
    found = json.loads(text)
    assert status == wanted_status
    assert shape(found) == shape(json.loads(wanted))
    assert len(found["choices"]) == len(json.loads(wanted)["choices"])
    usage = found["usage"]
    assert usage["completion_tokens"] == json.loads(wanted)["usage"]["completion_tokens"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert {choice["finish_reason"] for choice in found["choices"]} == {"length"}
    assert re.fullmatch(r"(chat)?cmpl-[0-9a-f]{16}", found["id"])
    assert re.fullmatch(r"vllm-0\.32\.0-[0-9a-f]{8}", found["system_fingerprint"])


USAGE = {"include_usage": True}


@pytest.mark.parametrize(
    ("title", "path", "body"),
    [
        ("chat, streamed, with usage", CHATS, {**CHAT, "max_tokens": 3, "stream_options": USAGE}),
        ("chat, streamed", CHATS, {**CHAT, "max_tokens": 3}),
        ("completion, streamed", TEXTS, {**TEXT, "max_tokens": 3}),
        ("completion, streamed, with usage", TEXTS, {**TEXT, "max_tokens": 3, "stream_options": USAGE}),
        ("chat, two answers, streamed", CHATS, {**CHAT, "max_tokens": 2, "n": 2}),
        (
            "chat, usage in every chunk",
            CHATS,
            {**CHAT, "max_tokens": 2, "stream_options": {**USAGE, "continuous_usage_stats": True}},
        ),
    ],
)
async def test_a_stream_has_the_recorded_shape(server: Server, title: str, path: str, body: dict[str, Any]) -> None:
    status, text = await server.post(path, {**body, **STREAM})
    wanted_status, wanted = recorded(title)
    assert status == wanted_status
    assert [shape(event) for event in events(text)] == [shape(event) for event in events(wanted)]
    assert [_reasons(event) for event in events(text)] == [_reasons(event) for event in events(wanted)]


def _reasons(event: Any) -> Any:
    return event if event == "[DONE]" else [(choice["index"], choice["finish_reason"]) for choice in event["choices"]]


async def test_more_tokens_than_are_left_are_cut_to_what_is_left(server: Server) -> None:
    """Recorded: 1,022 tokens asked for after a prompt of 3 are 1,021; only what exceeds the context is an error."""
    status, text = await server.post(TEXTS, {**TEXT, "prompt": [5] * 1000, "max_tokens": 1024, "ignore_eos": True})
    assert status == 200
    assert json.loads(text)["usage"] == {
        "prompt_tokens": 1000,
        "total_tokens": 1024,
        "completion_tokens": 24,
        "prompt_tokens_details": None,
        "completion_tokens_details": None,
    }


async def test_headers_are_uvicorns(server: Server) -> None:
    async with aiohttp.ClientSession() as session:
        async with session.get(server.url + "/health") as answer:
            assert answer.headers["server"] == "uvicorn"
            assert answer.headers["vary"] == "Origin"
            assert answer.headers["content-length"] == "0"
        async with session.post(server.url + "/health") as answer:
            assert (answer.status, answer.headers["allow"]) == (405, "GET")
        async with session.post(server.url + TEXTS, json={**TEXT, "max_tokens": 1, "stream": True}) as answer:
            assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        headers = {"X-Request-Id": "abc"}
        async with session.post(server.url + TEXTS, json={**TEXT, "max_tokens": 1}, headers=headers) as answer:
            assert (await answer.json())["id"] == "cmpl-abc"
        async with session.post(server.url + CHATS, data=json.dumps(CHAT), headers={"Content-Type": "text/plain"}) as a:
            assert (a.status, await a.text()) == recorded("text content type")


def test_the_real_client(server: Server) -> None:
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none")
    ask: Any = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 12, "seed": 1}
    ask["extra_body"] = {"ignore_eos": True}
    whole = client.chat.completions.create(**ask)
    assert whole.choices[0].message.content
    assert whole.usage and whole.usage.completion_tokens == 12
    stream = client.chat.completions.create(**ask, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == whole.choices[0].message.content
    completion = client.completions.create(model="tiny", prompt="hi", max_tokens=5, n=2, extra_body=ask["extra_body"])
    assert len(completion.choices) == 2 and completion.usage and completion.usage.completion_tokens == 10
    assert [model.id for model in client.models.list()] == ["tiny"]
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="nope", messages=[{"role": "user", "content": "hi"}])


def test_an_answer_ends_at_a_stop_word(server: Server) -> None:
    """The third token of the same answer, as a stop word, leaves the two before it."""
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none")
    ask: Any = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "temperature": 0, "max_tokens": 24}
    whole = client.chat.completions.create(**ask).choices[0].message.content or ""
    word = whole[len(whole) // 2 :][:6]
    stopped = client.chat.completions.create(**ask, stop=[word])
    assert stopped.choices[0].finish_reason == "stop"
    assert stopped.choices[0].message.content == whole[: whole.index(word)]
    assert stopped.usage and stopped.usage.completion_tokens < 24
    (choice,) = json.loads(stopped.model_dump_json())["choices"]
    assert choice["stop_reason"] == word


async def test_an_api_key_guards_v1_only(start: Start) -> None:
    server = start("--api-key", "secret-key")
    assert (await server.get("/health"))[0] == 200
    assert (await server.get("/metrics"))[0] == 200
    assert await server.get("/v1/models") == recorded("unauthorized")
    for sent in ("secret-key", "Basic secret-key", "Bearer another-key"):
        async with aiohttp.ClientSession(headers={"Authorization": sent}) as session:
            assert (await session.get(f"{server.url}/v1/models")).status == 401, sent
    client = openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="secret-key")
    assert [model.id async for model in client.models.list()] == ["tiny"]
