"""LoRA adapters, where only the simulation can be asked: its flags, and a GPU's memory."""

from __future__ import annotations

import pytest

from simulated_vllm import Start
from vllm_sandbox.vllm import flags


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


def test_of_several_gpus_the_worker_is_quoted(start: Start) -> None:
    server = start("--tensor-parallel-size=2", "--lora-modules=sql=/anywhere", gpus=2, ready=False)
    server.wait_for("Call to add_lora method failed: Worker failed with error 'LoRA is not enabled. Use --enable-lora")
    assert server.ended() == 1
