"""Spot nodes that are taken back, as stock kubectl sees it. Each test uses up one of the sandbox's GPU nodes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from conftest import Cluster
from vllm_runbook import notebook
from vllm_runbook.steps.interruption import TAINT, Interruption
from vllm_sandbox import lifecycle
from vllm_sandbox.config import NodeSpec, SandboxConfig

#: Ignores SIGTERM for longer than any of these nodes lives.
STUBBORN = "trap '' TERM; while :; do sleep 0.1; done"
POLITE = "trap 'exit 0' TERM; while :; do sleep 0.1; done"


@pytest.fixture(scope="module")
def spots(sandbox: Cluster) -> Iterator[Cluster]:
    """A sandbox beside the tests' own: its nodes go and don't come back."""
    nodes = tuple(NodeSpec(name=name) for name in ("stays", "aws", "gcp", "azure", "lost", "told"))
    plane = lifecycle.up("spots", SandboxConfig(nodes=nodes, time_scale=50))
    try:
        yield Cluster("spots", plane.kubeconfig)
    finally:
        lifecycle.down("spots")


def deployment(node: str, script: str, replicas: int, grace: int = 60) -> list[dict[str, Any]]:
    """Replicas that prefer a node, and a budget that lets none or one of them go."""
    term = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}
    affinity = {
        "nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "preference": term}]}
    }
    container = {"name": "main", "image": "busybox:1.36", "command": ["sh", "-c", script]}
    spec = {"affinity": affinity, "terminationGracePeriodSeconds": grace, "containers": [container]}
    template = {"metadata": {"labels": {"app": node}}, "spec": spec}
    selector = {"matchLabels": {"app": node}}
    return [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": node},
            "spec": {"replicas": replicas, "selector": selector, "template": template},
        },
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": node},
            "spec": {"maxUnavailable": 0 if script == STUBBORN else 1, "selector": selector},
        },
    ]


def start(cluster: Cluster, node: str, script: str, replicas: int) -> set[str]:
    """Names of the running pods."""
    cluster.apply(deployment(node, script, replicas))
    cluster.kubectl("rollout", "status", f"deployment/{node}", "--timeout=60s")
    pods = cluster.get("pods", "", "-l", f"app={node}")["items"]
    assert {pod["spec"]["nodeName"] for pod in pods} == {node}
    return {pod["metadata"]["name"] for pod in pods}


def reclaim(cluster: Cluster, node: str, cloud: str, notice: float | None = None) -> None:
    more = [] if notice is None else [f"--notice={notice}"]
    done = cluster.runbook("sandbox", "reclaim", node, f"--cloud={cloud}", *more, "--name", cluster.name)
    assert done.returncode == 0, done.stderr


def reasons(cluster: Cluster, node: str) -> set[str]:
    events = cluster.get("events", "", "--field-selector", f"involvedObject.name={node}")["items"]
    return {event["reason"] for event in events}


def test_aws_drains_by_eviction_and_then_the_node_goes(spots: Cluster) -> None:
    pods = start(spots, "aws", POLITE, 2)
    reclaim(spots, "aws", "aws", 20)
    spots.wait("node/aws", "jsonpath={.spec.unschedulable}=true", 15)
    for pod in pods:
        spots.wait(f"pod/{pod}", "delete", 40)
    spots.kubectl("rollout", "status", "deployment/aws", "--timeout=60s")
    spots.wait("node/aws", "delete", 60)
    events = spots.get("events", "", "--field-selector", "reason=SpotInterruption")["items"]
    assert any("ends in 20 s (simulated, by the rules of aws)" in event["message"] for event in events)


def test_gcp_shuts_the_node_down_and_asks_no_budget(spots: Cluster) -> None:
    (name,) = start(spots, "gcp", STUBBORN, 1)
    reclaim(spots, "gcp", "gcp", 16)
    spots.wait("node/gcp", 'jsonpath={.status.conditions[?(@.type=="Ready")].reason}=KubeletNotReady', 10)
    spots.wait(f"pod/{name}", "jsonpath={.status.phase}=Failed", 40)
    pod = spots.get("pod", name)
    assert pod["status"]["reason"] == "Terminated" and "imminent node shutdown" in pod["status"]["message"]
    (why,) = [c for c in pod["status"]["conditions"] if c["type"] == "DisruptionTarget"]
    assert why["reason"] == "TerminationByKubelet"
    ended = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    assert ended["exitCode"] == 137, "60 s of grace are cut off by the notice"
    spots.kubectl("rollout", "status", "deployment/gcp", "--timeout=60s")
    spots.wait("node/gcp", "delete", 60)


def test_azure_drains_as_best_it_can_and_then_shuts_down(spots: Cluster) -> None:
    (name,) = start(spots, "azure", STUBBORN, 1)
    reclaim(spots, "azure", "azure", 18)
    spots.wait("node/azure", "jsonpath={.spec.unschedulable}=true", 15)
    taints = spots.get("node", "azure")["spec"]["taints"]
    assert "remediator.kubernetes.azure.com/unschedulable" in {taint["key"] for taint in taints}
    assert not spots.get("pod", name)["metadata"].get("deletionTimestamp"), "the budget holds the eviction back"
    spots.wait(f"pod/{name}", "jsonpath={.status.phase}=Failed", 60)
    spots.wait("node/azure", "delete", 60)


def test_a_loss_without_notice_is_seen_by_the_missing_heartbeat(spots: Cluster) -> None:
    (name,) = start(spots, "lost", POLITE, 1)
    reclaim(spots, "lost", "unannounced")
    spots.wait("node/lost", "delete", 90)
    spots.wait(f"pod/{name}", "delete", 90)
    spots.kubectl("rollout", "status", "deployment/lost", "--timeout=60s")
    assert "NodeNotReady" in reasons(spots, "lost") or "NodeNotReady" in reasons(spots, name)


def test_what_cannot_be_reclaimed_is_said(spots: Cluster) -> None:
    done = spots.runbook("sandbox", "reclaim", "nobody", "--cloud=aws", "--name", spots.name)
    assert done.returncode and "nobody" in done.stderr and "not found" in done.stderr
    done = spots.runbook("sandbox", "reclaim", "stays", "--cloud=oracle", "--name", spots.name)
    assert done.returncode == 2 and "'aws', 'gcp', 'azure', 'unannounced'" in done.stderr
    spots.kubectl("annotate", "node", "stays", "sandbox.vllm-runbook.dev/reclaim=oracle 5")
    spots.kubectl(
        "wait", "--for=create", "events", "--field-selector=reason=ReclaimRefused", "--timeout=20s", timeout=40
    )
    assert "ReclaimRefused" in reasons(spots, "stays")


def test_a_node_that_is_named_is_drained_and_given_back_or_deleted(spots: Cluster) -> None:
    """What notebook 08 does where no interruption can be ordered, as on real clusters."""
    (name,) = start(spots, "told", POLITE, 1)
    real = {"kubernetes.context": "sandbox-spots", "spot.reclaims": "null", "spot.behaviour": "drain"}
    book = notebook.begin("08_spot", "sandbox", "tiny", real)
    gone, ended = Interruption(book, "eks", [], "told"), threading.Event()
    gone.begin(ended.set)
    assert ended.wait(60), gone.output
    spots.wait(f"pod/{name}", "delete", 30)
    spec = spots.get("node", "told")["spec"]
    assert spec["unschedulable"] and TAINT in {taint["key"] for taint in spec["taints"]}
    gone.undo()
    spec = spots.get("node", "told")["spec"]
    assert not spec.get("unschedulable") and TAINT not in {taint["key"] for taint in spec.get("taints", [])}
    gone.undo(delete_node=True)
    spots.wait("node/told", "delete", 10)
