"""GPU memory of adapters, as the real server was seen to take it, and what its errors hide."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest

from vllm_sandbox.vllm import lora
from vllm_sandbox.vllm.checkpoint import Checkpoint

#: sandbox/tiny-llama
TOY = Checkpoint(Path(), 2, 64, 128, heads=4, kv_heads=2, head_dim=32, vocab=2048, max_positions=2048, weight_bytes=1)


def _flags(**given: object) -> Namespace:
    return Namespace(**{"enable_lora": True, "max_loras": 3, "max_lora_rank": "8", "tensor_parallel_size": 1, **given})


def test_as_much_as_a_real_server_took() -> None:
    """Bytes of all ``lora_a_stacked`` and ``lora_b_stacked`` in vLLM 0.32.0."""
    assert lora.reserved_bytes(_flags(), TOY, TOY.layers) == 319_488


def test_a_second_gpu_saves_less_than_half() -> None:
    whole, half = (lora.reserved_bytes(_flags(tensor_parallel_size=tp), TOY, TOY.layers) for tp in (1, 2))
    assert whole / 2 < half < whole


def test_nothing_without_adapters() -> None:
    assert lora.reserved_bytes(_flags(enable_lora=False), TOY, TOY.layers) == 0


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/models/org/sql", "/models/org/sql"),
        ("/opt/models/sql-1.5/v_2", "<path>"),
        ("/tmp", "/tmp"),
        ("/models/sql/config.json", "<path>"),
        ("org/sql", "org/sql"),
    ],
)
def test_errors_hide_directories_as_the_real_server_does(path: str, told: str) -> None:
    """Each tried with ``sanitize_message`` of vLLM 0.32.0."""
    assert lora.without_paths(f"for {path}") == f"for {told}"
