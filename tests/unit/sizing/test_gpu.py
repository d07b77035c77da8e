"""GPU memory: the arithmetic, against published figures of the models."""

from __future__ import annotations

from typing import Any

import pytest

from vllm_runbook import params, sizing
from vllm_runbook.sizing.gpu import (
    GIB,
    activation_bytes,
    file_bytes,
    kv_bytes_per_token,
    scheduler_limits,
    weight_bytes,
    weight_bytes_per_gpu,
)


def load(model: str, platform: Any = "sandbox", **overrides: Any) -> params.Params:
    return params.load(platform, model, overrides)


@pytest.mark.parametrize(
    ("model", "weights_gib", "kv_kib"),
    [
        ("llama-3.1-8b-instruct", 14.96, 128),
        ("llama-3.1-70b-instruct", 131.4, 320),
        ("llama-3.3-70b-instruct", 131.4, 320),
        ("qwen3-8b", 15.26, 144),
        ("qwen3-32b", 61.0, 256),
        ("mistral-7b-instruct-v0.3", 13.5, 128),
        ("gpt-oss-20b", 12.8, 48),
    ],
)
def test_weights_and_kv_of_known_models(model: str, weights_gib: float, kv_kib: int) -> None:
    one_gpu = load(model, tensor_parallel_size=1).model
    assert weight_bytes(one_gpu) / GIB == pytest.approx(weights_gib, abs=0.05)
    assert kv_bytes_per_token(one_gpu) == kv_kib * 1024


@pytest.mark.parametrize(
    ("tp", "pp", "kib"),
    [(1, 1, 320), (2, 1, 160), (4, 1, 80), (8, 1, 40), (16, 1, 40), (1, 2, 160), (4, 2, 40), (1, 3, 108)],
)
def test_kv_per_token_is_shared_until_one_head_per_gpu_is_left(tp: int, pp: int, kib: int) -> None:
    model = load("llama-3.1-70b-instruct", tensor_parallel_size=tp, pipeline_parallel_size=pp).model
    assert kv_bytes_per_token(model) == kib * 1024


@pytest.mark.parametrize(("dtype", "kib"), [("auto", 144), ("bfloat16", 144), ("fp8", 72), ("fp8_e5m2", 72)])
def test_kv_cache_dtype(dtype: str, kib: int) -> None:
    assert kv_bytes_per_token(load("qwen3-8b", kv_cache_dtype=dtype).model) == kib * 1024


def test_tensor_parallelism_divides_the_weights() -> None:
    whole = weight_bytes_per_gpu(load("llama-3.1-70b-instruct", tensor_parallel_size=1).model)
    quarter = weight_bytes_per_gpu(load("llama-3.1-70b-instruct", tensor_parallel_size=4).model)
    assert quarter == pytest.approx(whole / 4, abs=1)


def test_pipeline_stages_hold_embeddings_beside_their_layers() -> None:
    whole = weight_bytes(load("llama-3.1-70b-instruct").model)
    half = weight_bytes_per_gpu(load("llama-3.1-70b-instruct", tensor_parallel_size=1, pipeline_parallel_size=2).model)
    third = weight_bytes_per_gpu(load("llama-3.1-70b-instruct", tensor_parallel_size=1, pipeline_parallel_size=3).model)
    assert half == pytest.approx(whole / 2, abs=1)  # 40 layers and one of the two matrices each
    assert third > whole / 3  # 27 of 80 layers, and a matrix


@pytest.mark.parametrize(
    ("quantization", "share", "file_share"),
    [
        ({"method": "fp8"}, 0.5, 0.5),
        ({"method": "fp8", "online": True}, 0.5, 1.0),
        ({"method": "awq"}, 0.27, 0.27),
        ({"method": "gptq", "weight_gib": 40.0}, 40 / 131.42, 40 / 131.42),
    ],
)
def test_quantization(quantization: dict[str, Any], share: float, file_share: float) -> None:
    plain = load("llama-3.1-70b-instruct").model
    smaller = load("llama-3.1-70b-instruct", quantization=quantization).model
    assert weight_bytes(smaller) / weight_bytes(plain) == pytest.approx(share, abs=0.03)
    assert file_bytes(smaller) / file_bytes(plain) == pytest.approx(file_share, abs=0.03)


@pytest.mark.parametrize(
    ("memory", "product", "limits"),
    [
        (180, "NVIDIA-B200", (1024, 16384)),
        (80, "NVIDIA-H100-80GB-HBM3", (1024, 8192)),
        (80, "NVIDIA-A100-SXM4-80GB", (256, 2048)),
        (24, "NVIDIA-L4", (256, 2048)),
    ],
)
def test_scheduler_defaults_depend_on_the_gpu(memory: int, product: str, limits: tuple[int, int]) -> None:
    loaded = load("qwen3-8b", max_num_seqs="null", **{"gpu.memory_gib": memory, "gpu.product": product})
    assert scheduler_limits(loaded.model, loaded.platform) == limits
    assert scheduler_limits(load("qwen3-8b", max_num_seqs=7).model, loaded.platform) == (7, limits[1])


@pytest.mark.parametrize(
    ("model", "tp", "measured_gib"),
    [("llama-3.1-8b-instruct", 1, 1.2), ("qwen3-8b", 1, 1.40), ("qwen3-32b", 2, 1.41)],
)
def test_activation_estimate_against_published_logs(model: str, tp: int, measured_gib: float) -> None:
    """``PyTorch activation peak memory takes X GiB`` of starts with 256 sequences."""
    loaded = load(model, tensor_parallel_size=tp, max_num_seqs=256)
    assert activation_bytes(loaded.model, loaded.platform) / GIB == pytest.approx(measured_gib, rel=0.03)


def test_the_budget_adds_up_and_the_cache_is_whole_blocks() -> None:
    sized = sizing.size(load("qwen3-8b"))
    gpu = sized.gpu
    parts = gpu.weights + gpu.adapters + gpu.activations + gpu.non_torch + gpu.cuda_graphs + gpu.kv_cache
    assert parts == gpu.usable == int(80 * GIB * 0.92)
    assert sized.kv.tokens == sized.kv.blocks * 16
    assert sized.kv.tokens * sized.kv.bytes_per_token <= gpu.kv_cache
    assert (sized.kv.tokens + 16) * sized.kv.bytes_per_token > gpu.kv_cache


def test_eager_mode_has_no_cuda_graphs() -> None:
    assert sizing.size(load("qwen3-8b", extra_args=["--enforce-eager"])).gpu.cuda_graphs == 0
    assert sizing.size(load("qwen3-8b")).gpu.cuda_graphs > 0
