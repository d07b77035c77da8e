"""GPU memory of LoRA adapters, against the shapes that vLLM 0.32.0 makes."""

from __future__ import annotations

import pytest

from vllm_runbook import params, sizing
from vllm_runbook.plots import memory_figure
from vllm_runbook.sizing.gpu import GIB

_LORA = ["--enable-lora", "--max-loras=4", "--max-lora-rank=64", "--lora-modules", "sql=/models/adapters/sql"]


def _size(model: str, args: list[str], **overrides: object) -> sizing.Sizing:
    return sizing.size(params.load("sandbox", model, {"extra_args": args, **overrides}))


def test_places_of_an_8b_model() -> None:
    """Summed by hand over Llama-3.1-8B's modules: (input width + output width) x rank, in bfloat16."""
    qkv = 3 * 4096 + 4096 + 1024 + 1024
    output = 4096 + 4096
    gate_up = 2 * 4096 + 2 * 14336
    down = 14336 + 4096
    embeddings = 2 * (128256 + 4096)
    width = 32 * (qkv + output + gate_up + down) + embeddings
    found = _size("llama-3.1-8b-instruct", _LORA).gpu.adapters
    assert found == 4 * 64 * width * 2
    assert found / GIB == pytest.approx(1.376, abs=0.01)


def test_places_are_taken_from_the_kv_cache() -> None:
    without, with_them = _size("qwen3-8b", []), _size("qwen3-8b", _LORA)
    assert without.gpu.adapters == 0
    assert without.gpu.kv_cache - with_them.gpu.kv_cache == with_them.gpu.adapters > GIB
    assert with_them.kv.tokens < without.kv.tokens
    assert "LoRA adapters" in dict((name, value) for name, value, _ in with_them.table())
    assert "LoRA adapters" not in dict((name, value) for name, value, _ in without.table())


def test_one_place_of_rank_16_by_default_however_the_flags_are_written() -> None:
    one = _size("qwen3-8b", ["--enable-lora"]).gpu.adapters
    assert one == _size("qwen3-8b", ["--max-loras", "1", "--enable-lora", "--max-lora-rank", "16"]).gpu.adapters > 0
    assert _size("qwen3-8b", _LORA).gpu.adapters == 16 * one


def test_two_gpus_share_one_matrix_of_each_pair() -> None:
    whole, half = (_size("qwen3-32b", _LORA, tensor_parallel_size=tp).gpu.adapters for tp in (1, 2))
    assert whole / 2 < half < whole


def test_every_expert_has_its_own() -> None:
    mixture = _size("gpt-oss-20b", _LORA).gpu.adapters
    shared = _size("gpt-oss-20b", _LORA, **{"architecture.experts": 1}).gpu.adapters
    assert mixture - shared == 4 * 64 * 24 * 31 * (6 * 2880) * 2  # 24 layers; 3 matrices of 2880 x 2880, both widths


def test_the_figure_names_them_only_where_there_are_any() -> None:
    def parts(args: list[str]) -> set[str]:
        return {trace.name for trace in memory_figure(_size("qwen3-8b", args)).data}

    assert parts(_LORA) - parts([]) == {"LoRA adapters"}


def test_the_real_server_takes_as_much() -> None:
    """Bytes of all ``lora_a_stacked`` and ``lora_b_stacked`` in vLLM 0.32.0: the toy model, rank 8, 3 adapters."""
    args = ["--enable-lora", "--max-loras=3", "--max-lora-rank=8"]
    assert _size("tiny", args).gpu.adapters == 319_488
