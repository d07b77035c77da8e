"""LoRA adapters: listed with their parent, asked for by name, counted in the gauge, and the ways to fail."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from simulated_vllm import Server, Start

CALL = "ValueError: Call to add_lora method failed: "
NONE = "ValueError: Loading lora sql failed: "
#: Toys, for the toy: two of rank 8 and one of rank 32.
ADAPTERS = ("sql", "support", "large")


@pytest.fixture(scope="session")
def adapters(models: Callable[[str], Path]) -> dict[str, Path]:
    return {name: models(f"sandbox/tiny-{name}-lora") for name in ADAPTERS}


def modules(adapters: dict[str, Path], *names: str) -> list[str]:
    return ["--enable-lora", "--lora-modules", *(f"{name}={adapters[name]}" for name in names)]


async def chat(server: Server, model: str, tokens: int = 4) -> tuple[int, dict[str, object]]:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": tokens, "ignore_eos": True}
    status, text = await server.post("/v1/chat/completions", body)
    return status, json.loads(text)


async def series(server: Server) -> list[str]:
    _, text = await server.get("/metrics")
    return [line.rpartition(" ")[0] for line in text.splitlines() if line.startswith("vllm:lora_requests_info")]


async def test_adapters_are_models_with_a_parent(start: Start, adapters: dict[str, Path]) -> None:
    server = start(*modules(adapters, "sql", "support"))
    base, sql, support = json.loads((await server.get("/v1/models"))[1])["data"]
    assert list(base) == list(sql) and (base["id"], base["parent"]) == ("tiny", None)
    assert (sql["id"], sql["parent"], sql["root"]) == ("sql", "tiny", str(adapters["sql"]))
    assert support["parent"] == "tiny" and support["max_model_len"] is None

    assert await series(server) == []  # nothing has run yet
    status, answer = await chat(server, "sql")
    assert status == 200 and answer["model"] == "sql"
    found = await series(server)
    assert 'vllm:lora_requests_info{max_lora="1",running_lora_adapters="sql",waiting_lora_adapters="sql"}' in found
    assert (await chat(server, "tiny"))[1]["model"] == "tiny"
    status, answer = await chat(server, "nope")
    assert status == 404 and "The model `nope` does not exist. Valid aliases: tiny." in str(answer)


async def test_a_second_name_of_the_model_answers_by_the_first(start: Start) -> None:
    server = start("--served-model-name", "tiny", "chat")
    assert (await chat(server, "chat"))[1]["model"] == "tiny"


async def test_the_gauge_names_every_adapter_with_a_request_in_both_labels(
    start: Start, adapters: dict[str, Path]
) -> None:
    """What waits is in "running", too."""
    server = start(*modules(adapters, "sql", "support"), "--max-loras=2")
    done = await asyncio.gather(*(chat(server, name, 60) for name in ("sql", "support", "tiny")))
    assert [status for status, _ in done] == [200, 200, 200]
    found = await series(server)
    both = {("sql,support", "sql,support"), ("support,sql", "support,sql")}
    pairs = {tuple(part.split('"')[1] for part in line.split(",", 1)[1].split('",')) for line in found}
    assert ("", "") in pairs and pairs & both
    assert all(running == waiting for running, waiting in pairs) and all('max_lora="2"' in line for line in found)


async def test_without_lora_there_is_no_gauge(server: Server) -> None:
    _, text = await server.get("/metrics")
    assert "lora" not in text


@pytest.mark.parametrize(
    ("arguments", "begin", "words"),
    [
        (["--lora-modules", "sql={sql}"], CALL, "LoRA is not enabled. Use --enable-lora to enable LoRA."),
        (["--enable-lora", "--lora-modules", "sql=/models/no"], NONE, "No adapter found for /models/no"),
        (["--enable-lora", "--lora-modules", "sql=/opt/models/no"], NONE, "No adapter found for <path>"),
        (["--enable-lora", "--lora-modules", "l={large}"], CALL, "LoRA rank 32 is greater than max_lora_rank 16."),
    ],
)
def test_what_ends_a_start(
    start: Start, adapters: dict[str, Path], arguments: list[str], begin: str, words: str
) -> None:
    """An error of a worker's process (on a CPU always, on GPUs if there are several) is quoted by the engine."""
    server = start(*(each.format(**adapters) for each in arguments), ready=False)
    said = server.wait_for(begin).partition(begin)[2]
    of_a_worker = f"Worker failed with error '{words}', please check the stack trace above for the root cause"
    assert said in (words.format(**adapters), of_a_worker)
    assert server.ended() == 1


@pytest.mark.parametrize("value", ["sql,no", '{"name": "sql"}'])
def test_modules_that_can_not_be_read_exit_2(start: Start, value: str) -> None:
    server = start("--enable-lora", "--lora-modules", value, ready=False)
    server.wait_for("for --lora-modules:")
    assert server.ended() == 2
