"""Which Node objects the agent takes over, and what machine it makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from vllm_sandbox.node.adoption import GPUS, is_adoptable, spec_of

ROOT = Path(__file__).parents[3]


def karpenters(**metadata: Any) -> dict[str, Any]:
    """A node as the kwok provider creates it."""
    labels = {
        "karpenter.sh/nodepool": "spot",
        "kwok.x-k8s.io/node": "fake",
        "topology.kubernetes.io/zone": "sandbox-b",
        "nvidia.com/gpu.product": "NVIDIA-L4",
        "nvidia.com/gpu.memory": "23034",
    }
    annotations = {"kwok.x-k8s.io/node": "fake"}
    return {
        "metadata": {"name": "kwok-spot-1", "labels": labels, "annotations": annotations, **metadata},
        "spec": {"providerID": "kwok://kwok-spot-1"},
        "status": {"allocatable": {"cpu": "15900m", "memory": "134207488Ki", "nvidia.com/gpu": "2", "pods": "110"}},
    }


def test_only_karpenters_nodes_are_adopted() -> None:
    assert is_adoptable(karpenters())
    assert not is_adoptable(karpenters(deletionTimestamp="2026-01-01T00:00:00Z"))
    assert not is_adoptable(yaml.safe_load((ROOT / "manifests/crowd/node.yaml").read_text()))


def test_a_node_that_says_how_many_gpus_it_has_is_adopted() -> None:
    node = {
        "metadata": {"name": "mine", "annotations": {GPUS: "0"}},
        "spec": {},
        "status": {"allocatable": {"cpu": "8", "memory": "32Gi"}},
    }
    assert is_adoptable(node) and spec_of(node).gpus == 0
    del node["metadata"]["annotations"]  # type: ignore[attr-defined]
    assert not is_adoptable(node)


def test_the_machine_is_the_instance_type_s() -> None:
    spec = spec_of(karpenters())
    assert (spec.name, spec.zone) == ("kwok-spot-1", "sandbox-b")
    assert (spec.cpu, spec.memory_gib) == (16, 128)  # the provider reserves a little for the kubelet
    assert (spec.gpus, spec.gpu_product, spec.gpu_memory_gib) == (2, "NVIDIA-L4", 23)


def test_after_a_restart_the_annotation_knows_the_gpus() -> None:
    """The status has none until a plugin advertises them again."""
    node = karpenters(annotations={GPUS: "2"})
    del node["status"]["allocatable"]["nvidia.com/gpu"]
    assert spec_of(node).gpus == 2
