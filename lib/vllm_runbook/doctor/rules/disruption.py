"""Nodes that are away, budgets that never allow an eviction, pods that others displaced."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime

from ... import cluster as k8s
from ...cluster import Object, get_in
from ...steps.gpu_nodes import has_gpu
from ..findings import Finding, Severity
from ..snapshot import Snapshot, over, owner_of, parse_time, seen_at
from .common import about, called, event, keys, seen

#: Seconds that a new node gets until its kubelet and network are ready.
_NEW_NODE = 120
_PREEMPTED = re.compile(r"Preempted by (?:pod |podgroup )?(\S+) on node (\S+)")
_RECENT = 3600
_PRESSURES = ("MemoryPressure", "DiskPressure", "PIDPressure")


def nodes(snap: Snapshot) -> Iterator[Finding]:
    """Nodes of ours (with our pods, or with GPUs) that don't report, or that run out of something."""
    for node in snap.all("Node"):
        name = node["metadata"]["name"]
        pods = snap.pods_by_node.get(name, [])
        if not pods and not has_gpu(node, snap.context.resource):
            continue
        marked = about(node).union(*map(keys, pods))
        reported = k8s.condition(node, "Ready").get("reason") == "NodeStatusUnknown"  # and then no more
        if not k8s.is_true(node, "Ready") and (reported or snap.age(node) > _NEW_NODE):
            yield _not_ready(snap, node, pods, marked)
            continue
        for kind in _PRESSURES if pods else ():
            if k8s.is_true(node, kind):
                condition = k8s.condition(node, kind)
                cause = f"{name} reports {kind}: its kubelet evicts pods until that is over."
                evidence = (seen("object", node, f"{kind} is True: {condition.get('message', '')}"),)
                fix = (snap.context.kubectl(f"describe node {name}", None),)
                yield Finding("node-pressure", "warning", called(node), cause, evidence, fix, marked)


def _not_ready(snap: Snapshot, node: Object, pods: list[Object], marked: frozenset[str]) -> Finding:
    name, ready = node["metadata"]["name"], k8s.condition(node, "Ready")
    silent = ready.get("status") == "Unknown"
    what = "has stopped reporting" if silent else f"reports that it isn't ready ({ready.get('reason', '')})"
    since = f" since {ready['lastTransitionTime']}" if ready.get("lastTransitionTime") else ""
    here = f" {len(pods)} pods of this namespace are on it." if pods else ""
    evidence = [seen("object", node, f"Ready is {ready.get('status', 'not set')}: {ready.get('message', '')}")]
    evidence += [event(node, each) for each in snap.events(node, "NodeNotReady", kind="Node")[-1:]]
    fix = (
        snap.context.kubectl(f"describe node {name}", None),
        snap.context.kubectl(f"delete node {name}", None)
        + "  (only if the machine is gone for good: its pods and volumes are freed then)",
    )
    cause = f"Node {name} {what}{since}.{here}"
    return Finding("node-not-ready", "error", called(node), cause, tuple(evidence), fix, marked, max(1, len(pods)))


def budgets(snap: Snapshot) -> Iterator[Finding]:
    """Budgets that can't allow a disruption even when every pod is healthy; worse while a drain waits for one."""
    for budget in snap.all("PodDisruptionBudget"):
        status = budget.get("status", {})
        if status.get("observedGeneration", 0) < budget["metadata"].get("generation", 1):
            continue
        expected, desired = status.get("expectedPods", 0), status.get("desiredHealthy", 0)
        failed = k8s.condition(budget, "DisruptionAllowed").get("reason") == "SyncFailed"
        if failed or (expected and desired >= expected and not status.get("disruptionsAllowed", 0)):
            yield _blocking(snap, budget, failed=failed)


def _blocking(snap: Snapshot, budget: Object, *, failed: bool) -> Finding:
    status, spec = budget["status"], budget["spec"]
    rules = [f"{name}: {spec[name]}" for name in ("minAvailable", "maxUnavailable") if name in spec]
    rule = next(iter(rules), "neither minAvailable nor maxUnavailable")
    pods = snap.selected(get_in(budget, "spec.selector.matchLabels") or {})
    places = {pod["spec"].get("nodeName") for pod in pods}
    draining = [node for node in snap.cordoned if node["metadata"]["name"] in places]
    severity: Severity = "error" if draining else "warning"
    condition = k8s.condition(budget, "DisruptionAllowed")
    numbers = ", ".join(
        f"{name} {status.get(name, 0)}"
        for name in ("expectedPods", "desiredHealthy", "currentHealthy", "disruptionsAllowed")
    )
    evidence = [seen("object", budget, f"{rule}; {numbers}")]
    if failed:
        evidence.append(seen("object", budget, f"DisruptionAllowed: {condition.get('message', '')}"))
    evidence += [seen("object", node, "is cordoned, and pods of this budget are on it") for node in draining[:3]]
    cause = f"With {rule} and expectedPods {status.get('expectedPods', 0)} no eviction is ever allowed" + (
        f": the drain of {draining[0]['metadata']['name']} can't end." if draining else ": every drain will hang."
    )
    if failed:
        cause = "The budget's pods have no controller that can be counted, so that no eviction is allowed."
    name = budget["metadata"]["name"]
    patch = '\'{"spec": {"minAvailable": null, "maxUnavailable": 1}}\''
    fix = (
        snap.context.run("07") + "  (maxUnavailable 1, and a drain that is proven)",
        snap.context.kubectl(f"patch pdb {name} --type=merge -p {patch}"),
    )
    return Finding("pdb-blocks-drain", severity, called(budget), cause, tuple(evidence), fix, about(budget))


def preempted(snap: Snapshot) -> Iterator[Finding]:
    """Pods that the scheduler ended for others, lately, and that have no successor yet; by the event on them."""
    lately = [each for each in snap.events_by_reason("Preempted") if snap.event_age(each) < _RECENT]
    if not lately:
        return
    by_uid = {pod["metadata"]["uid"]: pod for pod in (*snap.holders, *snap.all("Pod"))}
    waiting, newest = _waiting_and_ready(snap)
    for found in lately:
        if get_in(found, "involvedObject.kind") != "Pod":
            continue
        name = found["involvedObject"]["name"]
        ended = parse_time(seen_at(found)[0]).replace(microsecond=0)
        if any(newest[base] >= ended for base in _bases(name) if base in newest):
            continue  # it has its place again: what waits now waits for another reason
        base = next((waiting[base] for base in _bases(name) if base in waiting), "")
        match = _PREEMPTED.search(found.get("message", ""))
        yield _preempted(snap, found, by_uid.get(match[1]) if match else None, base)


def _waiting_and_ready(snap: Snapshot) -> tuple[dict[str, str], dict[str, datetime]]:
    """Of each workload's name: its key, where a pod of it waits for a node; when its newest ready pod was made."""
    waiting: dict[str, str] = {}
    newest: dict[str, datetime] = {}
    for pod in snap.all("Pod"):
        kind, name = owner_of(pod)
        if k8s.is_true(pod, "Ready"):
            made = parse_time(pod["metadata"]["creationTimestamp"])
            newest[name] = max(made, newest.get(name, made))
        elif not over(pod) and not pod["spec"].get("nodeName"):
            waiting[name] = f"{kind}/{name}"
    return waiting, newest


def _bases(pod: str) -> tuple[str, ...]:
    """What the workload of a pod that is gone may be called: a Deployment adds two parts to its name, others one."""
    return pod, pod.rpartition("-")[0], pod.rpartition("-")[0].rpartition("-")[0]


def _preempted(snap: Snapshot, found: Object, winner: Object | None, waiting: str) -> Finding:
    name = found["involvedObject"]["name"]
    victim = {"kind": "Pod", "metadata": {"name": name, "namespace": snap.context.namespace}}
    evidence = [event(victim, found)]
    if winner is not None:
        place = winner["spec"].get("nodeName") or "no node yet"
        evidence.append(seen("object", winner, f"priority {winner['spec'].get('priority', 0)}, on {place}"))
    who = called(winner) if winner else "a pod of higher priority"
    cause = f"The scheduler ended pod {name} to make room for {who}."
    cause += " Its replacement finds no node." if waiting else ""
    severity: Severity = "error" if waiting else "warning"
    fix = (
        snap.context.kubectl("get priorityclasses", None) + "  (give servers a higher one, or the other a lower)",
        "add GPU nodes, so that both have room",
    )
    marked = frozenset({str(get_in(found, "involvedObject.uid", name)), *([waiting] if waiting else ())})
    return Finding("pod-preempted", severity, called(victim), cause, tuple(evidence), fix, marked)
