"""Nodes that Karpenter brings and takes away, a kubelet that stops, and Karpenter's own installation and removal."""

from __future__ import annotations

import json
import os
import select
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import Cluster
from vllm_runbook import notebook
from vllm_runbook.notebook import Notebook
from vllm_runbook.permissions import TITLES
from vllm_runbook.steps import device_plugin, provisioning, teardown
from vllm_sandbox.node.node import KUBELET, KUBELET_STOPPED

ROOT = Path(__file__).parents[3]
TOLERATES = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]


def begin(step: str) -> Notebook:
    return notebook.begin(step, "sandbox", "tiny", {})


@pytest.fixture(scope="module")
def karpenter(sandbox: Cluster) -> Cluster:
    """A sandbox with the device plugin and Karpenter, whose pools let an empty node go soon."""
    TITLES.setdefault("08_spot", "Spot nodes")
    plugin = begin("01_device_plugin")
    plugin.apply(device_plugin.plan(plugin))
    book = begin("08_spot")
    book.apply(provisioning.plan(book))
    provisioning.wait_ready(book)
    book.apply(provisioning.plan_pools(book))
    provisioning.wait_pools(book)
    assert book.result.ok and [check.name for check in book.result.checks] == [
        "Karpenter runs",
        "every NodePool is ready",
    ]
    soon = json.dumps({"spec": {"disruption": {"consolidateAfter": "1s"}}})
    sandbox.kubectl("patch", "nodepool/spot", "--type=merge", "-p", soon)
    return sandbox


@pytest.fixture(scope="module")
def stopped(sandbox: Cluster) -> tuple[Cluster, int]:
    """A node whose kubelet stands still, and the process of a pod on it that was deleted since.

    It takes the control plane 50 seconds to see the first, which the tests before use.
    """
    script = "while :; do sleep 0.1; done"
    container = {"name": "main", "image": "busybox:1.37", "command": ["sh", "-c", script]}
    spec = {"nodeName": "gpu-2", "terminationGracePeriodSeconds": 1, "containers": [container]}
    sandbox.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "here"}, "spec": spec})
    sandbox.wait("pod/here", "condition=Ready")
    pid = process_of(sandbox.get("pod", "here"))
    sandbox.kubectl("cordon", "gpu-2")  # or Karpenter may be put there, and waits for a kubelet that stands still
    sandbox.kubectl("annotate", "node", "gpu-2", f"{KUBELET}={KUBELET_STOPPED}")
    sandbox.kubectl("delete", "pod", "here", "--wait=false")
    return sandbox, pid


def process_of(pod: dict[str, Any]) -> int:
    (container,) = pod["status"]["containerStatuses"]
    return int(container["containerID"].rpartition("/")[2])


def gpu_pod(name: str, gpus: int) -> dict[str, Any]:
    """A pod that says how many GPUs it sees and goes on, on spot nodes only."""
    script = (
        "echo \"$NVIDIA_VISIBLE_DEVICES\" | tr ',' '\\n' | grep -c GPU; trap 'exit 0' TERM; while :; do sleep 0.1; done"
    )
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "nodeSelector": {"karpenter.sh/capacity-type": "spot"},
            "tolerations": TOLERATES,
            "containers": [
                {
                    "name": "main",
                    "image": "busybox:1.37",
                    "command": ["sh", "-c", script],
                    "resources": {"limits": {"nvidia.com/gpu": gpus}},
                }
            ],
        },
    }


def start(cluster: Cluster, name: str, gpus: int) -> tuple[str, int]:
    """A running GPU pod: its node and its process."""
    cluster.apply(gpu_pod(name, gpus))
    cluster.wait(f"pod/{name}", "condition=Ready")
    pod = cluster.get("pod", name)
    return pod["spec"]["nodeName"], process_of(pod)


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


@pytest.mark.usefixtures("stopped")
def test_a_pending_gpu_pod_brings_a_spot_node_that_goes_when_it_is_empty(karpenter: Cluster, cluster: Cluster) -> None:
    name, pid = start(cluster, "server", gpus=2)
    node = cluster.get("node", name)
    labels, status = node["metadata"]["labels"], node["status"]
    assert labels["karpenter.sh/capacity-type"] == "spot" and labels["hardware-type"] == "nvidia-gpu"
    assert labels["node.kubernetes.io/instance-type"] == "sandbox-4gpu"
    assert (status["capacity"]["cpu"], status["capacity"]["memory"]) == ("64", "512Gi")
    assert status["allocatable"]["nvidia.com/gpu"] == "4"
    assert cluster.kubectl("logs", "server") == "2\n"
    plugin = cluster.kubectl("-n", "kube-system", "get", "pods", f"--field-selector=spec.nodeName={name}", "-o", "name")
    assert "nvidia-device-plugin" in plugin
    assert cluster.get("csinode", name)["spec"]["drivers"]
    lease = cluster.get("lease", name, "-n", "kube-node-lease")
    assert lease["metadata"]["ownerReferences"][0]["uid"] == node["metadata"]["uid"]
    assert alive(pid)

    cluster.kubectl("delete", "pod", "server")
    cluster.wait(f"node/{name}", "delete", timeout=60)
    assert not cluster.get("nodeclaims")["items"]
    assert not alive(pid)


def test_a_deleted_node_ends_its_processes_at_once(karpenter: Cluster, cluster: Cluster) -> None:
    """Without its finalizer the Node goes as it does when a cloud says that the instance is gone."""
    name, pid = start(cluster, "server", gpus=1)
    before = cluster.get("node", name)["spec"]["podCIDR"]
    cluster.kubectl("patch", f"node/{name}", "--type=merge", "-p", '{"metadata": {"finalizers": null}}')
    cluster.kubectl("delete", "node", name)
    assert ended(pid)
    other, _ = start(cluster, "other", gpus=1)  # the place of the first is free for pods and for Karpenter
    assert other != name
    assert cluster.get("node", other)["spec"]["podCIDR"] != before  # a subnet is used again as late as possible


def ended(pid: int) -> bool:
    """Wait for the end of a process that isn't ours."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    poller = select.poll()
    poller.register(handle, select.POLLIN)
    try:
        return bool(poller.poll(20_000))
    finally:
        os.close(handle)


def test_while_its_kubelet_is_stopped_a_node_is_not_ready_and_its_pods_run_on(
    cluster: Cluster, stopped: tuple[Cluster, int]
) -> None:
    home, pid = stopped
    assert "unable to handle the request" in home.kubectl("logs", "here", ok=False)
    home.wait("node/gpu-2", "condition=Ready=Unknown", timeout=80)
    assert alive(pid) and home.get("pod", "here")["metadata"]["deletionTimestamp"]
    home.kubectl("annotate", "node", "gpu-2", f"{KUBELET}-")
    home.wait("node/gpu-2", "condition=Ready", timeout=20)
    home.wait("pod/here", "delete", timeout=20)
    assert ended(pid)


@pytest.mark.parametrize(
    ("example", "schema"),
    [("eks-karpenter.yaml", "ec2nodeclasses.yaml"), ("aks-agentpools.yaml", "managedclustersagentpools.yaml")],
)
def test_the_examples_for_real_clouds_are_valid(karpenter: Cluster, example: str, schema: str) -> None:
    """By the vendors' own schemas, which a real API server enforces."""
    crd = str(ROOT / "tests/data/schemas" / schema)
    karpenter.kubectl("apply", "-f", crd)
    try:
        karpenter.wait_defined(
            *(item["metadata"]["name"] for item in yaml.safe_load_all(Path(crd).read_text()) if item)
        )
        text = (ROOT / "manifests/spot" / example).read_text()
        check = ("create", "--dry-run=server", "--validate=strict", "-f", "-")
        made = karpenter.kubectl(*check, stdin=renamed(text))
        assert made.count("created (server dry run)") == len(list(yaml.safe_load_all(text)))
        assert "unknown field" in karpenter.kubectl(*check, stdin=renamed(text, typo="x"), ok=False)
    finally:
        karpenter.kubectl("delete", "-f", crd)


def renamed(text: str, **more: str) -> str:
    """The objects under names that nobody uses here, with more fields in their spec."""
    items = list(yaml.safe_load_all(text))
    for item in items:
        item["metadata"]["name"] += "-example"
        item["spec"] |= more
    return yaml.safe_dump_all(items)


def test_teardown_takes_the_nodes_before_karpenter(karpenter: Cluster, cluster: Cluster) -> None:
    name, pid = start(cluster, "server", gpus=1)
    again = begin("08_spot")
    again.apply(provisioning.plan(again))
    assert again.result.changed == 0
    down = begin("10_teardown")
    scope = teardown.plan(down)
    teardown.remove(down, scope)
    teardown.verify(down, scope)
    assert down.result.ok
    assert not alive(pid) and name not in cluster.kubectl("get", "nodes", "-o", "name")
    assert "karpenter" not in cluster.kubectl("get", "crd,namespaces,clusterroles", "-o", "name")
