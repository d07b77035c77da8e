"""Insufficient nvidia.com/gpu, told apart: every reason, and its nearest neighbour."""

from __future__ import annotations

from typing import Any

import pytest

from .recorded import GPU, ago, codes, diagnosed, event, item, node, pod, refused

NO_GPU = f"0/2 nodes are available: 2 Insufficient {GPU}. preemption: 0/2 nodes are available: 2 No preemption victims."
TOLERANT = {"tolerations": [{"key": GPU, "operator": "Exists", "effect": "NoSchedule"}]}
TAINT = {"key": GPU, "value": "present", "effect": "NoSchedule"}
SELECTOR = {"nodeSelector": {"hardware-type": "nvidia-gpu"}}


def plugin(**more: Any) -> dict[str, Any]:
    template = {"spec": {"containers": [{"image": "nvcr.io/nvidia/k8s-device-plugin:v0.20.1"}]}}
    return item("DaemonSet", "nvidia-device-plugin", namespace="kube-system", spec={"template": template}, **more)


def test_no_plugin_when_nodes_have_gpus_that_nobody_offers() -> None:
    found = diagnosed(refused(NO_GPU, spec=SELECTOR), node("gpu-0", 0, capacity=4))
    assert [each.code for each in found.findings] == ["gpu-no-plugin"]
    assert "no device plugin is installed" in found.findings[0].cause
    assert "runbook run 01" in found.findings[0].fix[0]


def test_a_label_tells_of_gpus_that_were_never_offered() -> None:
    labels = {"hardware-type": "nvidia-gpu", "feature.node.kubernetes.io/pci-10de.present": "true"}
    assert codes(refused(NO_GPU), node("gpu-0", 0, labels=labels), node("cpu-0", 0)) == ["gpu-no-plugin"]
    assert codes(refused(NO_GPU), node("cpu-0", 0)) == ["gpu-no-nodes"]


def test_a_plugin_that_is_coming_up_is_no_finding() -> None:
    silent = node("gpu-0", 0, capacity=4)
    assert codes(refused(NO_GPU), silent, plugin(age=20)) == []
    assert codes(refused(NO_GPU), silent, plugin(age=300)) == ["gpu-no-plugin"]
    assert codes(refused(NO_GPU), node("gpu-0", 0, capacity=4, age=20)) == []


def test_a_plugin_that_offers_nothing_is_named_with_its_log() -> None:
    running = pod("plugin-1", age=900, metadata={"namespace": "kube-system"})
    found = diagnosed(refused(NO_GPU), node("gpu-0", 0, capacity=4), plugin(), objects={"PluginPod": [running]})
    assert "offers no GPU" in found.findings[0].cause and "logs plugin-1" in found.findings[0].fix[0]


def test_no_label() -> None:
    message = "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."
    found = diagnosed(refused(message, spec=SELECTOR), node("gpu-0", labels={}))
    assert [each.code for each in found.findings] == ["gpu-no-label"]
    assert "runbook run 02" in found.findings[0].fix[0]


@pytest.mark.parametrize(
    ("expression", "code"),
    [
        ({"key": "hardware-type", "operator": "In", "values": ["nvidia-gpu"]}, []),
        ({"key": "hardware-type", "operator": "NotIn", "values": ["nvidia-gpu"]}, ["gpu-no-label"]),
        ({"key": "hardware-type", "operator": "DoesNotExist"}, ["gpu-no-label"]),
        ({"key": "generation", "operator": "Gt", "values": ["7"]}, []),
        ({"key": "generation", "operator": "Gt", "values": ["8"]}, ["gpu-no-label"]),
    ],
)
def test_affinity_is_read_as_the_scheduler_reads_it(expression: dict[str, Any], code: list[str]) -> None:
    terms = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}
    target = node("gpu-0", labels={"hardware-type": "nvidia-gpu", "generation": "8"})
    found = codes(refused("0/1 nodes are available.", spec={"affinity": affinity}), target)
    assert [each for each in found if each.startswith("gpu-")] == code


def test_taint() -> None:
    message = "0/1 nodes are available: 1 node(s) had untolerated taint(s)."
    tainted = node("gpu-0", taints=[TAINT])
    found = diagnosed(refused(message), tainted)
    assert [each.code for each in found.findings] == ["gpu-taint"]
    assert f"{GPU}=present:NoSchedule" in found.findings[0].cause
    assert "gpu.tolerations" in found.findings[0].fix[0]
    assert "gpu-taint" not in codes(refused(message, spec=TOLERANT), tainted)
    other = {"tolerations": [{"key": GPU, "operator": "Equal", "value": "other"}]}
    assert codes(refused(message, spec=other), tainted) == ["gpu-taint"]
    soft = node("gpu-0", taints=[{"key": "x", "effect": "PreferNoSchedule"}])
    assert "gpu-taint" not in codes(refused(message), soft)


def test_all_gpus_in_use_names_who_holds_them() -> None:
    holder = pod("other-1", on="gpu-0", container={"resources": {"limits": {GPU: "4"}}}, metadata={"namespace": "team"})
    waiting = refused(NO_GPU)
    found = diagnosed(waiting, node("gpu-0"), holders=[holder, waiting])
    assert [each.code for each in found.findings] == ["gpu-in-use"]
    assert "team" in found.findings[0].cause and "4" in found.findings[0].cause


def test_gpus_that_are_just_freed_are_no_finding() -> None:
    going = pod("old", container={"resources": {"limits": {GPU: "4"}}}, metadata={"deletionTimestamp": ago(-20)})
    waiting = refused(NO_GPU)
    assert codes(waiting, node("gpu-0"), holders=[going, waiting]) == []
    going["metadata"]["deletionTimestamp"] = ago(300)  # it should have gone long ago
    assert codes(waiting, node("gpu-0"), holders=[going, waiting]) == ["gpu-in-use"]


def test_a_pod_larger_than_any_node_does_not_fit() -> None:
    large = refused(NO_GPU, container={"resources": {"limits": {GPU: "8"}}})
    assert codes(large, node("gpu-0"), node("gpu-1")) == ["does-not-fit"]
    assert codes(refused("0/1 nodes are available: 1 Insufficient memory."), node("gpu-0")) == ["does-not-fit"]


def test_cordoned_nodes() -> None:
    message = "0/1 nodes are available: 1 node(s) were unschedulable."
    taint = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
    assert codes(refused(message), node("gpu-0", unschedulable=True, taints=[taint])) == ["node-cordoned"]


def test_what_is_just_starting_is_no_finding() -> None:
    """Not tried yet, held by a gate, a node on its way, a preemption under way."""
    assert codes(pod(on=""), node("gpu-0")) == []
    gated = pod(on="", conditions=[{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}])
    assert codes(gated, node("gpu-0")) == []
    waiting = refused(NO_GPU)
    for reason in ("TriggeredScaleUp", "Nominated"):
        assert codes(waiting, node("gpu-0", 0, capacity=4), event(waiting, reason, "…", kind="Normal")) == []
    stale = event(waiting, "TriggeredScaleUp", "…", kind="Normal", age=3000)
    assert codes(waiting, node("gpu-0", 0, capacity=4), stale) == ["gpu-no-plugin"]
    nominated = refused(NO_GPU)
    nominated["status"]["nominatedNodeName"] = "gpu-0"
    assert codes(nominated, node("gpu-0")) == []


def test_without_the_right_to_see_other_namespaces_the_schedulers_word_must_do() -> None:
    assert codes(refused(NO_GPU), node("gpu-0"), holders=[]) == ["gpu-in-use"]


def test_ten_thousand_waiting_pods_are_one_finding() -> None:
    pods = [refused(NO_GPU, spec=SELECTOR) for _ in range(10_000)]
    for number, each in enumerate(pods):
        each["metadata"]["name"] = each["metadata"]["uid"] = f"vllm-abc-{number}"
    nodes = [node(f"gpu-{number}", labels={}) for number in range(1000)]
    (found,) = diagnosed(*pods, *nodes, holders=pods).findings
    assert found.code == "gpu-no-label" and found.count == 10_000 and len(found.evidence) <= 8
    assert found.object == "Deployment llm/vllm"
