"""The sandbox's model hub offers what the model files describe, with the same architecture."""

from __future__ import annotations

from pathlib import Path

import pytest

from vllm_runbook import params
from vllm_runbook.params.registry import load_registry
from vllm_runbook.sizing.gpu import file_bytes
from vllm_sandbox.hub.models import CATALOGUE

MODELS = sorted(file.stem for file in (Path(__file__).parents[3] / "params" / "models").glob("*.yaml"))


@pytest.mark.parametrize("name", MODELS)
def test_same_architecture_and_gate(name: str) -> None:
    model = params.load("sandbox", name).model
    offered, ours = CATALOGUE[model.hub_id], model.architecture
    theirs = offered.architecture
    assert model.gated == offered.gated
    assert model.revision in offered.revisions
    assert (ours.layers, ours.hidden_size, ours.intermediate_size) == (
        theirs.layers,
        theirs.hidden,
        theirs.intermediate,
    )
    assert (ours.attention_heads, ours.kv_heads, ours.head_dim) == (theirs.heads, theirs.kv_heads, theirs.head_dim)
    assert (ours.vocab_size, ours.max_position_embeddings) == (theirs.vocab, theirs.max_positions)


@pytest.mark.parametrize("name", MODELS)
def test_same_size(name: str) -> None:
    model = params.load("sandbox", name).model
    published = sum(tensor.nbytes for tensor in CATALOGUE[model.hub_id].architecture.tensors())
    assert file_bytes(model) == pytest.approx(published, rel=0.005)


def test_every_offered_model_has_a_file() -> None:
    offered = {repo for repo, spec in CATALOGUE.items() if not spec.adapter_of}
    assert {params.load("sandbox", name).model.hub_id for name in MODELS} == offered


def test_every_offered_adapter_is_in_the_sandboxs_registry() -> None:
    served = load_registry(params.load("sandbox", "tiny").platform).models
    listed = {adapter.repo: (each.model.hub_id, adapter.rank) for each in served for adapter in each.entry.adapters}
    adapters = {repo: (spec.adapter_of, spec.rank) for repo, spec in CATALOGUE.items() if spec.adapter_of}
    toys = {repo for repo, (base, _) in adapters.items() if base == "sandbox/tiny-llama"}  # for tests/conformance
    assert listed == {repo: spec for repo, spec in adapters.items() if repo not in toys}
