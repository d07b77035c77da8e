"""A model's directory, as the server finds it: config.json, the index and the headers of the shards."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_UNREADABLE = "safetensors_rust.SafetensorError: Error while deserializing header"
DTYPE_BYTES = {"F64": 8, "F32": 4, "BF16": 2, "F16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "I8": 1, "U8": 1, "I32": 4}


class StartError(Exception):
    """The server can't start. ``lines`` are the last ones of its log; the exit code is 1."""

    def __init__(self, *lines: str) -> None:
        super().__init__(lines[-1])
        self.lines = lines


@dataclass(frozen=True)
class Checkpoint:
    """What memory and time depend on.

    Attributes:
        weight_bytes: of the real model: the synthetic files say by how much they are smaller.
        embedding_bytes: of one embedding or output matrix.
    """

    directory: Path
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    max_positions: int
    weight_bytes: int
    dummy: bool = False

    @property
    def parameters(self) -> float:
        """Parameters, about: two bytes each."""
        return self.weight_bytes / 2


def find(model: str, revision: str | None) -> Path:
    """The model's directory: a local one, or the hub's, in the cache or downloaded.

    Raises:
        StartError: neither.
    """
    if Path(model).is_dir():
        return Path(model)
    # huggingface_hub reads its environment when it is imported.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(model, revision=revision, token=os.environ.get("HF_TOKEN")))
    except HFValidationError as error:
        raise StartError(
            "    raise HFValidationError(", f"huggingface_hub.errors.HFValidationError: {error}"
        ) from error
    except LocalEntryNotFoundError as error:
        raise StartError(f"huggingface_hub.errors.LocalEntryNotFoundError: {error}") from error
    except (HfHubHTTPError, OSError) as error:
        kind = f"{type(error).__module__}.{type(error).__qualname__}"
        raise StartError(f"{kind}: {error}") from error


def read(directory: Path, *, dummy: bool) -> Checkpoint:
    """Read configuration and (unless the weights are dummies) every shard's header.

    Raises:
        StartError: no configuration, no weights, or a shard of the index is missing or cut.
    """
    file = directory / "config.json"
    if not file.is_file():
        raise StartError(
            f"OSError: {directory} does not appear to have a file named config.json. Checkout "
            f"'https://huggingface.co/{directory}/tree/main' for available files."
        )
    config = json.loads(file.read_text())
    heads = int(config["num_attention_heads"])
    hidden, layers = int(config["hidden_size"]), int(config["num_hidden_layers"])
    return Checkpoint(
        directory=directory,
        layers=layers,
        hidden=hidden,
        intermediate=int(config.get("intermediate_size", 4 * hidden)),
        heads=heads,
        kv_heads=int(config.get("num_key_value_heads", heads)),
        head_dim=int(config.get("head_dim") or hidden // heads),
        vocab=int(config["vocab_size"]),
        max_positions=int(config.get("max_position_embeddings", 2048)),
        weight_bytes=_dummy_bytes(config) if dummy else _weight_bytes(directory),
        dummy=dummy,
    )


def _dummy_bytes(config: dict[str, Any]) -> int:
    """Size of a dense model with this configuration, two bytes per parameter."""
    hidden, layers = config["hidden_size"], config["num_hidden_layers"]
    block = 4 * hidden * hidden + 3 * hidden * config.get("intermediate_size", 4 * hidden)
    return int(2 * (layers * block + 2 * config["vocab_size"] * hidden))


def _weight_bytes(directory: Path) -> int:
    index = directory / "model.safetensors.index.json"
    if index.is_file():
        names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    else:
        names = sorted(path.name for path in directory.glob("*.safetensors"))
    if not names or not any((directory / name).is_file() for name in names):
        raise StartError("    raise RuntimeError(", f"RuntimeError: Cannot find any model weights with `{directory}`")
    return sum(_shard_bytes(directory / name) for name in names)


def _shard_bytes(file: Path) -> int:
    """Real bytes of a shard's tensors.

    Raises:
        StartError: it is missing, or shorter than its header says.
    """
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(length))
    except FileNotFoundError as error:
        raise StartError(f"FileNotFoundError: No such file or directory: {str(file)!r}") from error
    except ValueError as error:
        raise StartError(f"{_UNREADABLE}: header too small") from error
    scale = float(header.pop("__metadata__", {}).get("sandbox_scale", 1))
    end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
    if file.stat().st_size < 8 + length + end:
        raise StartError(f"{_UNREADABLE}: incomplete metadata, file not fully covered")
    sizes = (math.prod(entry["shape"]) * DTYPE_BYTES[entry["dtype"]] for entry in header.values())
    return int(sum(sizes) * scale)
