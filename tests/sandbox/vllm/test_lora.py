"""LoRA adapters: listed with their parent, asked for by name, counted in the gauge, and every way to fail."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from simulated_vllm import Server, Start
from vllm_sandbox.vllm import flags

CALL = "ValueError: Call to add_lora method failed"


@pytest.fixture
def adapters(tmp_path: Path) -> Path:
    """Two adapters of rank 8 and one of rank 32."""
    for name, rank in (("sql", 8), ("support", 8), ("large", 32)):
        directory = tmp_path / name
        directory.mkdir()
        (directory / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": rank}))
        (directory / "adapter_model.safetensors").write_bytes(b"\0" * 16)
    return tmp_path


def modules(directory: Path, *names: str) -> list[str]:
    return ["--enable-lora", "--lora-modules", *(f"{name}={directory / name}" for name in names)]


async def chat(server: Server, model: str, tokens: int = 4) -> tuple[int, dict[str, object]]:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": tokens, "ignore_eos": True}
    status, text = await server.post("/v1/chat/completions", body)
    return status, json.loads(text)


async def series(server: Server) -> list[str]:
    _, text = await server.get("/metrics")
    return [line.rpartition(" ")[0] for line in text.splitlines() if line.startswith("vllm:lora_requests_info")]


async def test_adapters_are_models_with_a_parent(start: Start, adapters: Path) -> None:
    server = start(*modules(adapters, "sql", "support"))
    base, sql, support = json.loads((await server.get("/v1/models"))[1])["data"]
    assert list(base) == list(sql) and (base["id"], base["parent"]) == ("tiny", None)
    assert (sql["id"], sql["parent"], sql["root"]) == ("sql", "tiny", str(adapters / "sql"))
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


async def test_the_gauge_names_every_adapter_with_a_request_in_both_labels(start: Start, adapters: Path) -> None:
    """As it was read in the real server, and seen there: what waits is in "running", too."""
    server = start(*modules(adapters, "sql", "support"), "--max-loras=2")
    done = await asyncio.gather(*(chat(server, name, 60) for name in ("sql", "support", "tiny")))
    assert [status for status, _ in done] == [200, 200, 200]
    found = await series(server)
    both = {("sql,support", "sql,support"), ("support,sql", "support,sql")}
    pairs = {tuple(part.split('"')[1] for part in line.split(",", 1)[1].split('",')) for line in found}
    assert ("", "") in pairs and pairs & both
    assert all(running == waiting for running, waiting in pairs) and all('max_lora="2"' in line for line in found)


async def test_without_lora_there_is_no_gauge(start: Start) -> None:
    _, text = await start().get("/metrics")
    assert "lora" not in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--lora-modules", "sql={}/sql"], f"{CALL}: LoRA is not enabled. Use --enable-lora to enable LoRA."),
        (["--enable-lora", "--lora-modules", "sql={}/no"], "ValueError: Loading lora sql failed: No adapter found for"),
        (["--enable-lora", "--lora-modules", "l={}/large"], f"{CALL}: LoRA rank 32 is greater than max_lora_rank 16."),
    ],
)
def test_what_ends_a_start(start: Start, adapters: Path, arguments: list[str], words: str) -> None:
    server = start(*(each.format(adapters) for each in arguments), ready=False)
    server.wait_for(words)
    assert server.process.wait(20) == 1


@pytest.mark.parametrize("value", ["sql,no", '{"name": "sql"}'])
def test_modules_that_can_not_be_read_exit_2(start: Start, value: str) -> None:
    server = start("--enable-lora", "--lora-modules", value, ready=False)
    server.wait_for("for --lora-modules:")
    assert server.process.wait(20) == 2


def test_modules_as_json_and_ranks(capsys: pytest.CaptureFixture[str]) -> None:
    args = flags.parse(["/m", "--lora-modules", '{"name": "sql", "path": "/a", "base_model_name": "m"}', "x=/b"])
    assert [(each.name, each.path) for each in args.lora_modules] == [("sql", "/a"), ("x", "/b")]
    with pytest.raises(SystemExit, match="2"):
        flags.parse(["/m", "--max-lora-rank=17"])
    assert "invalid choice" in capsys.readouterr().err


async def test_room_for_adapters_is_taken_from_the_cache(start: Start) -> None:
    async def tokens(*more: str) -> int:
        _, text = await start(*more).get("/metrics")
        line = next(line for line in text.splitlines() if line.startswith("vllm:cache_config_info"))
        return int(line.split('kv_cache_size_tokens="')[1].split('"')[0])

    assert await tokens("--enable-lora", "--max-loras=8", "--max-lora-rank=512") < await tokens()
