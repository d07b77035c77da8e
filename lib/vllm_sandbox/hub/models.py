"""The catalogue: which synthetic models the stand-in offers.

Architecture values are those of the models' published config.json, shard limits those that give
the published number of shards. Weights are 1/1024 of the real size, except for the toy.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from vllm_sandbox.hub.architectures import Architecture

GB = 10**9


@dataclass(frozen=True)
class ModelSpec:
    """One model repository.

    Attributes:
        repo_id: ``organisation/name``.
        gated: whether files need a token whose owner was granted access.
        max_shard_bytes: real bytes (before scaling) after which a new shard begins.
        divisor: tensors' first two dimensions are divided by it, so sizes shrink by its square.
        first_shard: number of the first shard in file names (gpt-oss counts from 0).
        originals: files in the publisher's own format that repeat the weights: path -> share of the weights' size.
        revisions: name of a branch or tag -> seed of its contents.
        adapter_of: the base model, where this is a LoRA adapter of it with this ``rank``.
    """

    repo_id: str
    architecture: Architecture
    gated: bool = False
    max_shard_bytes: int = 5 * GB
    divisor: int = 32
    first_shard: int = 1
    originals: dict[str, float] = field(default_factory=dict)
    revisions: dict[str, int] = field(default_factory=lambda: {"main": 1})
    adapter_of: str = field(default="", repr=False)  # not in the repr, which commit ids are made of
    rank: int = field(default=0, repr=False)

    @property
    def scale(self) -> int:
        """Real size of the weights divided by the synthetic size."""
        return self.divisor**2


def _llama3(layers: int, hidden: int, intermediate: int, heads: int, rope_factor: float) -> Architecture:
    return Architecture(
        family="llama",
        layers=layers,
        hidden=hidden,
        intermediate=intermediate,
        heads=heads,
        kv_heads=8,
        head_dim=128,
        vocab=128256,
        max_positions=131072,
        extra={
            "attention_bias": False,
            "bos_token_id": 128000,
            "eos_token_id": [128001, 128008, 128009],
            "mlp_bias": False,
            "rms_norm_eps": 1e-05,
            "rope_scaling": {
                "factor": rope_factor,
                "high_freq_factor": 4.0,
                "low_freq_factor": 1.0,
                "original_max_position_embeddings": 8192,
                "rope_type": "llama3",
            },
            "rope_theta": 500000.0,
        },
    )


def _qwen3(layers: int, hidden: int, intermediate: int, heads: int) -> Architecture:
    return Architecture(
        family="qwen3",
        layers=layers,
        hidden=hidden,
        intermediate=intermediate,
        heads=heads,
        kv_heads=8,
        head_dim=128,
        vocab=151936,
        max_positions=40960,
        extra={
            "attention_bias": False,
            "bos_token_id": 151643,
            "eos_token_id": 151645,
            "rms_norm_eps": 1e-06,
            "rope_scaling": None,
            "rope_theta": 1000000,
            "sliding_window": None,
            "use_sliding_window": False,
        },
    )


_LLAMA_70B = _llama3(80, 8192, 28672, 64, 8.0)
_LLAMA_70B_ORIGINALS = {f"original/consolidated.{part:02}.pth": 1 / 8 for part in range(8)}

_MISTRAL = Architecture(
    family="mistral",
    layers=32,
    hidden=4096,
    intermediate=14336,
    heads=32,
    kv_heads=8,
    head_dim=128,
    vocab=32768,
    max_positions=32768,
    extra={
        "bos_token_id": 1,
        "eos_token_id": 2,
        "rms_norm_eps": 1e-05,
        "rope_theta": 1000000.0,
        "sliding_window": None,
    },
)

_GPT_OSS_20B = Architecture(
    family="gpt_oss",
    layers=24,
    hidden=2880,
    intermediate=2880,
    heads=64,
    kv_heads=8,
    head_dim=64,
    vocab=201088,
    max_positions=131072,
    experts=32,
    extra={
        "attention_bias": True,
        "eos_token_id": 200002,
        "experts_per_token": 4,
        "initial_context_length": 4096,
        "layer_types": ["sliding_attention", "full_attention"] * 12,
        "num_experts_per_tok": 4,
        "num_local_experts": 32,
        "pad_token_id": 199999,
        "quantization_config": {
            "quant_method": "mxfp4",
            "modules_to_not_convert": [
                "model.layers.*.self_attn",
                "model.layers.*.mlp.router",
                "model.embed_tokens",
                "lm_head",
            ],
        },
        "rms_norm_eps": 1e-05,
        "rope_theta": 150000,
        "sliding_window": 128,
        "swiglu_limit": 7.0,
    },
)

#: A real server on a CPU has kernels for heads of 32 numbers and more.
_TINY = Architecture(
    family="llama",
    layers=2,
    hidden=64,
    intermediate=128,
    heads=4,
    kv_heads=2,
    head_dim=32,
    vocab=2048,
    max_positions=2048,
    extra={"bos_token_id": 0, "eos_token_id": 1, "rms_norm_eps": 1e-05, "rope_theta": 10000.0},
)

_QWEN3_8B = _qwen3(36, 4096, 12288, 32)

CATALOGUE: dict[str, ModelSpec] = {
    spec.repo_id: spec
    for spec in (
        ModelSpec(
            "meta-llama/Llama-3.1-8B-Instruct",
            _llama3(32, 4096, 14336, 32, 8.0),
            gated=True,
            originals={"original/consolidated.00.pth": 1.0},
        ),
        ModelSpec("meta-llama/Llama-3.1-70B-Instruct", _LLAMA_70B, gated=True, originals=_LLAMA_70B_ORIGINALS),
        ModelSpec("meta-llama/Llama-3.3-70B-Instruct", _LLAMA_70B, gated=True, originals=_LLAMA_70B_ORIGINALS),
        ModelSpec("Qwen/Qwen3-8B", _QWEN3_8B, max_shard_bytes=4 * GB),
        ModelSpec("Qwen/Qwen3-32B", _qwen3(64, 5120, 25600, 64), max_shard_bytes=4 * GB),
        ModelSpec("mistralai/Mistral-7B-Instruct-v0.3", _MISTRAL),
        ModelSpec(
            "openai/gpt-oss-20b",
            _GPT_OSS_20B,
            first_shard=0,
            originals={"metal/model.bin": 1.0, "original/model.safetensors": 1.0},
        ),
        ModelSpec("sandbox/qwen3-8b-sql-lora", _QWEN3_8B, adapter_of="Qwen/Qwen3-8B", rank=16),
        ModelSpec("sandbox/qwen3-8b-support-lora", _QWEN3_8B, adapter_of="Qwen/Qwen3-8B", rank=32),
        ModelSpec("sandbox/tiny-sql-lora", _TINY, divisor=1, adapter_of="sandbox/tiny-llama", rank=8),
        ModelSpec("sandbox/tiny-support-lora", _TINY, divisor=1, adapter_of="sandbox/tiny-llama", rank=8),
        ModelSpec("sandbox/tiny-large-lora", _TINY, divisor=1, adapter_of="sandbox/tiny-llama", rank=32),
        ModelSpec("sandbox/tiny-llama", _TINY, divisor=1, max_shard_bytes=300_000, revisions={"main": 2, "v1": 1}),
    )
}

# Repositories that were renamed: the hub answers 307 with the new name's address.
RENAMED: dict[str, str] = {
    "meta-llama/Meta-Llama-3.1-8B-Instruct": "meta-llama/Llama-3.1-8B-Instruct",
    "meta-llama/Meta-Llama-3.1-70B-Instruct": "meta-llama/Llama-3.1-70B-Instruct",
}
