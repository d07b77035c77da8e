"""LoRA adapters: repositories with adapter_config.json and adapter_model.safetensors, as PEFT writes them."""

from __future__ import annotations

import json
from typing import Any

from vllm_sandbox.hub.architectures import Architecture, Tensor
from vllm_sandbox.hub.content import Content
from vllm_sandbox.hub.models import ModelSpec
from vllm_sandbox.hub.safetensors import header

_ATTENTION, _MLP = ("q_proj", "k_proj", "v_proj", "o_proj"), ("gate_proj", "up_proj", "down_proj")


def files(spec: ModelSpec, seed: str) -> dict[str, Content]:
    """The repository's configuration and weights, by file name."""
    tensors = list(_tensors(spec.architecture, spec.rank, spec.scale))
    head = header(tensors, {"format": "pt", "sandbox_scale": str(spec.scale)})
    weights = Content(head, sum(tensor.nbytes for tensor in tensors), f"{seed}/adapter_model.safetensors")
    config = Content(json.dumps(_config(spec), indent=2).encode() + b"\n")
    return {"adapter_config.json": config, "adapter_model.safetensors": weights}


def _config(spec: ModelSpec) -> dict[str, Any]:
    return {
        "base_model_name_or_path": spec.adapter_of,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "lora_alpha": 2 * spec.rank,
        "lora_dropout": 0.0,
        "modules_to_save": None,
        "peft_type": "LORA",
        "r": spec.rank,
        "target_modules": [*_ATTENTION, *_MLP],
        "task_type": "CAUSAL_LM",
        "use_dora": False,
        "use_rslora": False,
    }


def _tensors(model: Architecture, rank: int, scale: int) -> list[Tensor]:
    """Matrices are shrunk in one dimension only: the other one is the rank, which servers check."""
    queries, keys = model.heads * model.head_dim, model.kv_heads * model.head_dim
    shapes = {
        "self_attn.q_proj": (model.hidden, queries),
        "self_attn.k_proj": (model.hidden, keys),
        "self_attn.v_proj": (model.hidden, keys),
        "self_attn.o_proj": (queries, model.hidden),
        "mlp.gate_proj": (model.hidden, model.intermediate),
        "mlp.up_proj": (model.hidden, model.intermediate),
        "mlp.down_proj": (model.intermediate, model.hidden),
    }
    found = []
    for layer in range(model.layers):
        for name, (width, height) in shapes.items():
            stem = f"base_model.model.model.layers.{layer}.{name}"
            found.append(Tensor(f"{stem}.lora_A.weight", (rank, width // scale)))
            found.append(Tensor(f"{stem}.lora_B.weight", (height // scale, rank)))
    return found
