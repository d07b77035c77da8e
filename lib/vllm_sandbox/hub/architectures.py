"""What a model consists of: its tensors with their names, shapes and types, and its config.json.

Names and shapes are those of the published checkpoints, so that their sizes add up to the real
models' (tests check the sums against the published parameter counts).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

Family = Literal["llama", "mistral", "qwen3", "gpt_oss"]

DTYPE_BYTES = {"BF16": 2, "U8": 1}

_CLASSES: dict[Family, str] = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "gpt_oss": "GptOssForCausalLM",
}


@dataclass(frozen=True)
class Tensor:
    """One tensor of a checkpoint; ``dtype`` as safetensors spells it."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "BF16"

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * DTYPE_BYTES[self.dtype]

    def shrunk(self, divisor: int) -> Tensor:
        """The same tensor with its first two dimensions divided: a matrix shrinks by divisor².

        Raises:
            ValueError: a dimension isn't a multiple of ``divisor``.
        """
        head, tail = self.shape[:2], self.shape[2:]
        if any(size % divisor for size in head):
            raise ValueError(f"tensor {self.name} {list(self.shape)} can't be shrunk by {divisor} per dimension")
        return Tensor(self.name, tuple(size // divisor for size in head) + tail, self.dtype)


@dataclass(frozen=True)
class Architecture:
    """The values of config.json that decide how large a model and its KV cache are.

    ``extra`` holds the remaining entries of config.json, as published.
    """

    family: Family
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    max_positions: int
    extra: dict[str, Any]
    experts: int = 0

    def config(self) -> dict[str, Any]:
        """The model's config.json."""
        return {
            "architectures": [_CLASSES[self.family]],
            "model_type": self.family,
            "hidden_size": self.hidden,
            "intermediate_size": self.intermediate,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "vocab_size": self.vocab,
            "max_position_embeddings": self.max_positions,
            "torch_dtype": "bfloat16",
            "tie_word_embeddings": False,
            "hidden_act": "silu",
            "initializer_range": 0.02,
            "use_cache": True,
            **self.extra,
        }

    def tensors(self) -> Iterator[Tensor]:
        """All tensors, unscaled, in the order in which they are stored."""
        yield Tensor("model.embed_tokens.weight", (self.vocab, self.hidden))
        for layer in range(self.layers):
            yield from self._layer(f"model.layers.{layer}.")
        yield Tensor("model.norm.weight", (self.hidden,))
        yield Tensor("lm_head.weight", (self.vocab, self.hidden))

    def _layer(self, prefix: str) -> Iterator[Tensor]:
        yield Tensor(prefix + "input_layernorm.weight", (self.hidden,))
        yield from self._attention(prefix + "self_attn.")
        yield Tensor(prefix + "post_attention_layernorm.weight", (self.hidden,))
        yield from self._experts(prefix + "mlp.") if self.experts else self._mlp(prefix + "mlp.")

    def _attention(self, prefix: str) -> Iterator[Tensor]:
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        for name, rows, columns in (
            ("q_proj", queries, self.hidden),
            ("k_proj", keys, self.hidden),
            ("v_proj", keys, self.hidden),
            ("o_proj", self.hidden, queries),
        ):
            yield Tensor(f"{prefix}{name}.weight", (rows, columns))
            if self.family == "gpt_oss":
                yield Tensor(f"{prefix}{name}.bias", (rows,))
        if self.family == "gpt_oss":
            yield Tensor(prefix + "sinks", (self.heads,))
        if self.family == "qwen3":
            yield Tensor(prefix + "q_norm.weight", (self.head_dim,))
            yield Tensor(prefix + "k_norm.weight", (self.head_dim,))

    def _mlp(self, prefix: str) -> Iterator[Tensor]:
        yield Tensor(prefix + "gate_proj.weight", (self.intermediate, self.hidden))
        yield Tensor(prefix + "up_proj.weight", (self.intermediate, self.hidden))
        yield Tensor(prefix + "down_proj.weight", (self.hidden, self.intermediate))

    def _experts(self, prefix: str) -> Iterator[Tensor]:
        """MXFP4: 32 values of 4 bits are a block of 16 bytes with one byte of scale."""
        yield Tensor(prefix + "router.weight", (self.experts, self.hidden))
        yield Tensor(prefix + "router.bias", (self.experts,))
        for name, rows, columns in (
            ("gate_up_proj", 2 * self.intermediate, self.hidden),
            ("down_proj", self.hidden, self.intermediate),
        ):
            stem = f"{prefix}experts.{name}"
            yield Tensor(stem + "_blocks", (self.experts, rows, columns // 32, 16), "U8")
            yield Tensor(stem + "_scales", (self.experts, rows, columns // 32), "U8")
            yield Tensor(stem + "_bias", (self.experts, rows))
