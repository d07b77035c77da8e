"""Which GPUs the cluster has, which the scheduler may give away, and which are taken."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from . import theme

Object = Mapping[str, Any]
#: Nodes that are drawn; more bars can't be read.
MOST = 80
GPU = "nvidia.com/gpu"


@dataclass(frozen=True)
class NodeGpus:
    """GPUs of one node: in the machine (capacity), for the scheduler (allocatable), requested by pods (used)."""

    node: str
    capacity: int
    allocatable: int
    used: int

    @property
    def free(self) -> int:
        """What a new pod may still get."""
        return max(0, self.allocatable - self.used)

    @property
    def hidden(self) -> int:
        """What is in the machine, and not for the scheduler to give away."""
        return max(0, self.capacity - self.allocatable)


def gpu_usage(nodes: Iterable[Object], pods: Iterable[Object], resource: str = GPU) -> list[NodeGpus]:
    """GPUs of every node that has any, by name. Finished pods (Succeeded, Failed) hold none."""
    used: dict[str, int] = {}
    for pod in pods:
        node = pod.get("spec", {}).get("nodeName")
        if node and pod.get("status", {}).get("phase") not in ("Succeeded", "Failed"):
            used[node] = used.get(node, 0) + pod_gpus(pod, resource)
    found = []
    for node in nodes:
        name, status = node["metadata"]["name"], node.get("status", {})
        capacity = int(status.get("capacity", {}).get(resource, 0))
        if capacity or used.get(name):
            allocatable = int(status.get("allocatable", {}).get(resource, 0))
            found.append(NodeGpus(name, capacity, allocatable, used.get(name, 0)))
    return sorted(found, key=lambda item: item.node)


def pod_gpus(pod: Object, resource: str = GPU) -> int:
    """GPUs that a pod occupies: the sum over containers, or the largest init container if that is more.

    Extended resources have limits equal to requests, and either may be left out.
    """
    spec = pod.get("spec", {})
    main = sum(_container_gpus(container, resource) for container in spec.get("containers", ()))
    return max([main, *(_container_gpus(container, resource) for container in spec.get("initContainers", ()))])


def _container_gpus(container: Object, resource: str) -> int:
    resources = container.get("resources", {})
    return int(resources.get("limits", {}).get(resource) or resources.get("requests", {}).get(resource) or 0)


def holder(pod: Object, resource: str) -> dict[str, Any]:
    """A pod as far as it holds or wants GPUs, and no more of it: a cluster may have tens of thousands."""
    meta, spec = pod["metadata"], pod.get("spec", {})
    limits = {"name": "all", "resources": {"limits": {resource: str(pod_gpus(pod, resource))}}}
    kept = ("name", "namespace", "uid", "deletionTimestamp", "labels", "ownerReferences")
    return {
        "kind": "Pod",
        "metadata": {name: meta[name] for name in kept if name in meta},
        "spec": {"nodeName": spec.get("nodeName", ""), "priority": spec.get("priority", 0), "containers": [limits]},
        "status": {"phase": pod.get("status", {}).get("phase", "")},
    }


def waiting_gpus(pods: Iterable[Object], resource: str = GPU) -> int:
    """GPUs that pods without a node ask for."""
    return sum(
        pod_gpus(pod, resource)
        for pod in pods
        if not pod.get("spec", {}).get("nodeName") and pod.get("status", {}).get("phase", "Pending") == "Pending"
    )


def nodes_figure(nodes: Iterable[Object], pods: Iterable[Object], resource: str = GPU) -> go.Figure:
    """Bars per node: GPUs used, free, and present but not allocatable.

    Of more than :data:`MOST` nodes, those with GPUs that aren't allocatable come first, then those with free ones.
    """
    pods = list(pods)
    usage = gpu_usage(nodes, pods, resource)
    shown = sorted(heapq.nsmallest(MOST, usage, key=_interest), key=lambda item: item.node)
    names = [item.node for item in shown]
    traces = [
        _bar("used", names, [item.used for item in shown], theme.BLUE, ""),
        _bar("free", names, [item.free for item in shown], theme.SKY, "/"),
        _bar("not allocatable", names, [item.hidden for item in shown], theme.GREY, "x"),
    ]
    total, used = sum(item.allocatable for item in usage), sum(item.used for item in usage)
    waiting = waiting_gpus(pods, resource)
    title = f"GPUs: {used} of {total} used" + (f", {waiting} more asked for" if waiting else "")
    title += f" ({len(shown)} of {len(usage):,} nodes drawn)" if len(shown) < len(usage) else ""
    words = [f"{item.node}: {item.used} of {item.allocatable} used ({item.capacity} present)" for item in shown]
    alt = f"{title}. " + ("; ".join(words) or "No node has GPUs") + "."
    return theme.figure(title, "", f"GPUs ({resource})", alt, traces, barmode="stack", yaxis_dtick=1)


def _interest(item: NodeGpus) -> tuple[int, int, str]:
    return -item.hidden, -item.free, item.node


def _bar(name: str, nodes: list[str], values: list[int], colour: str, pattern: str) -> go.Bar:
    return go.Bar(
        name=name,
        x=nodes,
        y=values,
        marker={"color": colour, "pattern": {"shape": pattern, "solidity": 0.3}},
        hovertemplate="%{x}: %{y} " + name + "<extra></extra>",
    )
