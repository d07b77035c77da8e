"""GPU memory of LoRA adapters: places that the server makes at its start, used or not.

With ``--enable-lora`` every layer gets matrices for ``--max-loras`` adapters of rank ``--max-lora-rank``, whatever
the adapters' own ranks and whichever modules they change (``vllm/lora/layers``): what one place takes is the same
for each. Adapters beyond that number wait in host memory.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence

from ..params import Model

_MAX_LORAS, _MAX_LORA_RANK = 1, 16  # vLLM's defaults


def adapter_bytes(model: Model, layers: int, dtype_bytes: int) -> int:
    """Bytes of all places on the fullest GPU; 0 without ``--enable-lora``.

    Args:
        layers: of the fullest pipeline stage.
        dtype_bytes: of one number of the model's dtype, which ``--lora-dtype auto`` takes over.
    """
    places, rank = _places(model.extra_args)
    if not places:
        return 0
    shape, tp = model.architecture, model.tensor_parallel_size
    # Per unit of rank, A of a module is as wide as its input and B as its output. Tensor parallelism cuts B of
    # q, k, v, gate and up, and A of o and down; the other matrix is whole on every GPU.
    queries, keys = shape.attention_heads * shape.head_dim, shape.kv_heads * shape.head_dim
    attention = 3 * shape.hidden_size + (queries + 2 * keys) / tp + queries / tp + shape.hidden_size
    mlp = 2 * shape.hidden_size + 3 * shape.intermediate_size / tp + shape.hidden_size
    embeddings = 2 * (shape.vocab_size + shape.hidden_size)  # embedding and output layer, whole on every GPU
    width = layers * (attention + shape.experts * mlp) + embeddings
    return math.ceil(places * rank * width * dtype_bytes)


def _places(extra_args: Sequence[str]) -> tuple[int, int]:
    """How many adapters, of which rank."""
    flags = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    flags.add_argument("--enable-lora", action="store_true")
    flags.add_argument("--max-loras", type=int, default=_MAX_LORAS)
    flags.add_argument("--max-lora-rank", type=int, default=_MAX_LORA_RANK)
    known, _ = flags.parse_known_args(list(extra_args))
    return (known.max_loras, known.max_lora_rank) if known.enable_lora else (0, 0)
