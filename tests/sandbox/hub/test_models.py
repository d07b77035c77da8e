"""The synthetic models: sizes against the published ones, valid safetensors, reproducible bytes."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

import pytest

from vllm_sandbox.hub import content as contents
from vllm_sandbox.hub.architectures import Tensor
from vllm_sandbox.hub.content import Content
from vllm_sandbox.hub.models import CATALOGUE, RENAMED
from vllm_sandbox.hub.repository import DigestCache, snapshot
from vllm_sandbox.hub.safetensors import INDEX, weights

# Published figures: parameters in billions (None where weights are packed), GiB of weights, number of shards.
PUBLISHED = {
    "meta-llama/Llama-3.1-8B-Instruct": (8.030, 14.96, 4),
    "meta-llama/Llama-3.1-70B-Instruct": (70.554, 131.4, 30),
    "meta-llama/Llama-3.3-70B-Instruct": (70.554, 131.4, 30),
    "Qwen/Qwen3-8B": (8.191, 15.26, 5),
    "Qwen/Qwen3-32B": (32.762, 61.0, 17),
    "mistralai/Mistral-7B-Instruct-v0.3": (7.248, 13.5, 3),
    "openai/gpt-oss-20b": (None, 12.8, 3),
}


@pytest.mark.parametrize("repo_id", PUBLISHED)
def test_sizes_are_the_published_ones(repo_id: str) -> None:
    params, gib, shards = PUBLISHED[repo_id]
    spec = CATALOGUE[repo_id]
    tensors = list(spec.architecture.tensors())
    if params is not None:
        assert sum(math.prod(t.shape) for t in tensors) / 1e9 == pytest.approx(params, abs=0.001)
    assert sum(t.nbytes for t in tensors) / 2**30 == pytest.approx(gib, rel=0.003)
    files = [file for name, file in weights(spec, "seed").items() if name.endswith(".safetensors")]
    assert len(files) == shards
    # Headers and one-dimensional tensors don't shrink by 1024; together they stay below one percent.
    assert sum(file.size for file in files) * spec.scale / 2**30 == pytest.approx(gib, rel=0.01)


@pytest.mark.parametrize("repo_id", ["sandbox/tiny-llama", "openai/gpt-oss-20b", "meta-llama/Llama-3.1-70B-Instruct"])
def test_index_and_headers_agree(repo_id: str) -> None:
    spec = CATALOGUE[repo_id]
    files = weights(spec, "seed")
    index = json.loads(files[INDEX].prefix)
    seen: dict[str, str] = {}
    total = 0
    for name, file in files.items():
        if name == INDEX:
            continue
        length = int.from_bytes(file.prefix[:8], "little")
        assert len(file.prefix) == 8 + length and length % 8 == 0
        header = json.loads(file.prefix[8:])
        assert header.pop("__metadata__") == {"format": "pt", "sandbox_scale": str(spec.scale)}
        end = 0
        for tensor, entry in header.items():
            assert entry["data_offsets"][0] == end
            end = entry["data_offsets"][1]
            assert end - entry["data_offsets"][0] == Tensor(tensor, tuple(entry["shape"]), entry["dtype"]).nbytes
            seen[tensor] = name
        assert file.size == len(file.prefix) + end
        total += end
    assert seen == index["weight_map"]
    assert total == index["metadata"]["total_size"]


def test_config_holds_the_real_architecture(tmp_path: Path) -> None:
    files = snapshot(CATALOGUE["Qwen/Qwen3-32B"], 1, DigestCache(tmp_path)).files
    config = json.loads(files["config.json"].content.prefix)
    expected = {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "num_hidden_layers": 64,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "hidden_size": 5120,
        "intermediate_size": 25600,
        "vocab_size": 151936,
        "max_position_embeddings": 40960,
        "torch_dtype": "bfloat16",
    }
    assert {key: config[key] for key in expected} == expected
    assert b"SIMULATED" in files["README.md"].content.prefix


def test_a_range_is_a_slice_of_the_whole() -> None:
    file = Content(b"header", 1_000_000, "seed")
    whole = b"".join(contents.read(file))
    assert len(whole) == file.size == 1_000_006
    for start, stop in [(0, 3), (3, 9), (6, 65_542), (65_541, 65_543), (70_000, 800_001), (999_999, None)]:
        assert b"".join(contents.read(file, start, stop)) == whole[start:stop]
    assert contents.sha256(file) == hashlib.sha256(whole).hexdigest()
    assert whole[6:5000] != b"".join(contents.read(Content(b"header", 1_000_000, "other")))[6:5000]


def test_digests_survive_a_restart_and_a_damaged_cache(tmp_path: Path) -> None:
    spec = CATALOGUE["sandbox/tiny-llama"]
    first = snapshot(spec, 1, DigestCache(tmp_path))
    saved = json.loads((tmp_path / "digests.json").read_text())
    assert {f.sha256 for f in first.files.values() if f.sha256} == set(saved.values())
    assert snapshot(spec, 1, DigestCache(tmp_path)) == first
    (tmp_path / "digests.json").write_text("{damaged")
    assert snapshot(spec, 1, DigestCache(tmp_path)) == first
    assert snapshot(spec, 2, DigestCache(tmp_path)).commit != first.commit


def test_every_renamed_repository_leads_to_one_that_exists() -> None:
    assert set(RENAMED.values()) <= set(CATALOGUE)
    assert not set(RENAMED) & set(CATALOGUE)


def test_a_dimension_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match=r"tensor w \[33, 64\] can't be shrunk by 32"):
        Tensor("w", (33, 64)).shrunk(32)


@pytest.mark.parametrize("repo_id", [name for name, spec in CATALOGUE.items() if spec.adapter_of])
def test_an_adapter_has_what_peft_writes(repo_id: str, tmp_path: Path) -> None:
    spec = CATALOGUE[repo_id]
    files = snapshot(spec, 1, DigestCache(tmp_path)).files
    assert set(files) == {"README.md", "adapter_config.json", "adapter_model.safetensors"}
    config = json.loads(files["adapter_config.json"].content.prefix)
    assert (config["peft_type"], config["r"], config["base_model_name_or_path"]) == ("LORA", spec.rank, spec.adapter_of)
    weights = files["adapter_model.safetensors"]
    header = json.loads(weights.content.prefix[8:])
    assert len(header) - 1 == 2 * len(config["target_modules"]) * spec.architecture.layers and weights.sha256
    first = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    assert header[first]["shape"][0] == spec.rank
