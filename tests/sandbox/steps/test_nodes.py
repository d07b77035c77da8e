"""Notebooks 00 to 02: preflight, device plugin, labels."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from conftest import Cluster
from vllm_runbook.cluster import TimedOut
from vllm_runbook.errors import RunbookError
from vllm_runbook.steps import deploy, device_plugin, gpu_nodes, preflight

from .conftest import Begin


def test_preflight_finds_nothing_wrong_with_the_sandbox(begin: Begin) -> None:
    book = begin("00_preflight", "qwen3-8b")
    for look in (preflight.versions, preflight.access, preflight.nodes, preflight.plugins, preflight.storage):
        look(book)
    preflight.token(book)
    preflight.fit(book)
    assert book.result.ok and len(book.result.checks) == 7


def test_preflight_names_what_is_wrong(begin: Begin) -> None:
    book = begin("00_preflight", "llama-3.1-70b-instruct", **{"storage.class": "block-rwo", "tensor_parallel_size": 1})
    preflight.storage(book)
    preflight.token(book)
    preflight.fit(book)
    with pytest.raises(RunbookError) as raised:
        book.verdict()
    told = str(raised.value)
    assert "block-rwo" in told and "HF_TOKEN" in told
    assert "131.4" in told and "tensor_parallel_size" in told  # what doesn't fit, and what would help


def test_too_little_permission_ends_before_anything_is_done(cluster: Cluster, begin: Begin, tmp_path: Path) -> None:
    cluster.kubectl("create", "serviceaccount", "nobody")
    document = yaml.safe_load(cluster.kubeconfig.read_text())
    document["users"][0]["user"] = {"token": cluster.kubectl("create", "token", "nobody").strip()}
    file = tmp_path / "config"
    file.write_text(yaml.safe_dump(document))
    with pytest.raises(RunbookError, match="permissions are missing") as raised:
        begin("04_deploy_vllm", **{"kubernetes.kubeconfig": str(file)})
    assert f"may not create deployments.apps in {cluster.namespace}" in str(raised.value)


def test_only_nodes_with_gpus_are_labelled(cluster: Cluster, begin: Begin, gpus: None) -> None:
    book = begin("02_label_gpu_nodes")
    assert [node["metadata"]["name"] for node in gpu_nodes.ready_nodes(book)] == ["gpu-0", "gpu-1", "gpu-2"]
    with pytest.raises(RunbookError, match="Node cpu-0 has no allocatable nvidia.com/gpu"):
        gpu_nodes.plan_labels(book, ["gpu-0", "cpu-0"])
    with pytest.raises(RunbookError, match="There is no node gpu-9"):
        gpu_nodes.plan_labels(book, ["gpu-9"])
    assert "hardware-type" not in cluster.get("node", "cpu-0")["metadata"]["labels"]


def test_without_gpu_nodes_the_later_steps_say_so(begin: Begin) -> None:
    none = {"gpu.resource": "example.com/none", "gpu.node_label": {"key": "example.com/none", "value": "yes"}}
    with pytest.raises(RunbookError, match="No node has example.com/none"):
        gpu_nodes.plan_labels(begin("02_label_gpu_nodes", **none))
    with pytest.raises(RunbookError, match="notebooks 01"):
        deploy.require(begin("04_deploy_vllm", **none))


def test_a_node_that_does_not_advertise_is_named_with_the_reason(cluster: Cluster, begin: Begin, gpus: None) -> None:
    """gpu-2 gets a taint that the plugin doesn't tolerate, and loses its plugin pod."""
    cluster.kubectl("taint", "node", "gpu-2", "example.com/special=yes:NoExecute")
    try:
        cluster.kubectl(
            "wait", "node/gpu-2", "--for=jsonpath={.status.allocatable.nvidia\\.com/gpu}=0", "--timeout=30s"
        )
        book = begin("01_device_plugin")
        seen = device_plugin.NodesSeen(book)
        with pytest.raises(TimedOut) as raised:
            device_plugin.verify(book, seen, seconds=3)
        assert "gpu-2: no device plugin pod runs there" in raised.value.why
        assert "example.com/special:NoExecute" in raised.value.why and "gpu-0" not in raised.value.why
    finally:
        cluster.kubectl("taint", "node", "gpu-2", "example.com/special-")
    device_plugin.verify(book, seen, seconds=60)


def test_a_second_plugin_is_not_installed(cluster: Cluster, begin: Begin, gpus: None) -> None:
    """Our DaemonSet without our label is somebody else's."""
    label = "app.kubernetes.io/managed-by"
    cluster.kubectl("-n", "kube-system", "label", "daemonset", device_plugin.NAME, f"{label}=admin", "--overwrite")
    try:
        with pytest.raises(RunbookError, match="installed already") as raised:
            device_plugin.plan(begin("01_device_plugin"))
        assert "kube-system/nvidia-device-plugin" in str(raised.value)
        managed = begin("01_device_plugin", **{"device_plugin.mode": "managed"})
        assert not device_plugin.plan(managed)
    finally:
        cluster.kubectl(
            "-n", "kube-system", "label", "daemonset", device_plugin.NAME, f"{label}=vllm-runbook", "--overwrite"
        )
