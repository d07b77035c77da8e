"""Autoscalers that can't decide: no metric, no target, or a ScaledObject that KEDA doesn't accept."""

from __future__ import annotations

from collections.abc import Iterator

from ... import cluster as k8s
from ...cluster import Object, get_in
from ..findings import Finding
from ..snapshot import Snapshot
from .common import about, called, event, seen

#: Seconds: an HPA's first readings come after one or two of its periods (15 s), KEDA's after a polling interval (30 s).
_HPA_FIRST, _KEDA_FIRST = 60, 45


def scaled_objects(snap: Snapshot) -> Iterator[Finding]:
    """ScaledObjects whose condition Ready isn't True, or that run on their fallback."""
    for item in snap.all("ScaledObject"):
        ready, fallback = k8s.condition(item, "Ready"), k8s.condition(item, "Fallback")
        if k8s.is_true(item, "Paused"):
            continue
        if ready.get("reason") == "ScaledObjectCheckFailed" or (
            ready.get("status") != "True" and snap.age(item) > _KEDA_FIRST
        ):
            yield _not_ready(snap, item, ready)
        elif fallback.get("status") == "True":
            yield _falls_back(snap, item, fallback)


def _marked(item: Object) -> frozenset[str]:
    hpa = get_in(item, "status.hpaName") or f"keda-hpa-{item['metadata']['name']}"
    return about(item) | {f"HorizontalPodAutoscaler/{hpa}"}


def _not_ready(snap: Snapshot, item: Object, ready: Object) -> Finding:
    words = f"{ready.get('reason', '')}: {ready.get('message', '')}"
    failed = [each for each in snap.events(item) if each.get("type") == "Warning"][-2:]
    evidence = [seen("object", item, f"Ready is {ready.get('status', 'not set')}: {words}")]
    evidence += [event(item, each) for each in failed]
    logs = snap.context.kubectl("logs deployment/keda-operator --tail=50", snap.context.keda_namespace)
    cause = f"KEDA: {ready.get('message') or 'no word yet; does its operator run?'}"
    if ready.get("reason") in ("TriggerError", "PartialTriggerError"):
        cause = "KEDA's triggers fail: Prometheus isn't reached, or the query has no (or more than one) series."
    fix = (snap.context.run("06") + "  (proves the query, then applies it)", logs)
    return Finding("scaledobject-not-ready", "error", called(item), cause, tuple(evidence), fix, _marked(item))


def _falls_back(snap: Snapshot, item: Object, fallback: Object) -> Finding:
    health = get_in(item, "status.health", {}) or {}
    failing = [
        f"{name}: {each.get('status')}, {each.get('numberOfFailures')} failures" for name, each in health.items()
    ]
    evidence = [seen("object", item, f"Fallback is True: {fallback.get('message', '')}")]
    evidence += [seen("object", item, f"status.health {line}") for line in failing[:3]]
    evidence += [event(item, each) for each in snap.events(item, "KEDAScalerFailed")[-1:]]
    cause = (
        "A trigger fails, and KEDA keeps the replicas of spec.fallback: nothing is scaled by load. Prometheus isn't "
        "reached, or the query has no (or more than one) series."
    )
    fix = (snap.context.run("05") + "  (Prometheus)", snap.context.run("06") + "  (proves the query, then applies it)")
    return Finding("scaledobject-not-ready", "error", called(item), cause, tuple(evidence), fix, _marked(item))


def autoscalers(snap: Snapshot) -> Iterator[Finding]:
    """HPAs that can't read their metric, or don't find their target."""
    for item in snap.all("HorizontalPodAutoscaler"):
        if snap.age(item) < _HPA_FIRST:
            continue
        active, able = k8s.condition(item, "ScalingActive"), k8s.condition(item, "AbleToScale")
        if able.get("status") == "False":
            yield _no_target(snap, item, able)
        elif active.get("status") == "False" and active.get("reason") != "ScalingDisabled":  # scaled to zero
            yield _no_metric(snap, item, active)


def _no_target(snap: Snapshot, item: Object, able: Object) -> Finding:
    target = get_in(item, "spec.scaleTargetRef", {})
    evidence = (seen("object", item, f"AbleToScale is False: {able.get('reason', '')}: {able.get('message', '')}"),)
    cause = f"The HPA can't scale {target.get('kind')} {target.get('name')}: {able.get('message', '')}"
    fix = (snap.context.run("04") + "  (the Deployment)", snap.context.run("06"))
    return Finding("hpa-no-target", "error", called(item), cause, evidence, fix, about(item))


def _no_metric(snap: Snapshot, item: Object, active: Object) -> Finding:
    reason = active.get("reason", "")
    evidence = [seen("object", item, f"ScalingActive is False: {reason}: {active.get('message', '')}")]
    evidence += [event(item, each) for each in snap.events(item, reason)[-1:]]
    service = next(iter(snap.all("APIService")), None)
    available = k8s.condition(service, "Available") if service else {}
    keda = snap.context.keda_namespace
    if reason == "FailedGetExternalMetric" and service and available.get("status") != "True":
        evidence.append(seen("object", service, f"Available is {available.get('status')}: {available.get('message')}"))
        cause = "The API server doesn't reach the server of external metrics (KEDA's), so that the HPA reads nothing."
        fix = (snap.context.kubectl("get pods,endpointslices", keda), snap.context.run("06"))
    elif reason == "FailedGetExternalMetric" and snap.saw("APIService") and service is None:
        cause = "Nobody serves external metrics: KEDA isn't installed."
        fix = (snap.context.run("06"), snap.context.kubectl("get apiservices", None))
    elif reason in ("FailedGetResourceMetric", "FailedGetContainerResourceMetric"):
        cause = "Nobody serves CPU and memory metrics (metrics-server), or the pods have no requests for them."
        fix = (
            snap.context.kubectl("get apiservice v1beta1.metrics.k8s.io", None),
            snap.context.run("06") + "  (scale on requests instead: CPU says nothing about a GPU server's load)",
        )
    else:
        cause = f"The HPA gets no value for its metric: {active.get('message', '')}"
        fix = (
            snap.context.run("06") + "  (proves the query, then applies it)",
            snap.context.kubectl("logs deployment/keda-operator --tail=50", keda),
        )
    return Finding("hpa-no-metric", "error", called(item), cause, tuple(evidence), fix, about(item))
