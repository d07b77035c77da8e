"""The safetensors format: eight bytes of header length, a JSON header, then the tensors' bytes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from vllm_sandbox.hub.architectures import Tensor
from vllm_sandbox.hub.content import Content
from vllm_sandbox.hub.models import ModelSpec

INDEX = "model.safetensors.index.json"


def header(tensors: Iterable[Tensor], metadata: dict[str, str]) -> bytes:
    """Length and JSON header of a file with these tensors one after the other, padded to eight bytes."""
    entries: dict[str, Any] = {"__metadata__": metadata}
    offset = 0
    for tensor in tensors:
        end = offset + tensor.nbytes
        entries[tensor.name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _shards(spec: ModelSpec) -> Iterator[list[Tensor]]:
    """Tensors in order; a shard ends before it would exceed the limit (in real, unscaled bytes)."""
    shard: list[Tensor] = []
    filled = 0
    for tensor in spec.architecture.tensors():
        if shard and filled + tensor.nbytes > spec.max_shard_bytes:
            yield shard
            shard, filled = [], 0
        shard.append(tensor)
        filled += tensor.nbytes
    yield shard


def weights(spec: ModelSpec, seed: str) -> dict[str, Content]:
    """The model's shards and their index, by file name. ``seed`` decides the tensors' bytes."""
    metadata = {"format": "pt", "sandbox_scale": str(spec.scale)}
    shards = [[tensor.shrunk(spec.divisor) for tensor in shard] for shard in _shards(spec)]
    last = len(shards) - 1 + spec.first_shard
    files: dict[str, Content] = {}
    where: dict[str, str] = {}
    for number, shard in enumerate(shards, start=spec.first_shard):
        name = f"model-{number:05}-of-{last:05}.safetensors"
        files[name] = Content(header(shard, metadata), sum(t.nbytes for t in shard), f"{seed}/{name}")
        where |= {tensor.name: name for tensor in shard}
    index = {
        "metadata": {"total_size": sum(t.nbytes for shard in shards for t in shard)},
        "weight_map": dict(sorted(where.items())),
    }
    files[INDEX] = Content(json.dumps(index, indent=2).encode() + b"\n")
    return files
