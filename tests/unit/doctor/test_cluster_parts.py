"""Autoscalers, budgets, nodes, preemption, API versions, Services."""

from __future__ import annotations

import json
from typing import Any

import pytest

from vllm_runbook.doctor.snapshot import Metrics

from .recorded import ago, codes, crashing, diagnosed, event, item, node, pod, refused, status


def hpa(reason: str = "FailedGetExternalMetric", *, age: float = 300, ok: bool = False) -> dict[str, Any]:
    condition = {
        "type": "ScalingActive",
        "status": str(ok),
        "reason": reason,
        "message": "unable to get external metric",
    }
    return item("HorizontalPodAutoscaler", "keda-hpa-vllm", age, status={"conditions": [condition]})


def scaled(age: float = 300, **conditions: tuple[str, str]) -> dict[str, Any]:
    found = [
        {"type": kind, "status": value, "reason": why, "message": "…"} for kind, (value, why) in conditions.items()
    ]
    return item("ScaledObject", "vllm", age, status={"conditions": found, "hpaName": "keda-hpa-vllm"})


def test_an_hpa_without_a_metric() -> None:
    assert codes(hpa()) == ["hpa-no-metric"]
    assert codes(hpa(age=30)) == [] and codes(hpa("ScalingDisabled")) == [] and codes(hpa(ok=True)) == []
    away = item("APIService", "v1beta1.external.metrics.k8s.io", namespace="")
    away["status"] = {"conditions": [{"type": "Available", "status": "False", "message": "no endpoints"}]}
    assert "doesn't reach" in diagnosed(hpa(), away).findings[0].cause
    assert "KEDA isn't installed" in diagnosed(hpa()).findings[0].cause
    assert "metrics-server" in diagnosed(hpa("FailedGetResourceMetric")).findings[0].cause


def walled(*peers: dict[str, Any], image: str = "vllm/vllm-openai:v0.32.0") -> list[dict[str, Any]]:
    """A Service of servers behind a NetworkPolicy with these peers."""
    rule = [{"from": list(peers)}] if peers else []
    labels = {"app": "vllm"}
    spec = {"podSelector": {"matchLabels": labels}, "policyTypes": ["Ingress"], "ingress": rule}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"image": image}]}}
    slice_ = item("EndpointSlice", "inference-1", metadata={"labels": {"kubernetes.io/service-name": "inference"}})
    slice_["endpoints"] = [{"conditions": {"ready": True}}]
    return [
        pod(),
        item("Service", "inference", spec={"selector": labels}),
        slice_,
        item("Deployment", "vllm", spec={"template": template}),
        item("NetworkPolicy", "walls", spec=spec),
    ]


def named(namespace: str) -> dict[str, Any]:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}


def test_a_network_policy_that_lets_nobody_or_not_prometheus_in() -> None:
    (nobody,) = diagnosed(*walled()).findings
    assert nobody.code == "policy-blocks" and "lets anybody reach" in nobody.cause and "walls" in nobody.cause
    (blind,) = diagnosed(*walled({"podSelector": {}}, named("gateway"))).findings
    assert "Prometheus (namespace monitoring)" in blind.cause
    assert codes(*walled({"podSelector": {}}, image="nginx:1.27")) == []
    for peer in (
        named("monitoring"),
        {"namespaceSelector": {"matchLabels": {"team": "a"}}},
        {"ipBlock": {"cidr": "::/0"}},
    ):
        assert codes(*walled(peer)) == [], peer


def test_an_hpa_without_a_target() -> None:
    lost = hpa(ok=True)
    lost["status"]["conditions"] = [{"type": "AbleToScale", "status": "False", "reason": "FailedGetScale"}]
    assert codes(lost) == ["hpa-no-target"]


@pytest.mark.parametrize(
    ("item_", "expected"),
    [
        (scaled(Ready=("False", "ScaledObjectCheckFailed")), True),
        (scaled(age=1, Ready=("False", "ScaledObjectCheckFailed")), True),
        (scaled(Ready=("False", "TriggerError")), True),
        (scaled(Ready=("Unknown", "PartialTriggerError")), True),
        (scaled(Ready=("True", "ScaledObjectReady"), Fallback=("True", "FallbackExists")), True),
        (scaled(Ready=("True", "ScaledObjectReady"), Fallback=("False", "NoFallbackFound")), False),
        (scaled(age=5, Ready=("Unknown", "")), False),
        (scaled(age=5), False),
        (scaled(Paused=("True", "ScaledObjectPaused"), Ready=("Unknown", "")), False),
    ],
)
def test_scaled_objects(item_: dict[str, Any], expected: bool) -> None:
    assert codes(item_) == (["scaledobject-not-ready"] if expected else [])


def test_the_scaled_object_explains_its_hpa() -> None:
    (found,) = diagnosed(hpa(), scaled(Ready=("False", "TriggerError"))).findings
    assert found.code == "scaledobject-not-ready"
    assert found.consequences == ("hpa-no-metric: HorizontalPodAutoscaler llm/keda-hpa-vllm",)


def budget(expected: int, desired: int, healthy: int, **spec: Any) -> dict[str, Any]:
    numbers = {"expectedPods": expected, "desiredHealthy": desired, "currentHealthy": healthy}
    allowed = {"disruptionsAllowed": max(0, healthy - desired), "observedGeneration": 1}
    selector = {"selector": {"matchLabels": {"app": "vllm"}}}
    return item("PodDisruptionBudget", "vllm", spec={**selector, **spec}, status={**numbers, **allowed})


def ready_pod(name: str = "vllm-abc-1", **more: Any) -> dict[str, Any]:
    return pod(name, conditions=[{"type": "Ready", "status": "True"}], statuses=[status(ready=True)], **more)


def test_a_budget_that_never_allows_an_eviction() -> None:
    strict = budget(1, 1, 1, minAvailable=1)
    assert diagnosed(strict, ready_pod(), node("gpu-0")).exit_code == 1
    (found,) = diagnosed(strict, ready_pod(), node("gpu-0", unschedulable=True)).findings
    assert found.code == "pdb-blocks-drain" and found.severity == "error" and "gpu-0" in found.cause
    assert codes(budget(2, 2, 2, maxUnavailable=0)) == ["pdb-blocks-drain"]


def test_budgets_that_only_wait_are_no_findings() -> None:
    assert codes(budget(3, 2, 2, minAvailable=2)) == []  # a pod is starting
    assert codes(budget(0, 1, 0, minAvailable=1)) == []  # nothing to guard
    assert codes(budget(3, 2, 3, maxUnavailable=1)) == []
    assert codes(budget(1, 1, 1, minAvailable=1) | {"status": {}}) == []  # not counted yet


def test_a_node_that_is_away_explains_what_was_on_it() -> None:
    lost = node("gpu-0", ready="Unknown")
    stuck = ready_pod(metadata={"deletionTimestamp": ago(500)})
    waiting = refused("0/1 nodes are available: 1 Insufficient nvidia.com/gpu.", metadata={"uid": "new"})
    (found,) = diagnosed(lost, node("gpu-1", 1), stuck, waiting, holders=[waiting, pod("x", on="gpu-1")]).findings
    assert found.code == "node-not-ready" and found.severity == "error"
    assert sorted(each.partition(":")[0] for each in found.consequences) == ["gpu-in-use", "stuck-terminating"]


def test_nodes_that_are_new_or_not_ours() -> None:
    assert codes(node("gpu-0", ready="False", age=30)) == []
    assert codes(node("cpu-0", 0, ready="Unknown")) == []
    assert codes(node("cpu-0", 0, ready="Unknown"), ready_pod(on="cpu-0")) == ["node-not-ready"]
    pressed = node("gpu-0", conditions=[{"type": "DiskPressure", "status": "True"}])
    assert codes(pressed, ready_pod()) == ["node-pressure"]


def test_a_preempted_pod_explains_why_its_replacement_waits() -> None:
    victim, winner = pod("vllm-abc-old"), pod("batch-1", owner={"kind": "Job", "name": "batch", "controller": True})
    gone = event(victim, "Preempted", "Preempted by pod uid-Pod-batch-1 on node gpu-0", kind="Normal")
    waiting = refused("0/1 nodes are available: 1 Insufficient nvidia.com/gpu.")
    (found,) = diagnosed(gone, waiting, winner, node("gpu-0", 1), holders=[waiting, winner]).findings
    assert found.code == "pod-preempted" and found.severity == "error" and "batch-1" in found.cause
    assert found.consequences == ("gpu-in-use: Deployment llm/vllm",)
    assert diagnosed(gone, ready_pod(), node("gpu-0")).exit_code == 1  # others serve
    assert codes(gone, ready_pod("vllm-abc-new", age=8), node("gpu-0")) == []  # it is back
    old = event(victim, "Preempted", "Preempted by pod x on node gpu-0", age=4000)
    assert codes(old, ready_pod(), node("gpu-0")) == []


def test_api_versions_by_what_wrote_and_what_was_applied() -> None:
    served = frozenset({"v1", "policy/v1", "apps/v1", "autoscaling/v1"})
    applied = {"kubectl.kubernetes.io/last-applied-configuration": json.dumps({"apiVersion": "policy/v1beta1"})}
    old = item("PodDisruptionBudget", "old", metadata={"annotations": applied})
    (found,) = diagnosed(old, served=served).findings
    assert found.code == "deprecated-api" and "policy/v1beta1" in found.cause and "policy/v1" in found.fix[0]
    written = item(
        "PodDisruptionBudget", "w", metadata={"managedFields": [{"manager": "helm", "apiVersion": "policy/v1beta1"}]}
    )
    assert codes(written, served=served) == ["deprecated-api"]
    assert codes(written) == []  # what is served could not be asked
    fine = item(
        "PodDisruptionBudget", "f", metadata={"managedFields": [{"manager": "helm", "apiVersion": "policy/v1"}]}
    )
    assert codes(fine, served=served) == []


def test_versions_that_are_served_and_deprecated_by_the_servers_own_words() -> None:
    served = frozenset({"autoscaling/v1", "autoscaling/v2"})
    other = item(
        "HorizontalPodAutoscaler", "x", metadata={"managedFields": [{"manager": "m", "apiVersion": "autoscaling/v1"}]}
    )
    assert codes(other, served=served) == []
    said = {
        ("autoscaling/v1", "HorizontalPodAutoscaler"): "autoscaling/v1 HorizontalPodAutoscaler is deprecated in v1.99+"
    }
    assert codes(other, served=served, warnings=said) == ["deprecated-api"]
    counted = Metrics((("flowcontrol.apiserver.k8s.io/v1beta3", "flowschemas", "1.32"),))
    found = diagnosed(metrics=counted)
    assert found.findings[0].severity == "info" and found.exit_code == 0


def deployment(**status_: Any) -> dict[str, Any]:
    template = {"metadata": {"labels": {"app": "vllm"}}}
    return item("Deployment", "vllm", spec={"replicas": 1, "template": template}, status=status_)


def test_a_deployment_without_replicas_is_told_by_its_pods_cause() -> None:
    late = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "timed out"}
    assert codes(deployment(conditions=[late])) == ["rollout-stuck"]
    (found,) = diagnosed(
        deployment(conditions=[late]), pod(statuses=[crashing()]), logs={"vllm-abc-1": "boom"}
    ).findings
    assert found.code == "crash-loop" and found.consequences == ("rollout-stuck: Deployment llm/vllm",)


def test_pods_that_the_api_server_refuses() -> None:
    message = 'pods "x" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false'
    failure = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}
    assert codes(deployment(conditions=[failure])) == ["pod-refused"]


def test_services() -> None:
    def service(app: str, age: float = 300) -> dict[str, Any]:
        return item("Service", "inference", age, spec={"selector": {"app": app}})

    assert codes(service("vlm"), deployment()) == ["no-endpoints"]  # a typo
    assert codes(service("vllm"), deployment(), pod(age=30)) == []  # starting
    assert codes(service("vlm", age=5)) == []
    zero = deployment()
    zero["spec"]["replicas"] = 0
    assert codes(service("vllm"), zero) == []  # scaled to zero on purpose
    assert codes(service("vllm"), deployment()) == ["no-endpoints"]
