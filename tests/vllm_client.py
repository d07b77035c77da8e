"""What tests of servers send, what was recorded of the real one, and how both are taken apart."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import aiohttp

from simulated_vllm import RECORDINGS, Server


def recorded(title: str) -> tuple[int, str]:
    """Status and body of a recording."""
    text = (RECORDINGS / "responses.txt").read_text()
    part = text.split(f"## {title}\n")[1].split("\n## ")[0]
    body, _, status = part.rpartition("HTTP ")
    return int(status), body.strip()


def shape(value: Any) -> Any:
    """Keys and kinds, without the values that differ from run to run."""
    if isinstance(value, dict):
        return {key: shape(each) for key, each in value.items()}
    if isinstance(value, list):
        return [shape(each) for each in value[:1]]
    return type(value).__name__


def events(text: str) -> Iterator[Any]:
    for block in text.strip().split("\n\n"):
        assert block.startswith("data: ")
        yield block[6:] if block == "data: [DONE]" else json.loads(block[6:])


async def chat(session: aiohttp.ClientSession, server: Server, tokens: int, *, stream: bool) -> tuple[int, str]:
    """Status and body of an answer of so many tokens; a stream tells its usage."""
    body = {
        "model": "tiny",
        "messages": [{"role": "user", "content": "hello"}],
        "max_tokens": tokens,
        "ignore_eos": True,
        "stream": stream,
        **({"stream_options": {"include_usage": True}} if stream else {}),
    }
    async with session.post(f"{server.url}/v1/chat/completions", json=body) as answer:
        return answer.status, await answer.text()


def _chunks(text: str) -> list[Any]:
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]


def last_reason(text: str) -> str | None:
    """finish_reason of a stream's last chunk with an answer in it; "error" where an error ends it."""
    chunks = _chunks(text)
    if "error" in chunks[-1]:
        return "error"
    reason: str | None = [chunk for chunk in chunks if chunk["choices"]][-1]["choices"][0]["finish_reason"]
    return reason


def tokens_of(text: str) -> int:
    """completion_tokens of a stream."""
    return int(_chunks(text)[-1]["usage"]["completion_tokens"])
