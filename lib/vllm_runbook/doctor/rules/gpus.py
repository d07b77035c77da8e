"""Pods that wait for a node: which of the many reasons of ``Insufficient nvidia.com/gpu`` it is.

The scheduler counts nodes by the first filter that refuses them, so that its message alone doesn't tell a missing
plugin from a full cluster. The rule sieves the nodes as the scheduler does, one condition after the other, and
names the one that leaves none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache, cached_property

from ... import cluster as k8s
from ...cluster import Object, get_in
from ...plots.nodes import NodeGpus, gpu_usage, pod_gpus
from ...steps.gpu_nodes import gpus, has_gpu
from ..findings import Evidence, Finding
from ..snapshot import Snapshot, claims_of, over
from . import placement
from .common import about, event, keys, seen, workload

#: Events that say that a node is on its way: cluster autoscaler, Karpenter.
_COMING = ("TriggeredScaleUp", "Nominated")
#: Seconds that a node gets to be provisioned, a device plugin to come up, a pod to be gone after its grace period.
_NODE_PATIENCE, _PLUGIN_PATIENCE, _ENDING_PATIENCE = 900, 60, 60
_LARGER = re.compile(r"Insufficient (cpu|memory|ephemeral-storage)")
_ELSEWHERE = re.compile(r"didn't match PersistentVolume's node affinity|volume node affinity conflict|volume zone")
_VOLUME = re.compile(r"unbound immediate PersistentVolumeClaims|persistentvolumeclaim \"[^\"]+\" not found")


def waiting(snap: Snapshot) -> Iterator[Finding]:
    """Pods that the scheduler has refused."""
    nodes = _Nodes(snap)
    known: dict[tuple[str, str], Finding | None] = {}  # pods of one template have one reason
    for pod in snap.all("Pod"):
        if over(pod) or pod["spec"].get("nodeName") or pod["metadata"].get("deletionTimestamp"):
            continue
        refusal = k8s.condition(pod, "PodScheduled")
        if refusal.get("status") != "False" or refusal.get("reason") != "Unschedulable" or _node_is_coming(snap, pod):
            continue
        message = str(refusal.get("message", ""))
        same = (workload(pod), message)
        if same not in known:
            known[same] = found = _why(snap, nodes, pod, message)
        elif found := known[same]:
            found = replace(found, keys=keys(pod))
        if found:
            yield found


def _node_is_coming(snap: Snapshot, pod: Object) -> bool:
    """An autoscaler brings a node, or the scheduler waits for the pods that it preempted."""
    if get_in(pod, "status.nominatedNodeName"):
        return True
    return any(snap.event_age(each) < _NODE_PATIENCE for each in snap.events(pod, *_COMING))


class _Shown:
    """Nodes that show why a pod waits."""

    def __init__(self, nodes: list[Object]) -> None:
        self.nodes = nodes

    @cached_property
    def keys(self) -> frozenset[str]:
        """Of those that aren't well: that explains why pods wait for them, and no other finding about nodes does."""
        return frozenset().union(*(about(node) for node in self.nodes if not placement.ready(node)))


class _Nodes:
    """The nodes with their GPUs, computed once for all pods.

    Attributes:
        reasons: found so far, by everything of a pod that they depend on.
    """

    def __init__(self, snap: Snapshot) -> None:
        self.snap = snap
        self.resource = snap.context.resource
        self.all = snap.all("Node")
        self.everywhere = _Shown(self.all)
        self.reasons: dict[str, _Told | None] = {}
        self.usage: dict[str, NodeGpus] = {each.node: each for each in gpu_usage(self.all, snap.holders, self.resource)}
        #: Nodes whose pods with GPUs are just ending: what they hold is free in a moment.
        self.ending = {
            pod["spec"]["nodeName"]
            for pod in snap.holders
            if (end := pod["metadata"].get("deletionTimestamp")) and snap.since(end) < _ENDING_PATIENCE
        }

    def free(self, node: Object) -> int:
        found = self.usage.get(node["metadata"]["name"])
        return found.free if found else 0

    def table(self, nodes: list[Object]) -> list[Evidence]:
        return [seen("object", node, self._words(node)) for node in nodes[:5]]

    def _words(self, node: Object) -> str:
        name = node["metadata"]["name"]
        used = self.usage[name].used if name in self.usage else 0
        offered, capacity = gpus(node, self.resource), gpus(node, self.resource, "capacity")
        taints = ", ".join(f"{each['key']}:{each['effect']}" for each in node["spec"].get("taints") or ()) or "none"
        label = node["metadata"].get("labels", {}).get(self.snap.context.label_key, "none")
        return (
            f"{self.resource}: {used} used, {offered} allocatable, capacity {capacity}; taints: {taints}; "
            f"{self.snap.context.label_key}: {label}"
        )


def _why(snap: Snapshot, nodes: _Nodes, pod: Object, message: str) -> Finding | None:
    said = [seen("object", pod, f"PodScheduled is False: {message}")]
    said += [event(pod, each) for each in snap.events(pod, "FailedScheduling")[-1:]]

    def finding(code: str, cause: str, fix: Iterable[str], shown: _Shown | None = None) -> Finding:
        table, more = (nodes.table(shown.nodes), shown.keys) if shown else ((), frozenset())
        return Finding(code, "error", workload(pod), cause, (*said, *table), tuple(fix), keys(pod) | more)

    if _VOLUME.search(message):
        marked = keys(pod) | {f"PersistentVolumeClaim/{claim}" for claim in claims_of(pod)}
        young = any(
            snap.age(claim) < 60 for name in claims_of(pod) if (claim := snap.named("PersistentVolumeClaim", name))
        )
        cause = "The scheduler waits for the pod's claims to be bound."
        return None if young else Finding("unschedulable", "error", workload(pod), cause, tuple(said), (), marked)
    wanted = pod_gpus(pod, nodes.resource)
    if wanted and nodes.all:
        found = _told(snap, nodes, pod, wanted, message)
        if found is not None:
            return finding(*found) if found[0] else None
    if _ELSEWHERE.search(message):
        names = ", ".join(claims_of(pod))
        cause = f"No node that the pod may go to reaches the volume of {names}: it belongs to a zone, or to one node."
        fix = (
            snap.context.kubectl("get pv -o wide", None) + "  (node affinity: where it is)",
            snap.context.run("03", "storage.class=…", "storage.strategy=shared") + "  (a class for every zone)",
        )
        return finding("volume-zone", cause, fix)
    if _LARGER.search(message):
        largest = ", ".join(dict.fromkeys(_LARGER.findall(message)))
        cause = f"No node that the pod may go to has enough free {largest} for it."
        fix = (
            snap.context.kubectl("describe nodes", None) + "  (requests against allocatable)",
            snap.context.run("00"),
        )
        return finding("does-not-fit", cause, fix, nodes.everywhere)
    look = (snap.context.kubectl(f"describe pod {pod['metadata']['name']}"),)
    return finding("unschedulable", "The scheduler finds no node for the pod; its message says what each lacks.", look)


#: Code, cause, fixes, the nodes that show it. An empty code: it is about to change by itself.
_Reason = tuple[str, str, tuple[str, ...], list[Object]]
_SOON: _Reason = ("", "", (), [])
_Told = tuple[str, str, tuple[str, ...], _Shown]


def _told(snap: Snapshot, nodes: _Nodes, pod: Object, wanted: int, message: str) -> _Told | None:
    """The reason, sought once for all pods that ask for the same: five hundred waiting Jobs look at the nodes once."""
    asked = [get_in(pod, f"spec.{name}") for name in ("nodeSelector", "affinity.nodeAffinity", "tolerations")]
    same = json.dumps([asked, wanted, f"Insufficient {nodes.resource}" in message], sort_keys=True)
    if same not in nodes.reasons:
        found = _gpu_reason(snap, nodes, pod, wanted, message)
        nodes.reasons[same] = (*found[:3], _Shown(found[3])) if found else None
    return nodes.reasons[same]


def _gpu_reason(snap: Snapshot, nodes: _Nodes, pod: Object, wanted: int, message: str) -> _Reason | None:
    """The first condition that no node passes; None when it isn't about GPUs."""
    context, resource = snap.context, nodes.resource

    @cache
    def chosen(index: int) -> bool:
        return placement.selected(pod, nodes.all[index])

    offering: list[int] = []
    silent: list[int] = []
    for index, node in enumerate(nodes.all):
        if gpus(node, resource):
            offering.append(index)
        elif has_gpu(node, resource):
            silent.append(index)
    if silent and not any(chosen(index) for index in offering) and (not offering or any(map(chosen, silent))):
        return _no_plugin(snap, [nodes.all[index] for index in silent])
    if not offering:
        cause = f"No node has {resource}, and no label says that there is a GPU in one."
        return "gpu-no-nodes", cause, ("add a node pool with GPUs", context.run("00")), nodes.all
    large = [index for index in offering if gpus(nodes.all[index], resource) >= wanted]
    if not large:
        most = max(gpus(nodes.all[index], resource) for index in offering)
        cause = f"One pod asks for {wanted} {resource}, and the largest node has {most}."
        fix = (context.run("04", f"tensor_parallel_size={most}"), context.run("00") + "  (what would fit)")
        return "does-not-fit", cause, fix, [nodes.all[index] for index in offering]
    matching = [nodes.all[index] for index in large if chosen(index)]
    if not matching:
        return _no_label(snap, pod, [nodes.all[index] for index in large])
    return _after_selection(snap, nodes, pod, wanted, matching, message)


def _no_label(snap: Snapshot, pod: Object, large: list[Object]) -> _Reason:
    context, labels = snap.context, placement.labels_wanted(pod)
    cause = (
        f"{len(large)} nodes offer enough {context.resource}, and none has the labels that the pod asks for "
        f"({placement.described(pod)})."
    )
    words = " ".join(f"{key}={value}" for key, value in labels.items())
    by_hand = context.kubectl(f"label node {large[0]['metadata']['name']} {words}", None)
    if labels.get(context.label_key) == context.label_value:
        return "gpu-no-label", cause, (context.run("02"), by_hand), large
    ours = context.run("04") + f"  (pods ask for {context.label_key}={context.label_value}, which notebook 02 sets)"
    return "gpu-no-label", cause, (by_hand, ours), large


def _after_selection(
    snap: Snapshot, nodes: _Nodes, pod: Object, wanted: int, matching: list[Object], message: str
) -> _Reason | None:
    context, resource = snap.context, nodes.resource
    tolerated = [node for node in matching if not placement.refusing(pod, node)]
    if not tolerated:
        taints = sorted({str(each) for node in matching for each in placement.refusing(pod, node)})
        cause = f"Every node with matching GPUs has a taint that the pod doesn't tolerate: {', '.join(taints)}."
        key = taints[0].partition("=")[0].partition(":")[0]
        toleration = f"'gpu.tolerations=[{{key: {key}, operator: Exists}}]'"
        name = matching[0]["metadata"]["name"]
        untaint = context.kubectl(f"taint node {name} {key}-", None)
        return "gpu-taint", cause, (context.run("04", toleration), untaint), matching
    usable = [node for node in tolerated if placement.takes_pods(node)]
    if not usable:
        if all(not placement.ready(node) and snap.age(node) < _PLUGIN_PATIENCE for node in tolerated):
            return _SOON
        names = [node["metadata"]["name"] for node in tolerated]
        cause = f"The nodes for this pod ({', '.join(names[:5])}) are cordoned, or not ready."
        return "node-cordoned", cause, (context.kubectl(f"uncordon {names[0]}", None),), tolerated
    if not snap.holders:  # who holds them could not be read: the scheduler's word must do
        return _in_use(snap, nodes, usable) if f"Insufficient {resource}" in message else None
    if any(nodes.free(node) >= wanted for node in usable):
        return None  # something else than GPUs
    if any(node["metadata"]["name"] in nodes.ending for node in usable):
        return _SOON
    return _in_use(snap, nodes, usable)


def _in_use(snap: Snapshot, nodes: _Nodes, usable: list[Object]) -> _Reason:
    context, resource = snap.context, nodes.resource
    names = {node["metadata"]["name"] for node in usable}
    holders: dict[str, int] = {}
    for pod in snap.holders:
        if pod["spec"]["nodeName"] in names:
            holders[workload(pod)] = holders.get(workload(pod), 0) + pod_gpus(pod, resource)
    most = sorted(holders.items(), key=lambda item: -item[1])[:4]
    cause = (
        f"All {sum(gpus(node, resource) for node in usable)} {resource} that the pod could have are in use"
        + (": " + ", ".join(f"{name} holds {count}" for name, count in most) if most else "")
        + "."
    )
    others = [node for node in nodes.all if node["metadata"]["name"] not in names and nodes.free(node)]
    spare = [
        f"{node['metadata']['name']} has free GPUs, but is cordoned, tainted or not labelled" for node in others[:1]
    ]
    largest = most[0][0].partition("/")[2] if most else "NAME"
    fix = (
        "add GPU nodes, or let an autoscaler add them",
        context.kubectl(f"scale deployment {largest} --replicas=…") + "  (frees what others hold)",
        context.run("04", "rollout.max_surge=0", "rollout.max_unavailable=1") + "  (an update that needs no spare GPU)",
    )
    return "gpu-in-use", cause, (*spare, *fix), usable


def _no_plugin(snap: Snapshot, silent: list[Object]) -> _Reason:
    """Nodes with GPUs that nobody offers: no plugin there, or one in trouble."""
    context = snap.context
    plugins = snap.all("PluginPod")
    here = {node["metadata"]["name"] for node in silent}
    running = [pod for pod in plugins if pod["spec"].get("nodeName") in here]
    sets = [item for item in snap.all("DaemonSet") if "device-plugin" in str(item["spec"]["template"]["spec"])]
    young = [item for item in [*sets, *running] if snap.age(item) < _PLUGIN_PATIENCE]
    if (young and all(_starting(pod) for pod in running)) or all(snap.age(node) < _PLUGIN_PATIENCE for node in silent):
        return _SOON
    names = ", ".join(sorted(here)[:5])
    fix: tuple[str, ...] = (context.run("01"), context.kubectl("get daemonsets,pods -o wide", context.plugin_namespace))
    if not sets and not running:
        cause = f"{names} have GPUs, but no device plugin is installed: nobody tells the kubelet about them."
    elif not running:
        taints = sorted({each["key"] for node in silent for each in node["spec"].get("taints") or ()})
        cause = f"The device plugin doesn't run on {names}" + (f" (taints: {', '.join(taints)})." if taints else ".")
    else:
        cause = f"The device plugin runs on {names} and offers no GPU: driver or container toolkit."
        logs = context.kubectl(f"logs {running[0]['metadata']['name']}", context.plugin_namespace)
        fix = (logs, *fix)
    return "gpu-no-plugin", cause, fix, silent


def _starting(pod: Object) -> bool:
    return not k8s.is_true(pod, "Ready")
